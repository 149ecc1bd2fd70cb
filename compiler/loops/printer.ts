// Loop IR as text, one statement a line. Types stand at the leaves: literals, declarations and buffers; those of
// inner nodes follow from the constructors. parser.ts reads the text back to the same program.

import type { DType, Scalar } from '../ir/dtype.ts';
import type { BinaryName, CompareName } from '../ir/ops.ts';
import {
  type Buffer,
  constant,
  type Expr,
  type Kernel,
  type Program,
  type Stmt,
  typeName,
  type Var,
} from './loops.ts';
import { keywords } from './words.ts';

/** Infix operators; a higher number binds tighter. All associate to the left. */
export const infix: { readonly [O in BinaryName | CompareName]?: readonly [string, number] } = {
  or: ['|', 1],
  xor: ['^', 2],
  and: ['&', 3],
  eq: ['==', 4],
  ne: ['!=', 4],
  lt: ['<', 5],
  le: ['<=', 5],
  gt: ['>', 5],
  ge: ['>=', 5],
  shl: ['<<', 6],
  shr: ['>>', 6],
  add: ['+', 7],
  sub: ['-', 7],
  mul: ['*', 8],
  div: ['/', 8],
  rem: ['%', 8],
};
const prefixLevel = 9;

/** Words that no variable may be called. */
const reserved = new Set<string>([
  ...keywords,
  'true',
  'false',
  'inf',
  'nan',
  'lanes',
  'select',
  'splat',
  'extract',
  'build',
  'gather',
  'rank',
  'nearest',
  'fold',
  'dot',
  'dot4',
  'zip',
  'muladd',
  'repeat',
  'tile',
  'peak',
  'within',
  'bounded',
]);

/** Gives each thing a name of its own, close to the one it has. */
class Names {
  readonly #taken: Set<string>;
  readonly #names = new Map<number, string>();

  constructor(taken: Iterable<string>) {
    this.#taken = new Set([...reserved, ...taken]);
  }

