// Bounds of values, from their types and the ops that made them: which integers stay in narrow lanes, and which
// indices need no clamp.
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
