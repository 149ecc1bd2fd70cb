// The meaning of every op of the tensor IR, in plain TypeScript: what all backends are tested
// against. Not fast, but quick enough to be asked about real sizes. Values are computed eagerly, op
// by op; nothing is fused.
import type { Dim } from '../ir/algebra.ts';
import { castValue, dtypes } from '../ir/dtype.ts';
import type { Func, Op, Region, Value } from '../ir/ir.ts';
import type {
  ArgReduceName,
  BinaryName,
  CompareName,
  OpName,
  ReduceName,
  UnaryName,
} from '../ir/ops.ts';
import { allocate, type Concrete, count, type Precision, sameShape } from './concrete.ts';
import * as elementwise from './elementwise.ts';
import { Ownership } from './ownership.ts';
import { argReduce, matmul, reduce } from './reduce.ts';
import { solveDims } from './solve-dims.ts';
import * as stored from './stored.ts';
import * as views from './views.ts';

export type { Concrete, Precision } from './concrete.ts';
export { solveDims } from './solve-dims.ts';

export interface InterpretOptions {
  readonly precision?: Precision;
  /** How often the conditions of `while` may hold, all loops together; 10 million by default. */
  readonly maxSteps?: number;
}

/** Results of a function, flattened as `func.body.yields`, for its flattened parameters. */
export function interpret(
  func: Func,
  inputs: readonly Concrete[],
  options: InterpretOptions = {},
): Concrete[] {
  const dims = solveDims(
    func,
    inputs.map((x) => x.shape),
  );
  func.body.params.forEach((param, i) => {
    const { dtype, data, shape } = inputs[i]!;
    const label = param.name ?? `argument ${i}`;
    if (dtype !== param.type.dtype)
      throw new Error(`${label} is ${dtype}, but ${param.type.dtype} was declared`);
    if (data.length !== count(shape))
      throw new Error(`${label} has ${data.length} values for shape [${shape.join(', ')}]`);
  });
  const run = new Run(dims, options.precision ?? 'f32', options.maxSteps ?? 10_000_000);
  // Copies, because views share the arrays of what they look at, inputs included.
  return run.region(func.body, inputs).map((x) => ({ ...x, data: x.data.slice() }));
}

/** The state of one call. */
class Run {
  readonly precision: Precision;
  readonly ownership = new Ownership();
  /** The region that runs, and whether it is the condition of a `while`. */
  here: { readonly region: Region; readonly isHeader: boolean } | undefined = undefined;
  readonly #dims: ReadonlyMap<string, number>;
  readonly #values = new Map<Value, Concrete>();
  readonly #shapes = new Map<readonly Dim[], readonly number[]>();
  readonly #maxSteps: number;
  #steps = 0;

  constructor(dims: ReadonlyMap<string, number>, precision: Precision, maxSteps: number) {
    this.#dims = dims;
    this.precision = precision;
    this.#maxSteps = maxSteps;
  }

