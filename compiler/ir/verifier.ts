// Checks that a Func is well formed: values are defined once and before use, types are what the
// type rules give, regions fit their ops, the signature fits the body. Passes are run under it in
// tests.
import { diagnostic, noSpan, RuleError } from '../diagnostics/diagnostic.ts';
import { product, sameDims } from './algebra.ts';
import { isFloat } from './dtype.ts';
import type { Func, Op, Region, TensorType, Value } from './ir.ts';
import { type OpName, ops, type TypeRule, typeText } from './ops.ts';
import { Namer, printOp } from './printer.ts';

export interface Problem {
  /** What is wrong, followed by the op in question, if it is one. */
  readonly message: string;
  readonly op?: Op;
}

/** How many operands an op takes: from, to. */
export const operandCounts: { readonly [K in OpName]: readonly [number, number] } = (() => {
  const byKind = { leaf: 0, unary: 1, binary: 2, compare: 2, reduce: 1, contract: 2 } as const;
  const others = {
    select: [3, 3],
    cast: [1, 1],
    bitcast: [1, 1],
    broadcast: [1, 1],
    reshape: [1, 1],
    materialize: [1, 1],
    transpose: [1, 1],
    slice: [1, 1],
    concat: [1, Infinity],
    pad: [2, 2],
    gather: [2, 2],
    at: [1, Infinity],
    set: [2, Infinity],
    sort: [1, 1],
    map: [0, 0],
    for: [0, Infinity],
    while: [0, Infinity],
    if: [1, 1],
    kernel: [0, 0],
  } as const;
  const count = (name: OpName): readonly [number, number] => {
    if (Object.hasOwn(others, name)) return others[name as keyof typeof others];
    const n = byKind[ops[name].kind as keyof typeof byKind];
    return [n, n];
  };
  const names = Object.keys(ops) as OpName[];
  return Object.fromEntries(names.map((n) => [n, count(n)])) as {
    [K in OpName]: readonly [number, number];
  };
})();

/** How many regions an op holds. */
export const regionCounts = (name: OpName): number =>
  name === 'while' || name === 'if' ? 2 : ops[name].kind === 'region' ? 1 : 0;

const sameType = (a: TensorType, b: TensorType): boolean =>
  a.dtype === b.dtype && sameDims(a.shape, b.shape);
const typesText = (types: readonly TensorType[]): string => `(${types.map(typeText).join(', ')})`;
const typesOf = (values: readonly Value[]): TensorType[] => values.map((v) => v.type);
const sameTypes = (a: readonly TensorType[], b: readonly TensorType[]): boolean =>
  a.length === b.length && a.every((t, i) => sameType(t, b[i]!));
const scalarBool = (t: TensorType | undefined): boolean =>
  t?.dtype === 'bool' && t.shape.length === 0;

export function verify(func: Func): Problem[] {
  const checker = new Checker(func);
  checker.run();
  return checker.problems;
}

/** Throws when {@link verify} finds anything: for use between passes. */
export function verifyOrThrow(func: Func, after: string): void {
  const problems = verify(func);
  if (problems.length)
    throw new Error(
      `${func.name} is not well formed ${after}:\n${problems.map((p) => p.message).join('\n')}`,
    );
}

/** Walks the function in program order and keeps what is visible: one set a region that is open. */
class Checker {
  readonly problems: Problem[] = [];
  readonly #func: Func;
  readonly #names = new Namer();
  readonly #defined = new Set<Value>();
  readonly #ids = new Set<number>();
  readonly #visible: Set<Value>[] = [];

  constructor(func: Func) {
    this.#func = func;
  }

  run(): void {
    const { params, results, body, dims, constraints } = this.#func;
    const flat = (xs: Func['params']): Value[] => xs.flatMap((s) => [...s.values]);
    for (const s of [...params, ...results])
      if (s.kind === 'encoded' && s.fields.length !== s.values.length)
        this.#problem(`${s.name} has ${s.fields.length} fields, but ${s.values.length} values`);
    this.#region(body);
    const same = (a: readonly Value[], b: readonly Value[]): boolean =>
      a.length === b.length && a.every((v, i) => v === b[i]);
    if (!same(flat(params), body.params))
      this.#problem('the parameters of the body are not those of the signature');
    if (!same(flat(results), body.yields))
      this.#problem('the values that the body yields are not those of the signature');
    const known = new Set(dims);
    if (known.size !== dims.length) this.#problem(`a dim is declared twice: ${dims.join(', ')}`);
    for (const { poly } of constraints)
      for (const a of poly.leaves())
        if (!known.has(a.key)) this.#problem(`a constraint names the unknown dim ${a.key}`);
  }

