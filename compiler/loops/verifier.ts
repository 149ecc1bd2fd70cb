// Checks a program: types at every node, variables defined before use, `set` only on locals, lane counts, the rules
// of loads and stores. Returns the problems as sentences; a program from the schedule has none.
import { type DType, dtypes, scalarOf } from '../ir/dtype.ts';
import {
  type Expr,
  operands,
  type Program,
  type Spread,
  type Stmt,
  type Team,
  typeName,
  type Var,
  type VType,
} from './loops.ts';

/** Which loops may stand directly inside of which. */
const mayContain: Readonly<Record<Spread | 'kernel', readonly Spread[]>> = {
  kernel: ['grid', 'groups', 'warps'],
  groups: ['threads', 'members'],
  warps: ['lanes'],
  grid: [],
  threads: [],
  lanes: [],
  members: [],
};

type Declared = Map<number, { readonly var: Var; readonly mutable: boolean }>;

const isLaneCount = (n: number): boolean =>
  Number.isInteger(n) && n >= 1 && Number.isInteger(Math.log2(n));
const same = (a: VType, b: VType): boolean => a.scalar === b.scalar && a.lanes === b.lanes;
const isInt = (t: VType): boolean => t.scalar === 'i32' || t.scalar === 'u32';

class Verifier {
  readonly problems: string[] = [];
  readonly #dims: ReadonlySet<string>;
  readonly #buffers: ReadonlySet<number>;
  #where = '';
  /** Loops on a GPU's threads around the statement. */
  #spread: readonly Spread[] = [];

  constructor(p: Program) {
    this.#dims = new Set(p.dims);
    this.#buffers = new Set(p.buffers.map((b) => b.id));
  }

