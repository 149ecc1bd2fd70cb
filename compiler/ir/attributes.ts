// Which attributes of each op the text form writes, and how. What the types of the results say
// already (the dtype of a cast, the shape of a reshape) is left out; `complete` puts it back when
// text is read.
import type { Dim } from './algebra.ts';
import type { TensorType } from './ir.ts';
import type { OpAttrs, OpName } from './ops.ts';

/** Text forms: number allows nan and inf; a trailing `?` marks an attribute that may be absent. */
export type AttrKind = 'number' | 'numbers' | 'ints' | 'dim' | 'dims' | 'flag' | 'text';
export type AttrValue = number | boolean | string | Dim | readonly number[] | readonly Dim[];
export type AttrRecord = Readonly<Record<string, AttrValue>>;

/** How the attributes of one op are written. */
interface AttrForm<K extends OpName> {
  readonly written: { readonly [A in keyof OpAttrs[K]]?: AttrKind };
  /** Attributes that may be missing from the text; a flag that is missing is false. */
  readonly optional?: readonly string[];
  /** The attributes that are read off the type of the first result. */
  readonly complete?: (type: TensorType, written: AttrRecord) => Partial<OpAttrs[K]>;
}

const none = { written: {} } as const;
const axes = {
  written: { axes: 'ints', keepdims: 'flag' },
  optional: ['keepdims'],
} as const;
const dtypeOnly = { written: {}, complete: (t: TensorType) => ({ dtype: t.dtype }) } as const;
const shapeOnly = { written: {}, complete: (t: TensorType) => ({ shape: t.shape }) } as const;

export const attrForms: { readonly [K in OpName]: AttrForm<K> } = {
  const: { ...dtypeOnly, written: { value: 'number' } },
  table: {
    written: { data: 'numbers' },
    complete: (t) => ({ dtype: t.dtype, shape: t.shape }),
  },
  iota: { written: {}, complete: (t) => ({ size: t.shape[0]! }) },
  dim: { written: { dim: 'dim' } },
  neg: none,
  abs: none,
  sign: none,
  floor: none,
  ceil: none,
  trunc: none,
  round: none,
  roundHalfAway: none,
  roundHalfUp: none,
  sqrt: none,
  exp: none,
  exp2: none,
  log: none,
  log2: none,
  sin: none,
  cos: none,
  tanh: none,
  not: none,
  popcount: none,
  exponent: none,
  isnan: none,
  add: none,
  sub: none,
  mul: none,
  div: none,
  rem: none,
  pow: none,
  min: none,
  max: none,
  and: none,
  or: none,
  xor: none,
  shl: none,
  shr: none,
  eq: none,
  ne: none,
  lt: none,
  le: none,
  gt: none,
  ge: none,
  select: none,
  cast: dtypeOnly,
  bitcast: dtypeOnly,
  broadcast: shapeOnly,
  reshape: shapeOnly,
  materialize: none,
  transpose: { written: { perm: 'ints' } },
  slice: {
    written: { axis: 'number', start: 'dim' },
    complete: (t, { axis }) => ({ size: t.shape.at(axis as number)! }),
  },
  concat: { written: { axis: 'number' } },
  pad: { written: { axis: 'number', low: 'dim', high: 'dim' } },
  gather: { written: { axis: 'number' } },
  at: none,
  matmul: none,
  sum: axes,
  amin: axes,
  amax: axes,
  any: axes,
  all: axes,
  argmin: axes,
  argmax: axes,
  set: none,
  sort: { written: { axis: 'number', descending: 'flag' }, optional: ['descending'] },
  map: { written: { dims: 'dims' } },
  for: { written: { extent: 'dim' }, optional: ['extent'] },
  while: none,
  if: none,
  kernel: { written: { name: 'text', schedule: 'text' } },
};

/** Shortest text that reads back to the same double. */
const numberText = (x: number): string =>
  Number.isNaN(x) ? 'nan' : Object.is(x, -0) ? '-0' : String(x).replace('Infinity', 'inf');

function valueText(kind: AttrKind, value: AttrValue): string {
  switch (kind) {
    case 'number':
      return numberText(value as number);
    case 'numbers':
    case 'ints':
      return `[${(value as readonly number[]).map(numberText).join(', ')}]`;
    case 'dims':
      return `[${(value as readonly Dim[]).join(', ')}]`;
    case 'text':
      return JSON.stringify(value);
    case 'dim':
    case 'flag':
      return String(value);
  }
}

/** `{axis: 0, start: 4}`, or nothing when the op has no attributes to write. */
export function attrsText<K extends OpName>(name: K, attrs: OpAttrs[K]): string {
  const record = attrs as unknown as Readonly<Record<string, AttrValue | undefined>>;
  const parts: string[] = [];
  for (const [key, kind] of Object.entries(attrForms[name].written) as [string, AttrKind][]) {
    const value = record[key];
    if (value === undefined || (kind === 'flag' && value === false)) continue;
    parts.push(`${key}: ${valueText(kind, value)}`);
  }
  return parts.length ? `{${parts.join(', ')}}` : '';
}
