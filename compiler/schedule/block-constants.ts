// Block constants of a row, as f32 in scratch: those of four blocks are computed together, lanes being blocks (jam.ts),
// and a product that runs over the elements then reads one number a block, however the format stores it.
import type { Dim } from '../ir/algebra.ts';
import { Poly } from '../ir/algebra.ts';
import { lateLets } from '../loops/late.ts';
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { blocksTogether } from './blocks.ts';
import type { Factored } from './factor.ts';
import type { Lowering } from './lowering.ts';
import { loop, outerBlock } from './nests.ts';

/** The constant that term `t` of row `j` is multiplied by in block `b`, if it has one. */
export type Constants = (j: number, t: number, b: Poly) => Expr | undefined;

/**
 * Emits code that puts the scales of all terms of rows of a sum into scratch, where that is more than to read an f32.
 * `element(j, k)` is the vector of `width` lanes of row j, of `depth` elements, at element k, and `termsOf` its terms. Undefined where there is nothing
 * to gain.
 */
export function blockConstants(
  lo: Lowering,
  rows: number,
  depth: Dim,
  width: number,
  element: (j: number, k: Poly) => Expr,
  termsOf: (e: Expr) => readonly Factored[],
): Constants | undefined {
  const { em } = lo;
  const blocks = depth.over(width)!;
  const scales = (j: number, b: Poly): readonly (Expr | undefined)[] => {
    const e = element(j, b.mul(width).add(Poly.atom(lo.lane(width))));
    return termsOf(e).map((t) => t.scale);
  };
  if (blocks.constant === 1) return undefined;
  const found = em.trial(() => {
    let list: readonly boolean[] = [];
    em.scope(() => {
      const b = Poly.atom(em.atom(em.newVar('b', L.vtype('i32')), blocks));
      list = scales(0, b).map((s) => s !== undefined && !isPlain(lo, s));
    });
    return list;
  });
  const used = found.flatMap((is, t) => (is ? [t] : []));
  if (used.length === 0) return undefined;
  const buffer = em.newBuffer('constants', 'f32', 'temp', blocks.mul(rows * used.length));
  const at = (j: number, t: number, b: Poly): Expr =>
    em.index(blocks.mul(j * used.length + used.indexOf(t)).add(b));
  const outer = new Set(em.buffers);
  const each = (extent: Dim, first: Poly): void => {
    const store = (b: Poly, j: number): void =>
      scales(j, b).forEach((value, t) => {
        if (used.includes(t))
          em.push({ kind: 'store', buffer, index: at(j, t, b), value: value!, align: 1 });
      });
    loop(
      lo,
      extent,
      1,
      false,
      (b) => {
        for (let j = 0; j < rows; j += 1) store(first.add(b), j);
      },
      Poly.of(0),
      'b',
    );
    const { stmts } = em.scopes.at(-1)!;
    const last = stmts.pop();
    if (last?.kind !== 'for') throw new Error('no loop over blocks');
    // What the elements are made of besides is for the product.
    stmts.push({ ...last, body: lateLets(last.body) });
    blocksTogether(lo, 1, outer);
  };
  // Super-blocks have a loop of their own: what belongs to them is computed once.
  const group = outerBlock(depth, width) / width;
  if (group === 1) each(blocks, Poly.of(0));
  else
    loop(
      lo,
      blocks.over(group)!,
      1,
      false,
      (g) => each(Poly.of(group), g.mul(group)),
      Poly.of(0),
      'g',
    );
  em.bufferDepth.set(buffer.id, em.depth);
  return (j, t, b) => (used.includes(t) ? L.load(buffer, at(j, t, b), 1, 1) : undefined);
}

/** Whether a constant is there without being computed. */
function isPlain(lo: Lowering, e: Expr): boolean {
  if (e.kind === 'load') return e.buffer.dtype === 'f32';
  const value = e.kind === 'var' ? lo.em.definition(e.var) : undefined;
  return value ? isPlain(lo, value) : e.kind === 'const' || e.kind === 'var';
}
