// What goes along rows: reductions, normalisations, elementwise functions, against what the engine can read and copy. Cold
// calls stream an input that no cache holds; hot ones take the same 8 MB again and again.

import type { DeviceTensor, Plan } from '../../index.ts';
import { type Context, contest, copiesFor, type Entrant, type Expected } from '../contest.ts';
import { noise } from '../measure.ts';
import { copyLimit, readLimit } from '../subjects/limits.ts';
import { denseCopies, finish, Quern } from '../subjects/quern.ts';
import { rowPeers } from '../subjects/row-peers.ts';

type Numbers = Float32Array<ArrayBuffer>;

/** An operator on a matrix x, by what it does to one row in f64. */
export interface RowOp {
  readonly name: string;
  /** The kernel in bench/row-kernels.ts, and the constants that follow x. */
  readonly kernel: string;
  readonly statics?: readonly number[];
  /** Operands beside x; integers come as Int32Array. */
  readonly others?: (rows: number, columns: number) => readonly (Numbers | Int32Array)[];
  /** Elements of the result for each of x: all of them, one a row, or one a column. */
  readonly gives: 'all' | 'row' | 'column';
  readonly of: (x: Row, i: number, others: readonly ArrayLike<number>[]) => readonly number[];
  readonly tolerance: number;
}
type Row = ArrayLike<number> & Iterable<number>;

const total = (x: Row): number => {
  let sum = 0;
  for (const v of x) sum += v;
  return sum;
};
const largest = (x: Row): number => {
  let top = -Infinity;
  for (const v of x) top = Math.max(top, v);
  return top;
};
const values = (x: Row, f: (v: number, k: number) => number): number[] => Array.from(x, f);
const centered = (x: Row): number[] => {
  const mean = total(x) / x.length;
  return values(x, (v) => v - mean);
};
const meanSquare = (x: Row): number => total(values(x, (v) => v * v)) / x.length;
const powers = (x: Row): number[] => {
  const top = largest(x);
  return values(x, (v) => Math.exp(v - top));
};

const F32 = 1e-5;
const weights = (_: number, columns: number): Numbers => noise(columns, 5);

/** The matrix comes row by row, or column by column where a result is given a column. */
export const rowOps: readonly RowOp[] = [
  { name: 'sum', kernel: 'rowSum', gives: 'row', of: (x) => [total(x)], tolerance: F32 },
  { name: 'amax', kernel: 'rowMax', gives: 'row', of: (x) => [largest(x)], tolerance: 0 },
  {
    name: 'argmax',
    kernel: 'rowArgmax',
    gives: 'row',
    of: (x) => [Array.from(x).indexOf(largest(x))],
    tolerance: 0,
  },
  {
    name: 'column-sum',
    kernel: 'columnSum',
    gives: 'column',
    of: (x) => [total(x)],
    tolerance: F32,
  },
  {
    name: 'column-amax',
    kernel: 'columnMax',
    gives: 'column',
    of: (x) => [largest(x)],
    tolerance: 0,
  },
  {
    name: 'variance',
    kernel: 'variance',
    gives: 'row',
    of: (x) => [meanSquare(centered(x))],
    tolerance: F32,
  },
  {
    name: 'softmax',
    kernel: 'softmax',
    gives: 'all',
    of: (x) => {
      const e = powers(x);
      const sum = total(e);
      return values(e, (v) => v / sum);
    },
    tolerance: F32,
  },
  {
    name: 'log-softmax',
    kernel: 'logSoftmax',
    gives: 'all',
    of: (x) => {
      const log = Math.log(total(powers(x))) + largest(x);
      return values(x, (v) => v - log);
    },
    tolerance: F32,
  },
  {
    name: 'cross-entropy',
    kernel: 'crossEntropy',
    others: (rows, columns) => [Int32Array.from({ length: rows }, (_, i) => (i * 37) % columns)],
    gives: 'row',
    of: (x, i, [target]) => [Math.log(total(powers(x))) + largest(x) - x[target![i]!]!],
    tolerance: F32,
  },
  {
    name: 'rmsnorm',
    kernel: 'rmsNorm',
    others: (rows, columns) => [weights(rows, columns)],
    gives: 'all',
    of: (x, _, [w]) => {
      const rms = Math.sqrt(meanSquare(x) + 1e-5);
      return values(x, (v, k) => (v / rms) * w![k]!);
    },
    tolerance: F32,
  },
  {
    name: 'layernorm',
    kernel: 'layerNorm',
    others: (rows, columns) => [weights(rows, columns), noise(columns, 6)],
    gives: 'all',
    of: (x, _, [w, b]) => {
      const off = centered(x);
      const scale = 1 / Math.sqrt(meanSquare(off) + 1e-5);
      return values(off, (v, k) => v * scale * w![k]! + b![k]!);
    },
    tolerance: F32,
  },
  {
    name: 'silu',
    kernel: 'silu',
    gives: 'all',
    of: (x) => values(x, (v) => v / (1 + Math.exp(-v))),
    tolerance: F32,
  },
  {
    name: 'gelu',
    kernel: 'gelu',
    gives: 'all',
    of: (x) =>
      values(x, (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))),
    tolerance: F32,
  },
  {
    name: 'rope',
    kernel: 'rope',
    statics: [128],
    gives: 'all',
    of: (x, i) =>
      values(x, (v, k) => {
        const j = k % 64;
        const angle = i * 10000 ** (-j / 64);
        return k % 128 < 64
          ? v * Math.cos(angle) - x[k + 64]! * Math.sin(angle)
          : x[k - 64]! * Math.sin(angle) + v * Math.cos(angle);
      }),
    // The angle itself is an f32 of up to 511: half a unit in its last place is 1.5e-5.
    tolerance: 1e-4,
  },
  {
    name: 'add',
    kernel: 'add',
    others: (rows, columns) => [noise(rows * columns, 7)],
    gives: 'all',
    of: (x, i, [y]) => values(x, (v, k) => v + y![i * x.length + k]!),
    tolerance: 1e-6,
  },
];

