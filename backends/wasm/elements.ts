// Vectors put together from single elements of memory: one by one into their lanes, or as the columns of four rows.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Expr, ExprOf } from '../../compiler/loops/loops.ts';
import { place } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { scalar } from './expressions.ts';
import type { Frame } from './frame.ts';

/** Loads of four elements each, if a vector of sixteen takes the first of all of them, then the second, and so on. */
export function rowsOf({ parts }: ExprOf<'build'>): readonly ExprOf<'load'>[] | undefined {
  if (parts.length !== 16) return undefined;
  const loads = parts.filter(
    (p): p is ExprOf<'load'> => p.kind === 'load' && dtypes[p.buffer.dtype].bits === 32,
  );
  const follows = (p: Expr, first: Expr, by: number): boolean =>
    p.kind === 'binary' &&
    p.op === 'add' &&
    p.a === first &&
    p.b.kind === 'const' &&
    p.b.value === by;
  const isOf = (p: ExprOf<'load'>, i: number): boolean => {
    const first = loads[i % 4]!;
    return p.buffer === first.buffer && (i < 4 || follows(p.index, first.index, i >> 2));
  };
  return loads.length === 16 && loads.every(isOf) ? loads.slice(0, 4) : undefined;
}

/** Column `c` of four rows in memory; the others are kept. */
export function transposedRows(
  f: Frame,
  e: ExprOf<'build'>,
  rows: readonly ExprOf<'load'>[],
  c: number,
): Ref {
  const { m, types } = f;
  const kept = f.kept(e, 400 + c, types.v128);
  if (kept !== undefined) return kept;
  const row = (i: number): Ref => {
    const { ptr, offset } = place(f, (x) => scalar(f, x), rows[i]!.buffer, rows[i]!.index);
    return m.v128.load(offset, 4, ptr);
  };
  const shuffle = (a: Ref, b: Ref, lanes: readonly number[]): Ref =>
    m.i8x16.shuffle(
      a,
      b,
      lanes.flatMap((i) => [0, 1, 2, 3].map((byte) => 4 * i + byte)),
    );
  const pairs = (i: number) => {
    const [a, aAgain] = f.twice(row(i), types.v128);
    const [b, bAgain] = f.twice(row(i + 1), types.v128);
    const [low, high] = [f.local(types.v128), f.local(types.v128)];
    const setup = [
      m.local.set(low, shuffle(a, b, [0, 4, 1, 5])),
      m.local.set(high, shuffle(aAgain(), bAgain(), [2, 6, 3, 7])),
    ];
    return { setup, get: (upper: boolean) => m.local.get(upper ? high : low, types.v128) };
  };
  const [first, second] = [pairs(0), pairs(2)];
  const columns = [0, 1, 2, 3].map((i) => {
    const lanes = i % 2 ? [2, 3, 6, 7] : [0, 1, 4, 5];
    return f.keep(e, 400 + i, types.v128, shuffle(first.get(i > 1), second.get(i > 1), lanes));
  });
  const list = [...first.setup, ...second.setup, ...columns];
  return m.block(null, [...list, f.kept(e, 400 + c, types.v128)!], types.v128);
}

/** Four elements from anywhere in memory, straight into their lanes. The last address is the first to be computed. */
export function loadLanes(f: Frame, [first, ...rest]: readonly ExprOf<'load'>[]): Ref {
  const { v128 } = f.m;
  const at = (e: ExprOf<'load'>) => place(f, (x) => scalar(f, x), e.buffer, e.index);
  const places = rest.toReversed().map(at).reverse();
  const start = at(first!);
  return places.reduce(
    (v, { ptr, offset }, i) => v128.load32_lane(offset, 4, i + 1, ptr, v),
    v128.load32_splat(start.offset, 4, start.ptr),
  );
}