  #problem(what: string, op?: Op): void {
    this.problems.push({
      message: op ? `${what}\n${printOp(op, this.#names, '  ')}` : what,
      ...(op ? { op } : {}),
    });
  }

  /** Brings a value into view; parameters have no op. */
  #define(v: Value, op?: Op): void {
    if (this.#defined.has(v)) this.#problem(`${this.#names.name(v)} is defined twice`, op);
    else if (this.#ids.has(v.id)) this.#problem(`the id ${v.id} belongs to two values`, op);
    this.#defined.add(v);
    this.#ids.add(v.id);
    this.#visible.at(-1)!.add(v);
    if (v.def?.op !== op)
      this.#problem(`${this.#names.name(v)} does not know the op that defines it`, op);
    for (const dim of v.type.shape)
      for (const a of dim.leaves())
        if (!this.#func.dims.includes(a.key))
          this.#problem(`${this.#names.name(v)} has the unknown dim ${a.key}`, op);
  }

  #use(v: Value, op?: Op): void {
    if (this.#visible.some((s) => s.has(v))) return;
    const why = this.#defined.has(v) ? 'is not visible here' : 'is used before it is defined';
    this.#problem(`${this.#names.name(v)} ${why}`, op);
  }

  #region(region: Region, op?: Op): void {
    this.#visible.push(new Set());
    for (const p of region.params) this.#define(p);
    for (const o of region.ops) this.#op(o);
    for (const v of region.yields) this.#use(v, op);
    this.#visible.pop();
  }

  #op(op: Op): void {
    for (const v of op.operands) this.#use(v, op);
    for (const r of op.regions) this.#region(r, op);
    op.results.forEach((v, i) => {
      this.#define(v, op);
      if (v.def && v.def.index !== i)
        this.#problem(`${this.#names.name(v)} is result ${i}, not ${v.def.index}`, op);
    });
    const n = op.operands.length;
    const [least, most] = operandCounts[op.name];
    if (n < least || n > most) this.#problem(`${op.name} does not take ${n} operands`, op);
    else if (op.regions.length !== regionCounts(op.name))
      this.#problem(
        `${op.name} has ${regionCounts(op.name)} regions, not ${op.regions.length}`,
        op,
      );
    else {
      this.#types(op);
      for (const what of shapeOfRegions(op)) this.#problem(what, op);
    }
  }

  /** The op's type rule, run again on the operands that it has now. */
  #types(op: Op): void {
    let types: readonly TensorType[];
    try {
      const rule = ops[op.name].type as TypeRule<OpName>;
      types = rule(typesOf(op.operands), op.attrs, op.regions);
    } catch (e) {
      if (!(e instanceof RuleError)) throw e;
      this.#problem(diagnostic(e.code, noSpan, e.facts).message, op);
      return;
    }
    if (!sameTypes(types, typesOf(op.results)))
      this.#problem(
        `the type rule of ${op.name} gives ${typesText(types)}, not ${typesText(typesOf(op.results))}`,
        op,
      );
  }
}

/** What the type rules leave open: scalars where they are needed, and how regions fit their op. */
function* shapeOfRegions(op: Op): Generator<string> {
  const operands = typesOf(op.operands);
  const params = op.regions.map((r) => typesOf(r.params));
  const yields = op.regions.map((r) => typesOf(r.yields));
  const scalarIndex = (t: TensorType | undefined): boolean =>
    t !== undefined && t.shape.length === 0 && !isFloat(t.dtype) && t.dtype !== 'bool';
  const carries = (found: readonly TensorType[], wanted: readonly TensorType[], what: string) =>
    sameTypes(found, wanted)
      ? []
      : [`${op.name}: ${what} ${typesText(found)} are not ${typesText(wanted)}`];
  switch (op.name) {
    case 'table': {
      const { data, shape } = op.attrs as { data: readonly number[]; shape: TensorType['shape'] };
      if (!product(shape).equals(data.length))
        yield `table: ${data.length} values do not fill ${product(shape)} elements`;
      break;
    }
    case 'pad':
      if (operands[1]!.shape.length) yield 'pad: the fill is not a scalar';
      break;
    case 'map': {
      const { dims } = op.attrs as { dims: readonly unknown[] };
      const index: TensorType = { dtype: 'i32', shape: [] };
      yield* carries(
        params[0]!,
        dims.map(() => index),
        'the parameters of the region',
      );
      break;
    }
    case 'for': {
      const counted = (op.attrs as { extent?: unknown }).extent !== undefined;
      if (!counted && !scalarIndex(operands[0]))
        yield 'for: the trip count is not an integer scalar';
      const carried = counted ? operands : operands.slice(1);
      const index: TensorType = { dtype: 'i32', shape: [] };
      yield* carries(params[0]!, [index, ...carried], 'the parameters of the region');
      yield* carries(yields[0]!, carried, 'the yielded values');
      break;
    }
    case 'while':
      yield* carries(params[0]!, operands, 'the parameters of the condition');
      yield* carries(params[1]!, operands, 'the parameters of the body');
      yield* carries(yields[1]!, operands, 'the values that the body yields');
      if (yields[0]!.length !== 1 || !scalarBool(yields[0]![0]))
        yield 'while: the condition is not a bool scalar';
      break;
    case 'if':
      if (!scalarBool(operands[0])) yield 'if: the condition is not a bool scalar';
      if (params[0]!.length + params[1]!.length) yield 'if: its regions take no parameters';
      yield* carries(yields[1]!, yields[0]!, 'the values of the second branch');
      break;
    case 'kernel':
      if (params[0]!.length) yield 'kernel: its region takes no parameters';
      break;
    default:
      break;
  }
}
