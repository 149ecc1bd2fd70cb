// Reductions down the columns of a matrix: lanes are columns, rows are read as they lie. Sums of a strip of columns stay in the
// nearest cache while several rows at a time are added to them, so that memory is read in a few long streams, where a loop
// over the rows of one vector of columns would touch another page each time. The order of additions is that of the rows.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import { scalarOf } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import type { Buffer, Expr, ReduceOp } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { extremes } from './extremes.ts';
import type { Lowering } from './lowering.ts';
import { loop, nest, type Range, vectorLoop } from './nests.ts';
import { combine, type Gathered, identity } from './reductions.ts';
import { chooseLanes, probeIndex } from './vector-widths.ts';
import { storeAt } from './regions.ts';

/** Columns of a strip: their sums, and as much of the rows at hand, are within the nearest cache. */
const stripColumns = 4096;
/** Rows that are added at a time, far apart: streams for the prefetcher. */
const mostStreams = 4;
/** Columns and rows below which nothing is won. */
const fewest = 16;
const lanes = 8;

const operations: { readonly [name: string]: ReduceOp } = { sum: 'add', amin: 'min', amax: 'max' };

/** The reduction down columns that `root` is a function of, where there is no other. */
function columnsOf(lo: Lowering, root: Value): Op<'sum'> | undefined {
  const found = new Set<Op>();
  const seen = new Set<Value>();
  const visit = (v: Value): boolean => {
    const op = v.def?.op;
    if (!op || seen.has(v) || lo.storage.has(v)) return true;
    seen.add(v);
    const { kind } = ops[op.name];
    if (kind === 'reduce') {
      found.add(op);
      return !reaches(op.operands[0]!);
    }
    if (kind !== 'contract' && kind !== 'region' && kind !== 'stored')
      return op.operands.every(visit);
    return false;
  };
  const reaches = (v: Value): boolean => {
    const op = v.def?.op;
    if (!op || lo.storage.has(v)) return false;
    const { kind } = ops[op.name];
    return kind === 'reduce' || kind === 'contract' || op.operands.some(reaches);
  };
  if (!visit(root) || found.size !== 1) return undefined;
  const [op] = found as Set<Op<'sum'>>;
  const [x] = op!.operands as [Value];
  const { axes } = op!.attrs;
  const rank = x.type.shape.length;
  const [rows, columns] = [x.type.shape.at(-2), x.type.shape.at(-1)!];
  if (!operations[op!.name] || axes.length !== 1 || axes[0] !== rank - 2 || !rows) return undefined;
  if ((rows.constant ?? fewest) < fewest || (columns.constant ?? fewest) < fewest) return undefined;
  // One element of the result for each of the reduction, in the same order.
  const { shape } = op!.results[0]!.type;
  const kept = op!.attrs.keepdims ? [...shape.slice(0, -2), shape.at(-1)!] : shape;
  const plain = (s: readonly Dim[]): readonly Dim[] => s.filter((d) => d.constant !== 1);
  const [a, b] = [plain(kept), plain(root.type.shape)];
  if (a.length !== b.length || !a.every((d, i) => d.equals(b[i]!))) return undefined;
  return root.type.shape.at(-1)!.equals(columns) ? op : undefined;
}

