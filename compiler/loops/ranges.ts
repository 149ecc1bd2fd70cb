// Bounds of integer expressions, from storage types, literals and arithmetic: what decides whether products fit
// narrow lanes.
import { dtypes } from '../ir/dtype.ts';
import type { Expr, ExprOf, Var } from './loops.ts';

export type Range = readonly [min: number, max: number];
/** What a variable that is bound once was bound to, where that is known. */
export type Definition = (v: Var) => Expr | undefined;

const wide: Range = [-(2 ** 31), 2 ** 31 - 1];
const clip = (x: number): number => Math.min(Math.max(x, wide[0]), wide[1]);
const unknown: Definition = () => undefined;

/** Inclusive bounds of every lane of an integer expression. */
export function intRange(e: Expr, defined: Definition = unknown): Range {
  const of = (x: Expr): Range => intRange(x, defined);
  switch (e.kind) {
    case 'const':
      return [e.value, e.value];
    case 'var': {
      const value = defined(e.var);
      return value ? of(value) : wide;
    }
    case 'splat':
    case 'repeat':
    case 'tile':
      return of(e.a);
    case 'zip': {
      const [a, b] = [of(e.a), of(e.b)];
      return [Math.min(a[0], b[0]), Math.max(a[1], b[1])];
    }
    case 'build': {
      const parts = e.parts.map(of);
      return [Math.min(...parts.map(([lo]) => lo)), Math.max(...parts.map(([, hi]) => hi))];
    }
    case 'convert':
      if (e.a.kind === 'within' && e.type.scalar === 'i32')
        return [clip(Math.trunc(e.a.lo)), clip(Math.trunc(e.a.hi))];
      return e.a.type.scalar === 'bool' ? [0, 1] : wide;
    case 'select': {
      const [a, b] = [of(e.a), of(e.b)];
      return [Math.min(a[0], b[0]), Math.max(a[1], b[1])];
    }
    case 'load': {
      const { kind, bits, min, max } = dtypes[e.buffer.dtype];
      if (e.buffer.range) return e.buffer.range;
      return kind !== 'float' && bits < 32 ? [min!, max!] : wide;
    }
    case 'rank':
      return [0, e.buffer.data!.length];
    case 'nearest':
      return [0, Math.max(e.buffer.data!.length - 1, 0)];
    case 'gather': {
      const { data, range } = e.buffer;
      if (range) return range;
      return data && dtypes[e.buffer.dtype].kind !== 'float' && data.length
        ? [Math.min(...data), Math.max(...data)]
        : wide;
    }
    case 'unary': {
      const [lo, hi] = of(e.a);
      if (e.op === 'neg' && e.type.scalar === 'i32' && lo > wide[0]) return [-hi, -lo];
      if (e.op === 'abs' && e.type.scalar === 'i32' && lo > wide[0])
        return [lo <= 0 && hi >= 0 ? 0 : Math.min(Math.abs(lo), Math.abs(hi)), Math.max(-lo, hi)];
      return wide;
    }
    case 'binary':
      return binaryRange(e, of(e.a), of(e.b));
    default:
      return wide;
  }
}

function binaryRange(e: ExprOf<'binary'>, a: Range, b: Range): Range {
  const within = (...all: readonly number[]): Range => {
    const [lo, hi] = [Math.min(...all), Math.max(...all)];
    return lo >= wide[0] && hi <= wide[1] ? [lo, hi] : wide;
  };
  /** All ones up to the top bit of either side. */
  const filled = (): number => 2 ** Math.ceil(Math.log2(Math.max(a[1], b[1]) + 1)) - 1;
  switch (e.op) {
    case 'add':
      return within(a[0] + b[0], a[1] + b[1]);
    case 'sub':
      return within(a[0] - b[1], a[1] - b[0]);
    case 'mul':
      return within(a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]);
    case 'min':
      return [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
    case 'max':
      return [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
    case 'and': {
      if (a[0] >= 0 && b[0] >= 0) return [0, Math.min(a[1], b[1])];
      if (a[0] >= 0) return [0, a[1]];
      return b[0] >= 0 ? [0, b[1]] : wide;
    }
    case 'or':
    case 'xor': {
      if (a[0] >= 0 && b[0] >= 0) return [0, filled()];
      // Sign bits extended: the widest two's complement that holds both holds the result.
      const most = Math.max(-a[0] - 1, a[1], -b[0] - 1, b[1]);
      const bits = Math.ceil(Math.log2(most + 1));
      return bits < 31 ? [-(2 ** bits), 2 ** bits - 1] : wide;
    }
    case 'shr':
      if (e.b.kind !== 'const' || (a[0] < 0 && e.type.scalar !== 'i32')) return wide;
      return [a[0] >> e.b.value, a[1] >> e.b.value];
    case 'shl':
      if (e.b.kind !== 'const' || e.b.value < 0 || e.b.value > 30) return wide;
      return within(a[0] * 2 ** e.b.value, a[1] * 2 ** e.b.value);
    default:
      return wide;
  }
}
