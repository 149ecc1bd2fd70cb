// Bounds of values, from their types and the ops that made them: which integers stay in narrow lanes, and which
// indices need no clamp.
import { Poly } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';

export type Bounds = readonly [min: number, max: number];
const everything: Bounds = [-Infinity, Infinity];

/** Inclusive bounds of every element that is not NaN. */
export function boundsOf(v: Value): Bounds {
  return narrower(typeBounds(v), made(v));
}

function typeBounds(v: Value): Bounds {
  const { kind, bits, min, max } = dtypes[v.type.dtype];
  return kind !== 'float' && bits < 32 ? [min!, max!] : everything;
}

const narrower = (a: Bounds, b: Bounds): Bounds => [Math.max(a[0], b[0]), Math.min(a[1], b[1])];

function made(v: Value): Bounds {
  if (!v.def) return everything;
  const { op, index } = v.def;
  const of = (i: number): Bounds => boundsOf(op.operands[i]!);
  switch (op.name) {
    case 'const': {
      const { value } = (op as Op<'const'>).attrs;
      return Number.isNaN(value) ? everything : [value, value];
    }
    case 'min': {
      const [a, b] = [of(0), of(1)];
      return [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
    }
    case 'max': {
      const [a, b] = [of(0), of(1)];
      return [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
    }
    case 'and': {
      const tops = [of(0), of(1)].filter(([lo]) => lo >= 0).map(([, hi]) => hi);
      return tops.length ? [0, Math.min(...tops)] : everything;
    }
    case 'shr': {
      const [by] = of(1);
      const whole = by === of(1)[1] && by >= 0 && by < 32;
      if (!whole) return everything;
      // u32 is filled with zeros; what else is below zero stays so.
      const unsigned = op.results[0]!.type.dtype === 'u32';
      const [lo, hi] = narrower(of(0), unsigned ? [0, 2 ** 32 - 1] : [-(2 ** 31), 2 ** 31 - 1]);
      return [Math.floor(lo / 2 ** by), Math.floor(hi / 2 ** by)];
    }
    case 'floor':
    case 'ceil':
    case 'trunc':
    case 'round':
    case 'roundHalfAway':
    case 'roundHalfUp': {
      const [lo, hi] = of(0);
      return [Math.floor(lo), Math.ceil(hi)];
    }
    case 'cast':
      return castBounds(op.operands[0]!, v);
    case 'select':
      return [Math.min(of(1)[0], of(2)[0]), Math.max(of(1)[1], of(2)[1])];
    case 'reshape':
    case 'materialize':
    case 'broadcast':
    case 'transpose':
    case 'slice':
    case 'at':
      return of(0);
    case 'map':
    case 'kernel': {
      const inner = op.regions[0]!.yields[index];
      return inner ? boundsOf(inner) : everything;
    }
    default:
      return everything;
  }
}

/** Whole numbers keep their value where it fits, and wrap elsewhere; floats saturate, and NaN gives 0. */
function castBounds(from: Value, to: Value): Bounds {
  const source = boundsOf(from);
  if (dtypes[to.type.dtype].kind === 'float') return everything;
  const target = typeBounds(to);
  const fits = source[0] >= target[0] && source[1] <= target[1];
  if (dtypes[from.type.dtype].kind !== 'float') return fits ? source : target;
  const whole: Bounds = [Math.min(0, Math.trunc(source[0])), Math.max(0, Math.trunc(source[1]))];
  return narrower(whole, target);
}

/** Bounds of every element of floats that is not NaN, also by what arithmetic makes of them and by how extremes of a tensor compare. */
export function floatBounds(v: Value, known = new Map<Value, Bounds>()): Bounds {
  let bounds = known.get(v);
  if (!bounds) {
    bounds = narrower(
      boundsOf(v),
      computed(v, (x) => floatBounds(x, known)),
    );
    known.set(v, bounds);
  }
  return bounds;
}

function computed(v: Value, of: (x: Value) => Bounds): Bounds {
  const op = v.def?.op;
  if (!op || v.type.dtype !== 'f32') return everything;
  const [a, b] = op.operands as [Value, Value];
  switch (op.name) {
    case 'neg': {
      const [lo, hi] = of(a);
      return [-hi + 0, -lo + 0];
    }
    case 'abs': {
      const [lo, hi] = of(a);
      return [Math.max(lo, -hi, 0), Math.max(-lo, hi)];
    }
    case 'sqrt':
    case 'exp':
    case 'exp2':
      return [0, Infinity];
    case 'tanh':
    case 'sin':
    case 'cos':
      return [-1, 1];
    case 'add': {
      const [x, y] = [of(a), of(b)];
      return rounded([x[0] + y[0], x[1] + y[1]]);
    }
    case 'sub': {
      const [x, y] = [of(a), of(b)];
      return narrower(toExtreme(a, b), rounded([x[0] - y[1], x[1] - y[0]]));
    }
    case 'mul': {
      if (a === b) return [0, Infinity];
      const [x, y] = [of(a), of(b)];
      const ends = x.flatMap((p) => y.map((q) => p * q));
      return rounded([Math.min(...ends), Math.max(...ends)]);
    }
    case 'reshape':
    case 'materialize':
    case 'broadcast':
    case 'transpose':
    case 'slice':
      return of(a);
    default:
      return everything;
  }
}

/** Rounding keeps the order. What is made of infinite ends may be anything. */
const rounded = ([lo, hi]: Bounds): Bounds =>
  Number.isNaN(lo) || Number.isNaN(hi) ? everything : [Math.fround(lo) + 0, Math.fround(hi) + 0];

/** Bounds of a difference one side of which is an extreme of the other, along some axes. */
function toExtreme(a: Value, b: Value): Bounds {
  const [top, least] = [extremeOf(b, a), extremeOf(a, b)];
  if (top === 'amax' || least === 'amin') return [-Infinity, 0];
  return top === 'amin' || least === 'amax' ? [0, Infinity] : everything;
}

/** What a kernel in front of this one computes, in place of where it is stored. */
function unstored(v: Value): Value {
  const { op, index } = v.def ?? {};
  return op?.name === 'kernel' ? unstored(op.regions[0]!.yields[index!]!) : v;
}

/** Whether each element of `of` meets an extreme of elements that it is one of: a reduction with its axes kept. */
function extremeOf(v: Value, of: Value): 'amax' | 'amin' | undefined {
  const op = unstored(v).def?.op;
  if (op?.name === 'materialize') return extremeOf(op.operands[0]!, of);
  if (op?.name === 'reshape') {
    const inner = unstored(op.operands[0]!).def?.op;
    if (inner?.name !== 'amax' && inner?.name !== 'amin') return undefined;
    const { axes } = (inner as Op<'amax'>).attrs;
    const kept = of.type.shape.map((d, i) => (axes.includes(i) ? Poly.of(1) : d));
    const same =
      v.type.shape.length === kept.length && kept.every((d, i) => d.equals(v.type.shape[i]!));
    return same && inner.operands[0] === of ? inner.name : undefined;
  }
  if ((op?.name !== 'amax' && op?.name !== 'amin') || op.operands[0] !== of) return undefined;
  return (op as Op<'amax'>).attrs.keepdims ? op.name : undefined;
}
