// How the threads of a group bring a stage of a tile on tensor cores into its memory: copies of what stays as it is stored, and
// what passes through registers, which is fetched early and put down late.

import { Poly } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Buffer, Expr } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import { coreOf, planesOf } from './cores.ts';
import type { Feed, ProductTile } from './product-tile.ts';
import type { Side } from './tile.ts';

/** What a thread fetches early, to be put down later. */
interface Fetched {
  readonly at: Expr;
  readonly guard: Expr | undefined;
  readonly values: readonly { readonly buffer: Buffer; readonly plane: number; readonly e: Expr }[];
}

/** The row of an operand; past its end, the last one. */
function rowOf(tile: ProductTile, side: Side, r: Poly): Poly {
  const { em } = tile.lo;
  const last = em.index(side.extent.sub(1));
  return tile.named(L.binary('min', em.index(side.first.add(r)), last), 'from', side.extent);
}

/** Starts the copies of a stage of an operand, into one of the slots. */
export function copyStage(tile: ProductTile, f: Feed, stage: Poly, slot: Poly): void {
  const { em } = tile.lo;
  const { total } = tile.stages;
  f.fields.forEach(({ from, base, piece }, i) => {
    const { buffer, pitch } = f.copies[i]!;
    tile.share(
      f.side.count,
      total / piece,
      (row, part, guard) => {
        const start = em.scope(() => {
          const at = slot.mul(f.side.count).add(row).mul(pitch).add(part.mul(piece));
          const index = base(rowOf(tile, f.side, row), stage).add(part.mul(piece));
          const left = L.binary(
            'sub',
            em.index(f.depth),
            em.index(stage.mul(total).add(part.mul(piece))),
          );
          const valid = L.binary('min', L.binary('max', left, L.i32(0)), L.i32(piece));
          em.push({
            kind: 'copy',
            ...{ to: buffer, at: em.index(at), from, index: em.index(index), count: piece },
            ...(f.depth.multiple() % total === 0 ? {} : { valid: em.bind(valid, 'valid') }),
          });
        });
        if (guard) tile.when(guard, start);
        else em.scopes.at(-1)!.stmts.push(...start);
      },
      false,
    );
  });
}

/** What of a stage passes through registers. */
export function fetchStage(tile: ProductTile, f: Feed, stage: Poly, half: Poly): Fetched[] {
  const { em } = tile.lo;
  const { plan, total } = tile.stages;
  const out: Fetched[] = [];
  const { words, scales, offsets } = f;
  if (words) {
    const per = plan.unit / 4;
    const own = (per * dtypes[plan.kind].bits) / 32;
    tile.share(
      f.side.count,
      total / per,
      (row, part, guard) => {
        const value = elementsOf(tile, f, rowOf(tile, f.side, row), stage, part);
        const planes = f.which === 'stream' ? plan.planes : 1;
        const list = planes === 1 ? [value] : planesOf(value, (e) => em.bind(e, 'plane'));
        const at = half
          .mul(planes * f.side.count)
          .add(row)
          .mul(words.pitch)
          .add(part.mul(own));
        out.push({
          at: em.index(at),
          guard,
          values: list.map((e, plane) => ({ buffer: words.buffer, plane, e })),
        });
      },
      true,
    );
  }
  if (scales || offsets)
    tile.share(
      f.side.count,
      tile.units,
      (row, part, guard) => {
        const number = stage.mul(tile.units).add(part);
        const last = em.index(f.depth.over(plan.unit)!.sub(1));
        const unit = tile.named(
          L.binary('min', em.index(number), last),
          'unit',
          f.depth.over(plan.unit)!,
        );
        const per = plan.unit / 4;
        const k = unit.mul(plan.unit).add(Poly.atom(tile.lo.lane(per)));
        const core = coreOf(f.side.element(rowOf(tile, f.side, row), k, per))!;
        const at = half
          .mul(f.side.count)
          .add(row)
          .mul(tile.units + 1)
          .add(part);
        const values = [
          ...(scales ? [{ buffer: scales, e: core.scale ?? L.constant(1, 'f32') }] : []),
          ...(offsets ? [{ buffer: offsets, e: core.offset! }] : []),
        ];
        out.push({
          at: em.index(at),
          guard,
          values: values.map(({ buffer, e }) => ({ buffer, plane: 0, e: em.bind(e, 'scale') })),
        });
      },
      true,
    );
  return out;
}

/** A lane's cores of one place of a stage; those past the end of the depth are zero. */
function elementsOf(tile: ProductTile, f: Feed, row: Poly, stage: Poly, part: Poly): Expr {
  const { em } = tile.lo;
  const { plan, total } = tile.stages;
  const per = plan.unit / 4;
  const { depth } = f;
  const scalar = plan.kind === 'i8' ? 'i32' : 'f32';
  const asKind = (e: Expr): Expr => (e.type.scalar === scalar ? e : L.convert(e, scalar));
  const number = stage.mul(total / per).add(part);
  if (depth.multiple() % per === 0) {
    const last = depth.over(per)!.sub(1);
    const exact = depth.multiple() % total === 0;
    const inside = exact
      ? number
      : tile.named(L.binary('min', em.index(number), em.index(last)), 'chunk', depth.over(per)!);
    const k = inside.mul(per).add(Poly.atom(tile.lo.lane(per)));
    const value = em.bind(asKind(coreOf(f.side.element(row, k, per))!.core), 'next');
    if (exact) return value;
    const isIn = L.splat(L.compare('le', em.index(number), em.index(last)), per);
    return em.bind(L.select(isIn, value, L.constant(0, scalar, per)), 'next');
  }
  const parts = Array.from({ length: per }, (_, l) => {
    const at = em.index(number.mul(per).add(l));
    const end = em.index(depth);
    const k = tile.named(L.binary('min', at, L.binary('sub', end, L.i32(1))), 'k', depth);
    const value = em.bind(asKind(f.side.element(row, k, 1)), 'next');
    return L.select(L.compare('lt', at, end), value, L.constant(0, scalar));
  });
  return em.bind(L.build(parts), 'next');
}

/** Puts down what was fetched, packed where it is elements. */
export function putStage(tile: ProductTile, { at, guard, values }: Fetched): void {
  const { em } = tile.lo;
  const list = em.scope(() => {
    for (const { buffer, plane, e } of values) {
      if (e.type.lanes === 1) {
        em.push({ kind: 'store', buffer, index: at, value: e, align: 1 });
        continue;
      }
      const words = tile.pack(e);
      const index = plane === 0 ? at : L.binary('add', at, L.i32(plane * planeSize(tile, buffer)));
      em.push({ kind: 'store', buffer, index, value: words, align: words.type.lanes });
    }
  });
  if (guard) tile.when(guard, list);
  else em.scopes.at(-1)!.stmts.push(...list);
}

/** Words of a plane of a half. */
function planeSize(tile: ProductTile, buffer: Buffer): number {
  return buffer.size.constant! / 2 / tile.stages.plan.planes;
}