  #check(ok: boolean, detail: () => string): void {
    if (!ok) this.problems.push(`${this.#where}: ${detail()}`);
  }

  kernel(name: string, list: readonly Stmt[]): void {
    this.#where = name;
    this.#list(list, new Map());
  }

  /** Declarations of a list end with it. */
  #list(list: readonly Stmt[], outer: Declared): Declared {
    const scope: Declared = new Map(outer);
    for (const s of list) this.#stmt(s, scope);
    return scope;
  }

  #stmt(s: Stmt, scope: Declared): void {
    switch (s.kind) {
      case 'comment':
        return;
      case 'barrier':
        this.#check(
          this.#spread.length > 0,
          () => 'a barrier outside of a loop on groups or warps',
        );
        if (this.#spread.at(-1) !== 'members' || s.team !== 'threads')
          this.#checkTeam(s.team, 'a barrier');
        return;
      case 'combine':
        this.#checkTeam(s.team, `combining ${s.var.name}`);
        this.#expr(s.value, scope);
        this.#assigned(s.var, s.value);
        this.#check(!scope.has(s.var.id), () => `${s.var.name} is declared twice`);
        scope.set(s.var.id, { var: s.var, mutable: false });
        return;
      case 'pack': {
        this.#expr(s.value, scope);
        const words = (s.value.type.lanes * dtypes[s.dtype].bits) / 32;
        this.#check(
          same(s.var.type, { scalar: 'i32', lanes: words }),
          () => `${typeName(s.value.type)} packed as ${s.dtype} into ${typeName(s.var.type)}`,
        );
        this.#check(!scope.has(s.var.id), () => `${s.var.name} is declared twice`);
        scope.set(s.var.id, { var: s.var, mutable: false });
        return;
      }
      case 'product': {
        this.#check(this.#spread.at(-1) === 'members', () => 'a product outside of members');
        const { lanes } = s.b.type;
        for (const x of [...s.a, s.b]) {
          this.#expr(x, scope);
          this.#check(
            same(x.type, { scalar: 'i32', lanes }) && lanes % 2 === 0,
            () => `an operand of the product ${s.var.name} is ${typeName(x.type)}`,
          );
        }
        const scalar = s.dtype === 'i8' ? 'i32' : 'f32';
        this.#check(
          same(s.var.type, { scalar, lanes: 4 }),
          () => `a product of ${s.dtype} added to ${typeName(s.var.type)}`,
        );
        const known = scope.get(s.var.id);
        this.#check(known?.mutable === true, () => `${s.var.name} is added to but is no local`);
        return;
      }
      case 'copy': {
        const bytes = (s.count * dtypes[s.to.dtype].bits) / 8;
        this.#access(s.to, s.at, 1, 1, scope);
        this.#access(s.from, s.index, 1, 1, scope);
        if (s.valid) this.#scalar(s.valid, 'i32', `what is valid of ${s.from.name}`, scope);
        this.#check(
          s.to.dtype === s.from.dtype && s.to.role === 'group' && [4, 8, 16].includes(bytes),
          () => `a copy of ${bytes} bytes from ${s.from.name} into ${s.to.name}`,
        );
        return;
      }
      case 'arrive':
        this.#check(
          Number.isInteger(s.pending) && s.pending >= 0,
          () => `${s.pending} batches of copies`,
        );
        return;
      case 'let':
      case 'local':
        this.#expr(s.value, scope);
        this.#assigned(s.var, s.value);
        this.#check(!scope.has(s.var.id), () => `${s.var.name} is declared twice`);
        scope.set(s.var.id, { var: s.var, mutable: s.kind === 'local' });
        return;
      case 'set': {
        this.#expr(s.value, scope);
        this.#assigned(s.var, s.value);
        const known = scope.get(s.var.id);
        this.#check(known?.mutable === true, () => `${s.var.name} is set but is no local`);
        return;
      }
      case 'for': {
        for (const e of [s.start, s.end]) this.#scalar(e, 'i32', `a bound of ${s.var.name}`, scope);
        this.#check(Number.isInteger(s.step) && s.step >= 1, () => `step ${s.step}`);
        this.#check(
          same(s.var.type, { scalar: 'i32', lanes: 1 }),
          () => `${s.var.name} must be i32`,
        );
        const around = this.#spread;
        if (s.on) {
          const outer = around.at(-1);
          this.#check(
            mayContain[outer ?? 'kernel'].includes(s.on),
            () => `a loop on ${s.on} inside of ${outer ?? 'the kernel'}`,
          );
          this.#spread = [...around, s.on];
        }
        this.#list(s.body, new Map(scope).set(s.var.id, { var: s.var, mutable: false }));
        this.#spread = around;
        return;
      }
      case 'while': {
        const inner = this.#list(s.header, scope);
        this.#scalar(s.cond, 'bool', 'the condition of while', inner);
        this.#list(s.body, inner);
        return;
      }
      case 'if':
        this.#scalar(s.cond, 'bool', 'the condition of if', scope);
        this.#list(s.then, scope);
        this.#list(s.else, scope);
        return;
      case 'store': {
        const { lanes, scalar } = s.value.type;
        this.#expr(s.value, scope);
        this.#access(s.buffer, s.index, lanes, s.align, scope);
        const wanted = scalarOf(s.buffer.dtype);
        const fits =
          scalar === wanted || (isInt(s.value.type) && (wanted === 'i32' || wanted === 'u32'));
        this.#check(
          fits,
          () => `${scalar} stored into ${s.buffer.name}, which holds ${s.buffer.dtype}`,
        );
      }
    }
  }

  /** All members of a team meet: no loop that they share is open. */
  #checkTeam(team: Team, what: string): void {
    const outer = this.#spread.at(-1);
    this.#check(
      outer === (team === 'threads' ? 'groups' : 'warps') || outer === undefined,
      () => `${what} of ${team} inside of a loop on ${outer}`,
    );
  }

  #assigned(v: Var, value: Expr): void {
    this.#check(
      same(v.type, value.type),
      () => `${v.name} is ${typeName(v.type)} but gets ${typeName(value.type)}`,
    );
  }

  #scalar(e: Expr, scalar: VType['scalar'], what: string, scope: Declared): void {
    this.#expr(e, scope);
    this.#check(
      same(e.type, { scalar, lanes: 1 }),
      () => `${what} is ${typeName(e.type)}, not ${scalar}`,
    );
  }

  #access(
    b: { readonly id: number; readonly name: string; readonly dtype: DType },
    index: Expr,
    lanes: number,
    align: number,
    scope: Declared,
  ): void {
    this.#scalar(index, 'i32', `the index of ${b.name}`, scope);
    this.#check(this.#buffers.has(b.id), () => `${b.name} is no buffer of the program`);
    this.#check(Number.isInteger(align) && align >= 1, () => `align ${align} of ${b.name}`);
    const { bits } = dtypes[b.dtype];
    this.#check(
      lanes === 1 || (align * bits) % 8 === 0,
      () => `a vector of ${b.name} (${b.dtype}) aligned to ${align} may start inside of a byte`,
    );
  }

  #expr(e: Expr, scope: Declared): void {
    if (e.kind !== 'load' && e.kind !== 'gather') for (const x of operands(e)) this.#expr(x, scope);
    const { lanes, scalar } = e.type;
    this.#check(isLaneCount(lanes), () => `${lanes} lanes in ${e.kind}`);
    const is = (t: VType, what: string): void =>
      this.#check(same(e.type, t), () => `${what} is ${typeName(e.type)}, not ${typeName(t)}`);
    const needs = (x: Expr, ...scalars: readonly VType['scalar'][]): void =>
      this.#check(
        scalars.includes(x.type.scalar),
        () => `${'op' in e ? e.op : e.kind} of ${typeName(x.type)}`,
      );
    switch (e.kind) {
      case 'const':
        return;
      case 'lanes':
        return is({ scalar: 'i32', lanes }, 'lanes');
      case 'var': {
        this.#check(scope.has(e.var.id), () => `${e.var.name} is used before it is defined`);
        return is(e.var.type, e.var.name);
      }
      case 'dim':
        this.#check(this.#dims.has(e.name), () => `no dim ${e.name}`);
        return is({ scalar: 'i32', lanes: 1 }, e.name);
      case 'unary':
        if (e.op === 'not') needs(e.a, 'i32', 'u32', 'bool');
        else if (e.op === 'popcount') needs(e.a, 'i32', 'u32');
        else if (/^(sqrt|exp2?|log2?|sin|cos|tanh)$/.test(e.op)) needs(e.a, 'f32');
        else needs(e.a, 'f32', 'i32', 'u32');
        if (e.op === 'isnan') return is({ scalar: 'bool', lanes: e.a.type.lanes }, e.op);
        if (e.op === 'exponent' || e.op === 'popcount')
          return is({ scalar: 'i32', lanes: e.a.type.lanes }, e.op);
        return is(e.a.type, e.op);
      case 'binary':
        if (e.op === 'shl' || e.op === 'shr') needs(e, 'i32', 'u32');
        else if (e.op === 'and' || e.op === 'or' || e.op === 'xor') needs(e, 'i32', 'u32', 'bool');
        else if (e.op === 'pow') needs(e, 'f32');
        else needs(e, 'f32', 'i32', 'u32');
        is(e.b.type, e.op);
        return is(e.a.type, e.op);
      case 'compare':
        this.#check(
          same(e.a.type, e.b.type),
          () => `${e.op} of ${typeName(e.a.type)} and ${typeName(e.b.type)}`,
        );
        return is({ scalar: 'bool', lanes: e.a.type.lanes }, e.op);
      case 'select':
        this.#check(
          same(e.c.type, { scalar: 'bool', lanes }),
          () => `select by ${typeName(e.c.type)}`,
        );
        is(e.b.type, 'select');
        return is(e.a.type, 'select');
      case 'convert':
        return is({ scalar, lanes: e.a.type.lanes }, 'convert');
      case 'bits':
        needs(e.a, 'f32', 'i32', 'u32');
        return is({ scalar, lanes: e.a.type.lanes }, 'bits');
      case 'round':
        needs(e.a, 'f32');
        return is(e.a.type, 'round');
      case 'encode':
        needs(e.a, 'f32');
        return is({ scalar: 'i32', lanes: e.a.type.lanes }, 'encode');
      case 'decode':
        needs(e.a, 'i32');
        return is({ scalar: 'f32', lanes: e.a.type.lanes }, 'decode');
      case 'splat':
        this.#check(e.a.type.lanes === 1, () => 'splat of a vector');
        return is({ scalar: e.a.type.scalar, lanes }, 'splat');
      case 'extract':
        this.#check(
          e.lane >= 0 && e.lane < e.a.type.lanes,
          () => `lane ${e.lane} of ${typeName(e.a.type)}`,
        );
        return is({ scalar: e.a.type.scalar, lanes: 1 }, 'extract');
      case 'build':
        for (const p of e.parts)
          this.#check(same(p.type, { scalar, lanes: 1 }), () => `build of ${typeName(p.type)}`);
        return is({ scalar, lanes: e.parts.length }, 'build');
      case 'reduce':
        return is({ scalar: e.a.type.scalar, lanes: 1 }, 'reduce');
      case 'fold':
        this.#check(e.a.type.lanes % 4 === 0, () => `fold of ${typeName(e.a.type)}`);
        return is({ scalar: e.a.type.scalar, lanes: 4 }, 'fold');
      case 'dot':
        this.#check(
          e.a.type.scalar === 'i32' && same(e.a.type, e.b.type) && e.a.type.lanes % 8 === 0,
          () => `dot of ${typeName(e.a.type)} and ${typeName(e.b.type)}`,
        );
        return is({ scalar: 'i32', lanes: 4 }, 'dot');
      case 'dot4':
        this.#check(
          e.a.type.scalar === 'i32' && same(e.a.type, e.b.type) && e.a.type.lanes % 8 === 0,
          () => `dot4 of ${typeName(e.a.type)} and ${typeName(e.b.type)}`,
        );
        return is({ scalar: 'i32', lanes: e.a.type.lanes / 4 }, 'dot4');
      case 'zip': {
        const half = e.type.lanes / 2;
        this.#check(
          same(e.a.type, e.b.type) &&
            e.from % e.unit === 0 &&
            half % e.unit === 0 &&
            e.from + half <= e.a.type.lanes,
          () => `zip of ${typeName(e.a.type)} and ${typeName(e.b.type)}`,
        );
        return is({ scalar: e.a.type.scalar, lanes }, 'zip');
      }
      case 'muladd':
        this.#check(
          e.a.type.scalar === 'f32' && same(e.a.type, e.b.type) && same(e.b.type, e.c.type),
          () => `muladd of ${typeName(e.a.type)}, ${typeName(e.b.type)} and ${typeName(e.c.type)}`,
        );
        return is(e.a.type, 'muladd');
      case 'repeat':
        return is({ scalar: e.a.type.scalar, lanes: e.a.type.lanes * e.times }, 'repeat');
      case 'tile':
        this.#check(lanes % e.a.type.lanes === 0, () => `tile of ${typeName(e.a.type)}`);
        return is({ scalar: e.a.type.scalar, lanes }, 'tile');
      case 'load':
        this.#access(e.buffer, e.index, lanes, e.align, scope);
        return is({ scalar: scalarOf(e.buffer.dtype), lanes }, e.buffer.name);
      case 'rank':
        this.#check(
          e.a.type.scalar === 'f32' && e.buffer.role === 'const',
          () => `rank of ${typeName(e.a.type)} in ${e.buffer.name}`,
        );
        return is({ scalar: 'i32', lanes: e.a.type.lanes }, 'rank');
      case 'nearest':
        this.#check(
          e.a.type.scalar === 'f32' && same(e.a.type, e.unit.type) && e.buffer.role === 'const',
          () => `nearest to ${typeName(e.a.type)} in ${e.buffer.name} by ${typeName(e.unit.type)}`,
        );
        return is({ scalar: 'i32', lanes: e.a.type.lanes }, 'nearest');
      case 'peak':
        needs(e.a, 'f32');
        return is({ scalar: 'f32', lanes: 1 }, 'peak');
      case 'within':
      case 'bounded':
        needs(e.a, 'f32');
        this.#check(e.lo <= e.hi, () => `${e.kind} ${e.lo} and ${e.hi}`);
        return is(e.a.type, e.kind);
      case 'gather':
        this.#expr(e.index, scope);
        this.#check(e.index.type.scalar === 'i32', () => `gather by ${typeName(e.index.type)}`);
        return is({ scalar: scalarOf(e.buffer.dtype), lanes: e.index.type.lanes }, e.buffer.name);
    }
  }
}

/** What is wrong with a program; empty if nothing is. */
export function verifyProgram(p: Program): readonly string[] {
  const v = new Verifier(p);
  for (const k of p.kernels) v.kernel(k.name, k.body);
  return v.problems;
}