interface Shape {
  readonly rows: number;
  readonly columns: number;
  readonly modes: readonly ('cold' | 'hot')[];
  readonly ops?: readonly string[];
}
const short = ['sum', 'amax', 'argmax', 'softmax', 'rmsnorm'];
const shapesFor = (quick: boolean): readonly Shape[] =>
  quick
    ? [
        { rows: 12, columns: 384, modes: ['cold'] },
        { rows: 70, columns: 64, modes: ['cold'], ops: short },
      ]
    : [
        { rows: 512, columns: 4096, modes: ['cold', 'hot'] },
        { rows: 65536, columns: 64, modes: ['cold'], ops: short },
      ];

/** A kernel by name, as this file picks them. */
interface RowKernel {
  prepare(...args: readonly unknown[]): Promise<Plan>;
}

/** What a case works on. */
export interface Rows {
  readonly op: RowOp;
  readonly rows: number;
  readonly columns: number;
  readonly x: Numbers;
  readonly others: readonly (Numbers | Int32Array)[];
  /** Bytes that a call reads and writes, at least. */
  readonly bytes: number;
  readonly expected: Expected;
  /** Copies to rotate over of operands that take so many bytes. */
  readonly copies: (bytes: number) => number;
}

export async function rowCases(context: Context): Promise<void> {
  let quern: Quern | undefined;
  for (const { rows, columns, modes, ops } of shapesFor(context.quick))
    for (const op of rowOps) {
      if (ops && !ops.includes(op.name)) continue;
      const name = `rows ${op.name} ${rows}x${columns}`;
      if (!modes.some((m) => context.wants(`${name} ${m}`))) continue;
      quern ??= await Quern.open();
      const work = workOf(context, op, rows, columns);
      const limit = op.gives === 'all' ? copyLimit : readLimit;
      const entrants = [own(quern, work), ...(context.peers ? rowPeers(work) : [])];
      await contest(context, name, [...entrants, limit(context.coldBytes)], modes);
    }
  quern?.close();
}

function workOf(context: Context, op: RowOp, rows: number, columns: number): Rows {
  const x = noise(rows * columns);
  const others = op.others?.(rows, columns) ?? [];
  const results = { all: rows * columns, row: rows, column: columns }[op.gives];
  const bytes = [x, ...others].reduce((sum, a) => sum + a.byteLength, 0) + 4 * results;
  const copies = (n: number): number => copiesFor(context, n);
  return {
    op,
    rows,
    columns,
    x,
    others,
    bytes,
    expected: meant(op, rows, columns, x, others),
    copies,
  };
}

/** Results of a few rows (or columns) spread over the matrix. */
function meant(
  op: RowOp,
  rows: number,
  columns: number,
  x: Numbers,
  others: readonly ArrayLike<number>[],
): Expected {
  const count = op.gives === 'column' ? columns : rows;
  const chosen = new Set([
    0,
    1,
    count - 1,
    ...Array.from({ length: 9 }, (_, j) => (j * 7919) % count),
  ]);
  const at: number[] = [];
  const found: number[] = [];
  for (const i of chosen) {
    const line =
      op.gives === 'column'
        ? Float32Array.from({ length: rows }, (_, r) => x[r * columns + i]!)
        : x.subarray(i * columns, (i + 1) * columns);
    op.of(line, i, others).forEach((v, k) => {
      at.push(op.gives === 'all' ? i * columns + k : i);
      found.push(v);
    });
  }
  return { at, values: found };
}

const own = (quern: Quern, work: Rows): Entrant => ({
  column: 'quern',
  make: async () => {
    const { op, rows, columns, others, expected } = work;
    const first = quern.tensor(work.x, [rows, columns]);
    const inputs = await denseCopies(first, work.copies(first.bytes));
    const rest = others.map((o) => quern.tensor(o, shapeOf(o, rows, columns)));
    const statics = op.statics ?? [];
    const kernels = (await quern.rowKernels()) as unknown as Record<string, RowKernel>;
    const plan: Plan = await kernels[op.kernel]!.prepare(first, ...rest, ...statics);
    const args = (copy: number) => [inputs.list[copy]!, ...rest, ...statics];
    return {
      what: op.kernel,
      copies: inputs.list.length,
      bytes: work.bytes,
      run: (copy) => finish(plan.run(args(copy))),
      check: {
        result: async () => {
          const y = (await plan.run(args(0))) as DeviceTensor;
          const data = (await y.data()) as ArrayLike<number>;
          y.dispose();
          return data;
        },
        expected,
        tolerance: op.tolerance,
      },
      dispose: () => {
        inputs.dispose();
        for (const t of rest) t.dispose();
      },
    };
  },
});

const shapeOf = (o: ArrayLike<number>, rows: number, columns: number): readonly number[] =>
  o.length === rows * columns ? [rows, columns] : [o.length];
