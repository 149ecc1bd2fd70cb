// Factors of the weights' scales that neither rows nor blocks change: literals, such as what the exponent of a half float
// that was read as bits is short of, and the scale of a whole tensor. They multiply the scales of the activations when
// those are prepared, in place of each block's product with them.
import type { Expr } from '../loops/loops.ts';
import * as L from '../loops/loops.ts';
import { sameExpr, times } from './factor.ts';
import type { Lowering } from './lowering.ts';

/** Factors: a literal, and scalars that are read from memory. */
interface Factors {
  readonly literal: number;
  readonly scalars: readonly Expr[];
}

export interface Hoisted {
  readonly literal: number;
  /** Whether there are scalars as well. */
  readonly hasScalars: boolean;
  /** For explanations. */
  readonly text: string;
}

/** A scale as what can be taken out of it and the rest, both as factors. */
function apart(lo: Lowering, e: Expr): { readonly out: Factors; readonly rest: readonly Expr[] } {
  const leaves: Expr[] = [];
  const visit = (x: Expr): void => {
    const value = x.kind === 'var' ? lo.em.definition(x.var) : x;
    if (value?.kind === 'binary' && value.op === 'mul') {
      visit(value.a);
      visit(value.b);
    } else leaves.push(value?.kind === 'splat' ? value.a : x);
  };
  visit(e);
  const isScalar = (x: Expr): boolean =>
    x.kind !== 'const' && x.type.lanes === 1 && lo.em.depthOf(x) === 0;
  return {
    out: {
      literal: leaves.reduce((n, x) => (x.kind === 'const' ? n * x.value : n), 1),
      scalars: leaves.filter(isScalar),
    },
    rest: leaves.filter((x) => x.kind !== 'const' && !isScalar(x)),
  };
}

/** Literals that change no product's being in range, and those that half floats can still be multiplied by. */
const harmless = 2 ** 24;
const mostOfHalves = 2 ** 112;

/**
 * What all of the scales have in common and activations with scales `x` can take; undefined if that is nothing. Where a
 * literal is as large as the rest is small, the rest has to be one factor: a product of several might be subnormal.
 */
export function hoistedOf(
  lo: Lowering,
  scales: readonly (Expr | undefined)[],
  x: Expr | undefined,
): Hoisted | undefined {
  const [first, ...others] = scales.map((w) => w && apart(lo, w));
  if (!first || !x) return undefined;
  const { literal, scalars } = first.out;
  if (literal === 1 && scalars.length === 0) return undefined;
  const isAlike = others.every(
    (o) =>
      o?.out.literal === literal &&
      o.out.scalars.length === scalars.length &&
      o.out.scalars.every((s, i) => sameExpr(s, scalars[i]!)),
  );
  const size = Math.abs(literal);
  const isHarmless = size <= harmless && size >= 1 / harmless;
  const isFit = size > 1 && size <= mostOfHalves && isHalf(lo, x) && scalars.length === 0;
  const isOne = [first, ...others].every((o) => o!.rest.length === 1);
  if (!isAlike || !(isHarmless || (isFit && isOne))) return undefined;
  return { literal, hasScalars: scalars.length > 0, text: textOf(lo, first.out) };
}

/** What is left of a scale. */
export const withoutHoisted = (lo: Lowering, w: Expr): Expr | undefined =>
  apart(lo, w).rest.reduce<Expr | undefined>((a, b) => times(a, b), undefined);

/** The same factors of a scale that was emitted anew, as one. */
export function hoistedFactor(lo: Lowering, w: Expr): Expr {
  const { literal, scalars } = apart(lo, w).out;
  return scalars.reduce((a, b) => L.binary('mul', a, b), L.constant(literal, 'f32') as Expr);
}

/** Whether a number was a half float. */
function isHalf(lo: Lowering, x: Expr): boolean {
  const value = x.kind === 'var' ? lo.em.definition(x.var) : x;
  return value?.kind === 'load' && value.buffer.dtype === 'f16';
}

function textOf(lo: Lowering, { literal, scalars }: Factors): string {
  const exponent = Math.log2(Math.abs(literal));
  const power = Number.isInteger(exponent)
    ? `${literal < 0 ? '-' : ''}2^${exponent}`
    : `${literal}`;
  const names = scalars.map((s) => {
    const value = s.kind === 'var' ? lo.em.definition(s.var) : s;
    return value?.kind === 'load' ? value.buffer.name : 'a scalar';
  });
  return (literal === 1 ? names : [power, ...names]).join(' and ');
}