  of(x: { readonly id: number; readonly name: string }): string {
    let name = this.#names.get(x.id);
    if (name === undefined) {
      const base = identifier(x.name);
      name = base;
      for (let i = 1; this.#taken.has(name); i++) name = `${base}_${i}`;
      this.#taken.add(name);
      this.#names.set(x.id, name);
    }
    return name;
  }
}

function identifier(name: string): string {
  const clean = name.replace(/[^\w$.]/g, '_').replace(/\.+(?=\.|$)/g, '');
  return /^[A-Za-z_$]/.test(clean) ? clean : `_${clean}`;
}

export function printProgram(p: Program): string {
  const buffers = new Names(p.dims);
  const dtypes = new Map(p.buffers.map((b) => [b.id, b.dtype]));
  const head = `program ${JSON.stringify(p.name)} (${p.dims.join(', ')}) {`;
  const lines = [head];
  for (const b of p.buffers) lines.push(`  ${bufferLine(b, buffers.of(b))}`);
  const taken = [...p.dims, ...p.buffers.map((b) => buffers.of(b))];
  for (const k of p.kernels) lines.push(...new KernelPrinter(buffers, dtypes, taken).kernel(k));
  return `${[...lines, '}'].join('\n')}\n`;
}

function bufferLine(b: Buffer, name: string): string {
  const data = b.data ? ` = {${b.data.map(number).join(', ')}}` : '';
  return `buffer ${name}: ${b.dtype}[${b.size}] ${b.role}${b.private ? ' private' : ''}${data}`;
}

const number = (x: number): string => {
  if (Number.isNaN(x)) return 'nan';
  if (!Number.isFinite(x)) return x < 0 ? '-inf' : 'inf';
  return Object.is(x, -0) ? '-0' : `${x}`;
};

function literal(value: number, scalar: Scalar): string {
  if (scalar === 'bool') return value ? 'true' : 'false';
  const text = number(value);
  if (scalar === 'u32') return `${text}u`;
  if (scalar === 'i32') return text;
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

class KernelPrinter {
  readonly #buffers: Names;
  readonly #dtypes: ReadonlyMap<number, DType>;
  readonly #vars: Names;

  constructor(buffers: Names, dtypes: ReadonlyMap<number, DType>, taken: readonly string[]) {
    this.#buffers = buffers;
    this.#dtypes = dtypes;
    this.#vars = new Names(taken);
  }

  kernel(k: Kernel): string[] {
    const head = `  kernel ${JSON.stringify(k.name)} by ${JSON.stringify(k.schedule)} {`;
    return [head, ...this.#list(k.body, '    '), '  }'];
  }

  #list(list: readonly Stmt[], indent: string): string[] {
    return list.flatMap((s) => this.#stmt(s, indent));
  }

  #stmt(s: Stmt, at: string): string[] {
    const inner = (list: readonly Stmt[]): string[] => this.#list(list, `${at}  `);
    const e = (x: Expr): string => this.#expr(x, 0);
    switch (s.kind) {
      case 'comment':
        return [`${at}// ${s.text.replace(/\s+/g, ' ').trim()}`];
      case 'let':
      case 'local':
        return [`${at}${s.kind} ${this.#declare(s.var)} = ${e(s.value)}`];
      case 'set':
        return [`${at}${this.#vars.of(s.var)} = ${e(s.value)}`];
      case 'store': {
        const place = this.#place(s.buffer, s.index, s.value.type.lanes, s.align);
        return [`${at}${place} = ${e(s.value)}`];
      }
      case 'for': {
        const how = `${s.parallel ? ' parallel' : ''}${s.on ? ` on ${s.on}` : ''}`;
        const range = `${e(s.start)}..${e(s.end)} step ${s.step}${how}`;
        return [`${at}for ${this.#vars.of(s.var)} in ${range} {`, ...inner(s.body), `${at}}`];
      }
      case 'barrier':
        return [`${at}barrier ${s.team}`];
      case 'combine': {
        const how = `${s.op} on ${s.team}`;
        return [`${at}combine ${this.#declare(s.var)} by ${how} = ${e(s.value)}`];
      }
      case 'pack': {
        const how = `${s.dtype}${s.paired ? '_paired' : ''}`;
        return [`${at}pack ${this.#declare(s.var)} by ${how} = ${e(s.value)}`];
      }
      case 'product': {
        const rows = `${e(s.a[0])}, ${e(s.a[1])}`;
        return [`${at}product ${this.#vars.of(s.var)} by ${s.dtype} = ${rows} on ${e(s.b)}`];
      }
      case 'copy': {
        const to = this.#place(s.to, s.at, s.count, 1);
        const valid = s.valid ? ` for ${e(s.valid)}` : '';
        return [`${at}copy ${to} = ${this.#place(s.from, s.index, s.count, 1)}${valid}`];
      }
      case 'arrive':
        return [`${at}arrive ${s.pending}`];
      case 'while': {
        const head = [`${at}while {`, ...inner(s.header), `${at}} test ${e(s.cond)} {`];
        return [...head, ...inner(s.body), `${at}}`];
      }
      case 'if': {
        const yes = [`${at}if ${e(s.cond)} {`, ...inner(s.then)];
        return s.else.length
          ? [...yes, `${at}} else {`, ...inner(s.else), `${at}}`]
          : [...yes, `${at}}`];
      }
    }
  }

  #declare(v: Var): string {
    return `${this.#vars.of(v)}: ${typeName(v.type)}`;
  }

  #place(b: Buffer, index: Expr, lanes: number, align: number): string {
    const width = lanes === 1 ? '' : ` : ${lanes}`;
    const aligned = align === 1 ? '' : ` @ ${align}`;
    const as = this.#isAlias(b) ? ` as ${b.dtype}` : '';
    return `${this.#buffers.of(b)}${as}[${this.#expr(index, 0)}${width}${aligned}]`;
  }