/** Whether `root` was stored so. */
export function lowerStrips(lo: Lowering, root: Value, out: Buffer): boolean {
  const op = columnsOf(lo, root);
  if (!op) return false;
  const { em } = lo;
  const [x] = op.operands as [Value];
  const how = operations[op.name]!;
  const scalar = scalarOf(op.results[0]!.type.dtype);
  if (scalar === 'bool') return false;
  const [rows, columns] = [x.type.shape.at(-2)!, x.type.shape.at(-1)!];
  const batch = x.type.shape.slice(0, -2);
  const element = (ids: readonly Poly[], row: Poly, k: Poly, n: number): Expr => {
    const e = lo.emit(x, [...ids, row, k], n);
    return L.splat(e.type.scalar === scalar ? e : L.convert(e, scalar), n);
  };
  const probe = (n: number): Expr => {
    const any = (): Poly => Poly.atom(em.atom(em.newVar('o', L.vtype('i32'))));
    return element(batch.map(any), any(), probeIndex(lo, columns, n), n);
  };
  if (chooseLanes(lo, [lanes], probe) !== lanes) return false;
  const whole = { op: how, scalar, from: identity(how, scalar), of: (e: Expr) => e };
  const exact = scalar === 'f32' && how !== 'add' ? extremes[how as 'min' | 'max'] : undefined;
  const parts: readonly Gathered[] = exact?.parts ?? [whole];
  // With several sums a column, reading and writing those is what costs.
  const rowsTogether = parts.length > 1 ? 2 * mostStreams : mostStreams;
  const dtypeOf = (s: Gathered['scalar']) => (s === 'bool' ? 'i32' : s);
  const width = Poly.of(Math.min(stripColumns, columns.constant ?? stripColumns));
  const scratch = (s: Gathered['scalar']): Buffer =>
    em.newBuffer('strip', dtypeOf(s), 'temp', width);
  const sums = parts.map((p) => scratch(p.scalar));
  const result = exact ? scratch(scalar) : sums[0]!;
  const strips = floorDiv(columns.add(stripColumns - 1), stripColumns);
  const body = (ids: readonly Poly[], strip: Poly): void => {
    const from = strip.mul(stripColumns);
    const end = em.bind(
      L.binary('min', em.index(from.add(stripColumns)), em.index(columns)),
      'end',
    );
    const to =
      end.kind === 'var' ? Poly.atom(em.atom(end.var)) : Poly.of((end as L.ExprOf<'const'>).value);
    const range: Range = { from, to };
    const place = (k: Poly, n: number): { base: Poly; align: number } => ({
      base: (n === 1 ? k : k.sub(Poly.atom(lo.lane(n)))).sub(from),
      align: n,
    });
    const read = (b: Buffer, k: Poly, n: number): Expr => {
      const { base, align } = place(k, n);
      return L.load(b, em.index(base), n, align);
    };
    const write = (b: Buffer, k: Poly, n: number, value: Expr): void => {
      const { base, align } = place(k, n);
      em.push({ kind: 'store', buffer: b, index: em.index(base), value, align });
    };
    const each = (f: (k: Poly, n: number) => void): void =>
      vectorLoop(lo, columns, lanes, f, false, undefined, range);
    each((k, n) => {
      parts.forEach((p, i) => write(sums[i]!, k, n, L.constant(p.from, p.scalar, n)));
    });
    const part = floorDiv(rows, rowsTogether);
    const add = (row: Poly, times: number): void =>
      each((k, n) => {
        let totals = parts.map((_, i) => em.bind(read(sums[i]!, k, n), 'sum'));
        for (let j = 0; j < times; j += 1) {
          const e = element(ids, row.add(part.mul(j)), k, n);
          const value = exact ? em.bind(e, 'x') : e;
          totals = totals.map((t, i) => combine(parts[i]!.op, t, parts[i]!.of(value)));
        }
        parts.forEach((_, i) => {
          write(sums[i]!, k, n, totals[i]!);
        });
      });
    loop(lo, part, 1, false, (row) => add(row, rowsTogether), undefined, 'row');
    if (rows.multiple() % rowsTogether !== 0) {
      const left = em.asIndex(em.index(part.mul(rowsTogether)));
      loop(lo, rows, 1, false, (row) => add(row, 1), left, 'row');
    }
    if (exact)
      each((k, n) => {
        const found = sums.map((b) => em.bind(read(b, k, n), 'sum'));
        write(result, k, n, exact.finish(found));
      });
    em.bufferDepth.set(result.id, em.depth);
    const at = (index: readonly Poly[]): Poly => index.at(-1)!.sub(from);
    lo.storage.set(op.results[0]!, { kind: 'place', buffer: result, at });
    const index = indexOf(root.type.shape, ids);
    each((k, n) => {
      const at = [...index, k];
      storeAt(lo, out, root.type.shape, at, L.splat(lo.emit(root, at, n), n), n);
    });
    lo.storage.delete(op.results[0]!);
  };
  nest(lo, [...batch, strips], (ids) => body(ids.slice(0, -1), ids.at(-1)!), true);
  return true;
}

/** The index of a row of a value from those of its axes that are longer than one. */
function indexOf(shape: readonly Dim[], ids: readonly Poly[]): Poly[] {
  const longer = ids.filter((p) => p.constant === undefined);
  let next = 0;
  return shape.slice(0, -1).map((d) => (d.constant === 1 ? Poly.of(0) : longer[next++]!));
}