  extent(dim: Dim): number {
    const n = dim.constant ?? dim.evaluate((a) => this.#dims.get(a.key) ?? Number.NaN);
    if (!Number.isSafeInteger(n)) throw new Error(`the dim ${dim} has no whole value (${n})`);
    return n;
  }

  /** Dims do not change during a call, so each shape of the program is computed once. */
  shape(dims: readonly Dim[]): readonly number[] {
    let out = this.#shapes.get(dims);
    if (!out) {
      out = dims.map((d) => this.extent(d));
      this.#shapes.set(dims, out);
    }
    return out;
  }

  region(region: Region, args: readonly Concrete[], isHeader = false): Concrete[] {
    const outer = this.here;
    this.here = { region, isHeader };
    region.params.forEach((p, i) => {
      this.#values.set(p, args[i]!);
    });
    for (const op of region.ops) {
      const meaning = meanings[op.name] as Meaning<OpName>;
      const operands = op.operands.map((v) => this.#value(v));
      const results = meaning(op, operands, this);
      if (op.name !== 'set') this.ownership.shared(operands, results);
      op.results.forEach((v, i) => {
        this.#values.set(v, results[i]!);
      });
    }
    this.here = outer;
    const out = region.yields.map((v) => this.#value(v));
    this.ownership.yielded(region, out);
    return out;
  }

  step(): void {
    this.#steps += 1;
    if (this.#steps > this.#maxSteps)
      throw new Error(`while: the loop went on for more than ${this.#maxSteps} steps`);
  }

  #value(v: Value): Concrete {
    const x = this.#values.get(v);
    if (!x) throw new Error(`value ${v.name ?? v.id} is used before it is computed`);
    return x;
  }
}

/** Results of an op for its operands; `run` evaluates dims and regions. */
type Meaning<K extends OpName> = (
  op: Op<K>,
  args: readonly Concrete[],
  run: Run,
) => readonly Concrete[];

const scalar = (value: number): Concrete => ({
  dtype: 'i32',
  shape: [],
  data: Int32Array.of(value),
});
const resultShape = (op: Op, run: Run): readonly number[] => run.shape(op.results[0]!.type.shape);
const resultDType = (op: Op) => op.results[0]!.type.dtype;

const unary = (op: Op<UnaryName>, [x]: readonly Concrete[], run: Run): Concrete[] => [
  elementwise.unary(op.name, x!, resultDType(op), run.precision),
];
const binary = (op: Op<BinaryName>, [a, b]: readonly Concrete[], run: Run): Concrete[] => [
  elementwise.binary(op.name, a!, b!, resultDType(op), resultShape(op, run), run.precision),
];
const compare = (op: Op<CompareName>, [a, b]: readonly Concrete[], run: Run): Concrete[] => [
  elementwise.compare(op.name, a!, b!, resultShape(op, run), run.precision),
];
const reduction = (op: Op<ReduceName>, [x]: readonly Concrete[], run: Run): Concrete[] => [
  reduce(op.name, x!, op.attrs.axes, resultDType(op), resultShape(op, run), run.precision),
];
const argReduction = (op: Op<ArgReduceName>, [x]: readonly Concrete[], run: Run): Concrete[] => [
  argReduce(op.name, x!, op.attrs.axes, resultShape(op, run)),
];
/**
 * Literals are put on their dtype's grid at either precision: every device sees the same constant.
 */
function literal(op: Op<'const' | 'table'>, values: readonly number[], run: Run): Concrete[] {
  const dtype = resultDType(op);
  const shape = resultShape(op, run);
  if (values.length !== count(shape))
    throw new Error(`a table of ${values.length} values has shape [${shape.join(', ')}]`);
  const from = dtypes[dtype].kind === 'float' ? 'f32' : 'i32';
  const data = allocate(dtype, values.length, run.precision);
  for (let i = 0; i < data.length; i++) data[i] = castValue(from, dtype, values[i]!);
  return [{ dtype, shape, data }];
}

/** The results lie one behind the other in the order of the indices. */
function mapMeaning(op: Op<'map'>, run: Run): readonly Concrete[] {
  const body = op.regions[0]!;
  const extents = run.shape(op.attrs.dims);
  const total = count(extents);
  const results = op.results.map(({ type }): Concrete => {
    const shape = run.shape(type.shape);
    return { dtype: type.dtype, shape, data: allocate(type.dtype, count(shape), run.precision) };
  });
  const index = extents.map(() => 0);
  for (let n = 0; n < total; n++) {
    let rest = n;
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      index[axis] = rest % extents[axis]!;
      rest = Math.floor(rest / extents[axis]!);
    }
    run.region(body, index.map(scalar)).forEach((y, i) => {
      results[i]!.data.set(y.data, n * y.data.length);
    });
  }
  return results;
}

/** A computed trip count below 1 is no trip. */
function forMeaning(op: Op<'for'>, args: readonly Concrete[], run: Run): readonly Concrete[] {
  const { extent } = op.attrs;
  const trips = extent ? run.extent(extent) : args[0]!.data[0]!;
  let carried = extent ? args : args.slice(1);
  run.ownership.disown(carried);
  for (let i = 0; i < trips; i++) carried = run.region(op.regions[0]!, [scalar(i), ...carried]);
  return carried;
}

function whileMeaning(op: Op<'while'>, args: readonly Concrete[], run: Run): readonly Concrete[] {
  const [condition, body] = op.regions;
  let carried = args;
  run.ownership.disown(carried);
  while (run.region(condition!, carried, true)[0]!.data[0]) {
    run.step();
    carried = run.region(body!, carried);
  }
  return carried;
}

const meanings: { readonly [K in OpName]: Meaning<K> } = {
  const: (op, _, run) => literal(op, [op.attrs.value], run),
  table: (op, _, run) => literal(op, op.attrs.data, run),
  iota: (op, _, run) => {
    const n = run.extent(op.attrs.size);
    return [{ dtype: 'i32', shape: [n], data: Int32Array.from({ length: n }, (_v, i) => i) }];
  },
  dim: (op, _, run) => [scalar(run.extent(op.attrs.dim))],

  neg: unary,
  abs: unary,
  sign: unary,
  floor: unary,
  ceil: unary,
  trunc: unary,
  round: unary,
  roundHalfAway: unary,
  roundHalfUp: unary,
  sqrt: unary,
  exp: unary,
  exp2: unary,
  log: unary,
  log2: unary,
  sin: unary,
  cos: unary,
  tanh: unary,
  not: unary,
  popcount: unary,
  exponent: unary,
  isnan: unary,

  add: binary,
  sub: binary,
  mul: binary,
  div: binary,
  rem: binary,
  pow: binary,
  min: binary,
  max: binary,
  and: binary,
  or: binary,
  xor: binary,
  shl: binary,
  shr: binary,

  eq: compare,
  ne: compare,
  lt: compare,
  le: compare,
  gt: compare,
  ge: compare,

  select: (op, [c, a, b], run) => [
    elementwise.select(c!, a!, b!, resultDType(op), resultShape(op, run), run.precision),
  ],
  cast: (op, [x], run) => [elementwise.cast(x!, op.attrs.dtype, run.precision)],
  bitcast: (op, [x], run) => [
    elementwise.bitcast(x!, op.attrs.dtype, resultShape(op, run), run.precision),
  ],

  broadcast: (op, [x], run) => [views.broadcast(x!, run.shape(op.attrs.shape))],
  materialize: (_, [x]) => [x!],
  reshape: (op, [x], run) => [views.reshape(x!, run.shape(op.attrs.shape))],
  transpose: (op, [x]) => [views.transpose(x!, op.attrs.perm)],
  slice: (op, [x], run) => [
    views.slice(x!, axisOf(op, x!), run.extent(op.attrs.start), run.extent(op.attrs.size)),
  ],
  concat: (op, xs, run) => [
    views.concat(xs, axisOf(op, xs[0]!), resultDType(op), resultShape(op, run), run.precision),
  ],
  pad: (op, [x, fill], run) => {
    const [low, high] = [run.extent(op.attrs.low), run.extent(op.attrs.high)];
    return [views.pad(x!, fill!, axisOf(op, x!), low, high, run.precision)];
  },
  gather: (op, [x, indices]) => [views.gather(x!, indices!, axisOf(op, x!))],
  at: (_, [x, ...indices], run) => {
    const window = views.at(x!, indices);
    // A window into an array that an update may write to is a copy.
    return [run.ownership.owns(x!) ? { ...window, data: window.data.slice() } : window];
  },

  sum: reduction,
  amin: reduction,
  amax: reduction,
  any: reduction,
  all: reduction,
  argmin: argReduction,
  argmax: argReduction,
  matmul: (op, [a, b], run) => [matmul(a!, b!, resultShape(op, run), run.precision)],

  set: (op, [x, value, ...indices], { ownership, here }) => {
    const inPlace = here !== undefined && ownership.mayWrite(op, x!, here.region, here.isHeader);
    return [ownership.own(stored.set(x!, value!, indices, inPlace))];
  },
  sort: (op, [x], run) => stored.sort(x!, axisOf(op, x!), op.attrs.descending, run.precision),

  map: (op, _, run) => mapMeaning(op, run),
  for: forMeaning,
  while: whileMeaning,
  if: (op, [condition], run) => run.region(op.regions[condition!.data[0] ? 0 : 1]!, []),
  kernel: (op, _, run) => run.region(op.regions[0]!, []),
};

/** Type rules accept axes counted from the end. */
function axisOf(op: Op<'slice' | 'concat' | 'pad' | 'gather' | 'sort'>, x: Concrete): number {
  return op.attrs.axis < 0 ? op.attrs.axis + x.shape.length : op.attrs.axis;
}

/** Equal bits: the same dtype and shape, NaN equal to NaN, and -0 distinct from 0. */
export const identical = (a: Concrete, b: Concrete): boolean =>
  a.dtype === b.dtype &&
  sameShape(a.shape, b.shape) &&
  a.data.every((v, i) => Object.is(v, b.data[i]));