  /** Read or written as another dtype than it is declared with: see expand.ts. */
  #isAlias(b: Buffer): boolean {
    return this.#dtypes.get(b.id) !== b.dtype;
  }

  /** `level`: how tightly the surroundings bind. */
  #expr(e: Expr, level: number): string {
    const arg = (x: Expr): string => this.#expr(x, 0);
    const call = (name: string, ...xs: readonly Expr[]): string =>
      `${name}(${xs.map(arg).join(', ')})`;
    switch (e.kind) {
      case 'const': {
        const text = literal(e.value, e.type.scalar);
        return e.type.lanes === 1 ? text : `${typeName(e.type)}(${text})`;
      }
      case 'lanes':
        return `lanes(${e.type.lanes})`;
      case 'var':
        return this.#vars.of(e.var);
      case 'dim':
        return e.name;
      case 'unary': {
        if (e.op !== 'neg' && e.op !== 'not') return call(e.op, e.a);
        const sign = e.op === 'neg' ? '-' : e.type.scalar === 'bool' ? '!' : '~';
        // A literal in parentheses, so that it is not read as a negative one.
        const bare = e.a.kind === 'const' && e.a.type.lanes === 1;
        return `${sign}${bare ? `(${arg(e.a)})` : this.#expr(e.a, prefixLevel)}`;
      }
      case 'binary':
      case 'compare': {
        const row = infix[e.op];
        if (!row) return call(e.op, e.a, e.b);
        const [sign, mine] = row;
        const text = `${this.#expr(e.a, mine)} ${sign} ${this.#expr(e.b, mine + 1)}`;
        return mine < level ? `(${text})` : text;
      }
      case 'select':
        return call('select', e.c, e.a, e.b);
      case 'convert':
        return call(e.type.scalar, e.a);
      case 'bits':
        return call(`bits_${e.type.scalar}`, e.a);
      case 'round':
      case 'encode':
      case 'decode':
        return call(`${e.kind}_${e.dtype}`, e.a);
      case 'splat':
        return `splat(${arg(e.a)}, ${e.type.lanes})`;
      case 'extract':
        return `extract(${arg(e.a)}, ${e.lane})`;
      case 'build':
        return call('build', ...e.parts);
      case 'reduce':
        return call(`reduce_${e.op}`, e.a);
      case 'fold':
        return call(e.op === 'add' ? 'fold' : `fold_${e.op}`, e.a);
      case 'dot':
        return call('dot', e.a, e.b);
      case 'dot4':
        return call('dot4', e.a, e.b);
      case 'zip':
        return `zip(${arg(e.a)}, ${arg(e.b)}, ${e.unit}, ${e.from}, ${e.type.lanes})`;
      case 'muladd':
        return call('muladd', e.a, e.b, e.c);
      case 'repeat':
        return `repeat(${arg(e.a)}, ${e.times})`;
      case 'tile':
        return `tile(${arg(e.a)}, ${e.type.lanes})`;
      case 'load':
        return this.#place(e.buffer, e.index, e.type.lanes, e.align);
      case 'rank':
        return `rank_${e.strict ? 'gt' : 'ge'}(${this.#buffers.of(e.buffer)}, ${arg(e.a)})`;
      case 'nearest':
        return `nearest(${this.#buffers.of(e.buffer)}, ${arg(e.a)}, ${arg(e.unit)})`;
      case 'peak':
        return call('peak', e.a);
      case 'within':
      case 'bounded':
        return `${e.kind}(${arg(e.a)}, ${arg(constant(e.lo, 'f32'))}, ${arg(constant(e.hi, 'f32'))})`;
      case 'gather': {
        const as = this.#isAlias(e.buffer) ? `_${e.buffer.dtype}` : '';
        return `gather${as}(${this.#buffers.of(e.buffer)}, ${arg(e.index)})`;
      }
    }
  }
}
