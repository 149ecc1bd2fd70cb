// Multiplies a slice of a stage of a tile on tensor cores: the lane's parts of both operands from the group's memory, the
// products of the warp's blocks, and their scales and offsets.

import { type Dim, Poly } from '../../ir/algebra.ts';
import { dtypes } from '../../ir/dtype.ts';
import type { Buffer, Expr, Var } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import type { Storage } from '../lowering.ts';
import { coreOf } from './cores.ts';
import { anySlice, withStorage } from './feeds.ts';
import type { Feed, ProductTile } from './product-tile.ts';

/** The lane's part of a slice `j` of the warp's depth, of one row of an operand in the group's memory. */
function fragment(
  tile: ProductTile,
  f: Feed,
  row: Poly,
  j: Poly,
  slot: Poly,
  half: Poly,
  plane = 0,
): Expr {
  const { lo } = tile;
  const { em } = lo;
  const { plan, depth } = tile.stages;
  const per = plan.unit / 4;
  const k = tile.warp.deep.mul(depth).add(j.mul(plan.unit)).add(tile.lane.t.mul(per));
  if (f.words) {
    const own = (per * dtypes[plan.kind].bits) / 32;
    const planes = f.which === 'stream' ? plan.planes : 1;
    const first = half.mul(planes).add(plane).mul(f.side.count).add(row).mul(f.words.pitch);
    const at = first.add(k.over(per)!.mul(own)).add(Poly.atom(lo.lane(own)));
    return em.bind(lo.load(f.words.buffer, [f.words.buffer.size], [at], own), 'b');
  }
  const lane = Poly.atom(lo.lane(per));
  const elsewhere = new Map(
    f.fields.map(({ value }, i): readonly [typeof value, Storage] => {
      const { buffer, pitch } = f.copies[i]!;
      const at = slot.mul(f.side.count).add(row).mul(pitch).add(k).add(lane);
      return [
        value,
        {
          kind: 'place',
          buffer,
          at: (index) => (index.some((p) => !lo.isUniform(p)) ? at : Poly.of(0)),
        },
      ];
    }),
  );
  // What is not in the group's memory is no part of the core, so that any row and any slice will do.
  const any = (name: string, extent: Dim | undefined): Poly =>
    Poly.atom(em.atom(em.newVar(name, L.vtype('i32')), extent));
  const { start } = anySlice(lo, f.depth, plan.unit);
  const somewhere = start.add(tile.lane.t.mul(per)).add(lane);
  const { core } = withStorage(lo, elsewhere, () =>
    coreOf(f.side.element(any('row', f.side.extent), somewhere, per)),
  )!;
  const floats = core.type.scalar === 'i32' && plan.kind !== 'i8' ? L.convert(core, 'f32') : core;
  return tile.pack(floats);
}

/** Adds the products of slice `j` of a slot and a half to the lane's sums. */
export function multiplySlice(
  tile: ProductTile,
  stream: Feed,
  panel: Feed,
  sums: readonly Var[],
  j: Poly,
  slot: Poly,
  half: Poly,
): void {
  const { lo, s } = tile;
  const { em } = lo;
  const { plan, depth } = tile.stages;
  const unit = tile.warp.deep.mul(depth / plan.unit).add(j);
  const scaleAt = (buffer: Buffer | undefined, f: Feed, row: Poly): Expr | undefined =>
    buffer &&
    em.bind(
      lo.load(
        buffer,
        [buffer.size],
        [
          half
            .mul(f.side.count)
            .add(row)
            .mul(tile.units + 1)
            .add(unit),
        ],
        1,
      ),
      'd',
    );
  const panelBlocks = s.ownCols / 16;
  const rows = Array.from({ length: panelBlocks }, (_, r) => {
    const first = tile.warp.down
      .mul(s.ownCols)
      .add(16 * r)
      .add(tile.lane.g);
    const of = <T>(make: (row: Poly) => T): readonly [T, T] => [make(first), make(first.add(8))];
    return {
      a: of((row) => fragment(tile, panel, row, j, slot, half)),
      scale: of((row) => scaleAt(panel.scales, panel, row)),
      offset: of((row) => scaleAt(panel.offsets, panel, row)),
    };
  });
  const scalar = plan.kind === 'i8' ? 'i32' : 'f32';
  const product = (v: Var, a: readonly [Expr, Expr], b: readonly Expr[]): void => {
    for (const x of b) em.push({ kind: 'product', var: v, dtype: plan.kind, a, b: x });
  };
  const ones = panel.offsets && onesOf(tile);
  for (let c = 0; c < s.ownRows / 8; c += 1) {
    // Fewer rows than a product has: the last one again.
    const row = s.rows >= 8 ? tile.lane.g.add(8 * c) : Poly.of(0);
    const b = Array.from({ length: plan.planes }, (_, plane) =>
      fragment(tile, stream, row, j, slot, half, plane),
    );
    const others = [0, 1].map((l) => {
      const at = s.rows >= 8 ? tile.lane.t.mul(2).add(8 * c + l) : Poly.of(0);
      return scaleAt(stream.scales, stream, at);
    });
    let total: Expr | undefined;
    if (ones) {
      // The sums of the other operand's rows, for what the panel's elements are more than a multiple of their cores.
      const v = tile.local(scalar, 'total');
      product(v, [ones, ones], b);
      total = L.convert(L.variable(v), 'f32');
    }
    for (let r = 0; r < panelBlocks; r += 1) {
      const acc = sums[c * panelBlocks + r]!;
      const { a, scale, offset } = rows[r]!;
      const factor = (own: readonly [Expr | undefined, Expr | undefined]): Expr | undefined => {
        const list = [0, 1, 2, 3].map((i) => both(own[i >> 1], others[i & 1]));
        return list.every((x) => x !== undefined) ? L.build(list as Expr[]) : undefined;
      };
      const by = factor(scale);
      if (!by && scalar === 'f32') {
        product(acc, a, b);
      } else {
        const v = tile.local(scalar, 'c');
        product(v, a, b);
        const sum = L.convert(L.variable(v), 'f32');
        addTo(tile, acc, by ? L.binary('mul', sum, by) : sum);
      }
      const more = total && factor(offset);
      if (more) addTo(tile, acc, L.binary('mul', total!, more));
    }
  }
}

function addTo(tile: ProductTile, acc: Var, value: Expr): void {
  tile.lo.em.push({ kind: 'set', var: acc, value: L.binary('add', L.variable(acc), value) });
}

function onesOf(tile: ProductTile): Expr {
  const { plan } = tile.stages;
  const scalar = plan.kind === 'i8' ? 'i32' : 'f32';
  return tile.pack(L.constant(1, scalar, plan.unit / 4));
}

/** The scale of a point, of which either operand may have none. */
const both = (a: Expr | undefined, b: Expr | undefined): Expr | undefined =>
  a && b ? L.binary('mul', a, b) : (a ?? b);
