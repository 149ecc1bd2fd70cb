// encode, decode, pack and unpack of whole tensors. The functions of a format are staged once a use, as the body
// of a parallel map over blocks, so that whatever an author writes fuses like the formats of the library.
import { fail } from '../diagnostics/diagnostic.ts';
import { type Dim, Poly, sameDims, shapeText } from '../ir/algebra.ts';
import { dtypes } from '../ir/dtype.ts';
import type { TensorType, Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import { parallelMap } from './branches.ts';
import {
  argsFor,
  asRecord,
  blockDims,
  blockGrid,
  declared,
  fieldRecord,
  fieldShape,
  byBlockRows,
  fieldsOf,
  type Level,
  outerOf,
  placeOf,
  takesWeights,
} from './formats.ts';
import type { Stager } from './stager.ts';
import {
  arrayVal,
  dimVal,
  type EncodedVal,
  type FormatVal,
  is,
  type RecordVal,
  recordVal,
  tensorVal,
  type Val,
} from './values.ts';

/** [..., A, B] -> [..., A/a, B/b, a, b] for a block of [a, b]; the identity regrouping for one axis. */
function toBlocks(s: Stager, f: FormatVal, x: Value): Value {
  const { lead, grid } = blockGrid(s, f, x.type.shape);
  const b = s.ctx.builder;
  const split = b.one('reshape', [x], {
    shape: [...lead, ...f.block.flatMap((n, i) => [grid[i]!, Poly.of(n)])],
  });
  if (f.block.length === 1) return split;
  const n = lead.length;
  return b.one('transpose', [split], { perm: [...lead.map((_, i) => i), n, n + 2, n + 1, n + 3] });
}

function fromBlocks(s: Stager, f: FormatVal, x: Value, shape: readonly Dim[]): Value {
  const b = s.ctx.builder;
  const n = shape.length - f.block.length;
  const joined =
    f.block.length === 1
      ? x
      : b.one('transpose', [x], {
          perm: [...shape.slice(0, n).map((_, i) => i), n, n + 2, n + 1, n + 3],
        });
  return b.one('reshape', [joined], { shape });
}

/** Importance weights in the shape of x, row by row as the format wants them. */
function weightsFor(s: Stager, f: FormatVal, x: Value, given: Value): Value {
  const b = s.ctx.builder;
  const name = f.ref?.name ?? 'the format';
  if (!takesWeights(f)) fail('Q3006', { name });
  const cast = given.type.dtype === 'f32' ? given : b.one('cast', [given], { dtype: 'f32' });
  const { shape } = x.type;
  const weights = sameDims(cast.type.shape, shape) ? cast : b.one('broadcast', [cast], { shape });
  const { weigh } = f;
  if (!weigh) return weights;
  const made = parallelMap(s, shape.slice(0, -1), (ids) => {
    const indices = ids.map((i) => s.ctx.tensor(i));
    const args = [x, weights].map((v) => tensorVal(atIndices(s, v, indices)));
    const row = s.ctx.tensor(s.apply(weigh, args));
    if (row.type.dtype !== 'f32' || !sameDims(row.type.shape, shape.slice(-1)))
      s.ctx.at(weigh.node, weigh.module, () =>
        fail('Q3001', {
          what: 'weights of a row from weigh',
          found: typeText(row.type),
          expected: `f32${shapeText(shape.slice(-1))}`,
        }),
      );
    return tensorVal(row);
  });
  return s.ctx.tensor(made);
}

/** The weighted variant of encode must give the same fields, as readers know only these. */
function checkFields(s: Stager, f: FormatVal, block: ReadonlyMap<string, Value>): void {
  const known = fieldsOf(s, f).filter((x) => x.level === 'block');
  const wrong = known.find((x) => {
    const v = block.get(x.name);
    return v?.type.dtype !== x.dtype || !sameDims(v.type.shape, x.shape);
  });
  const extra = [...block.keys()].find((k) => !known.some((x) => x.name === k));
  if (!wrong && extra === undefined) return;
  const field = wrong?.name ?? extra!;
  const v = block.get(field);
  s.ctx.at(f.encode.node, f.encode.module, () =>
    fail('Q3007', {
      field,
      found: v ? typeText(v.type) : 'no such field',
      expected: wrong ? typeText(wrong) : 'no such field',
    }),
  );
}

/** encode(format, x), with importance weights that broadcast to the shape of x. */
export function encodeTensor(s: Stager, f: FormatVal, x: Value, given?: Value): EncodedVal {
  const fields = new Map<string, Value>();
  const outer = new Map<string, Value>();
  const shape = x.type.shape;
  const { lead, grid } = blockGrid(s, f, shape);
  const b = s.ctx.builder;
  if (f.tensor)
    for (const [k, v] of fieldRecord(
      s,
      s.apply(f.tensor, argsFor(f.tensor, x, asRecord(outer))),
      'tensor',
    )) {
      fields.set(k, v);
      outer.set(k, v);
    }
  const rows = shape.slice(0, -1);
  const ofRows = new Map<string, Value>();
  if (f.row) {
    const closure = f.row;
    const result = parallelMap(s, rows, (ids) => {
      const row = ids.length ? b.one('at', [x, ...ids.map((i) => s.ctx.tensor(i))], {}) : x;
      return asRecord(
        fieldRecord(s, s.apply(closure, argsFor(closure, row, asRecord(outer))), 'row'),
      );
    });
    if (is(result, 'record'))
      for (const [k, v] of result.fields) {
        const value = s.ctx.tensor(v);
        fields.set(k, value);
        ofRows.set(k, byBlockRows(s, f, value, shape));
      }
  }
  const blocks = toBlocks(s, f, x);
  const weights = given && toBlocks(s, f, weightsFor(s, f, x, given));
  const result = parallelMap(s, [...lead, ...grid], (ids) => {
    const indices = ids.map((i) => s.ctx.tensor(i));
    const inside = new Map(outer);
    for (const [k, v] of ofRows) inside.set(k, atIndices(s, v, indices.slice(0, rows.length)));
    const [block, weight] = [blocks, weights].map((v) => v && b.one('at', [v, ...indices], {}));
    const seen = outerOf(f, inside, placeOf(indices, shape));
    const made = fieldRecord(
      s,
      s.apply(f.encode, argsFor(f.encode, block!, seen, weight)),
      'encode',
    );
    if (weights) checkFields(s, f, made);
    return asRecord(made);
  });
  if (is(result, 'record'))
    for (const [k, v] of result.fields) {
      const value = s.ctx.tensor(v);
      value.name ??= k;
      fields.set(k, value);
    }
  return { tag: 'encoded', format: f, shape, fields };
}

const atIndices = (s: Stager, v: Value, indices: readonly Value[]): Value =>
  indices.length ? s.ctx.builder.one('at', [v, ...indices], {}) : v;

/** The fields that one block sees: its own, and those of its row and tensor. */
function blockFields(
  s: Stager,
  w: EncodedVal,
  indices: readonly Value[],
  levels: readonly Level[],
): RecordVal {
  const out: [string, Val][] = [];
  const rowIndices = indices.slice(0, w.shape.length - 1);
  for (const field of fieldsOf(s, w.format)) {
    if (!levels.includes(field.level)) continue;
    const stored = w.fields.get(field.name)!;
    const v =
      field.level === 'row'
        ? atIndices(s, byBlockRows(s, w.format, stored, w.shape), rowIndices)
        : atIndices(s, stored, field.level === 'block' ? indices : []);
    v.name ??= field.name;
    out.push([field.name, tensorVal(v)]);
  }
  return recordVal(out);
}

/** What decode makes of the block at `indices`, as f32. */
export function decodedBlock(s: Stager, w: EncodedVal, indices: readonly Value[]): Value {
  const f = w.format;
  const stored = blockFields(s, w, indices, ['block', 'row', 'tensor']);
  stored.fields.set('place', placeOf(indices, w.shape));
  const block = s.ctx.tensor(s.apply(f.decode, [stored]), 'f32');
  if (!sameDims(block.type.shape, blockDims(f)) || dtypes[block.type.dtype].kind === 'bool')
    s.ctx.at(f.decode.node, f.decode.module, () =>
      fail('Q3003', { found: typeText(block.type), expected: `f32${shapeText(blockDims(f))}` }),
    );
  return block.type.dtype === 'f32' ? block : s.ctx.builder.one('cast', [block], { dtype: 'f32' });
}

/** decode(w): a map over blocks, viewed as the logical tensor. */
export function decodeTensor(s: Stager, w: EncodedVal): Value {
  const f = w.format;
  const { lead, grid } = blockGrid(s, f, w.shape);
  const result = parallelMap(s, [...lead, ...grid], (ids) =>
    tensorVal(
      decodedBlock(
        s,
        w,
        ids.map((i) => s.ctx.tensor(i)),
      ),
    ),
  );
  return fromBlocks(s, f, s.ctx.tensor(result), w.shape);
}

/**
 * Bytes of the layout. Of a block: one struct each, u8[..., blocks, bytes], or a record of planar arrays. Of the
 * tensor: whatever pack makes of the stored fields of all levels.
 */
export function packTensor(s: Stager, w: EncodedVal): Val {
  if (w.format.layoutOf === 'tensor') return s.apply(w.format.pack!, [asRecord(w.fields)]);
  const { lead, grid } = blockGrid(s, w.format, w.shape);
  return parallelMap(s, [...lead, ...grid], (ids) =>
    s.apply(w.format.pack!, [
      blockFields(
        s,
        w,
        ids.map((i) => s.ctx.tensor(i)),
        ['block'],
      ),
    ]),
  );
}

/** The arrays that pack gives for a tensor of `shape`, learnt without keeping the ops. */
export function packedTypes(
  s: Stager,
  f: FormatVal,
  shape: readonly Dim[],
): ReadonlyMap<string, TensorType> {
  const whole = f.layoutOf === 'tensor';
  return s.ctx.builder.dryRun(() => {
    const record = recordVal(
      fieldsOf(s, f)
        .filter((x) => whole || x.level === 'block')
        .map((x) => {
          const own = whole ? fieldShape(s, f, x, shape) : x.shape;
          return [x.name, tensorVal(s.ctx.builder.param({ dtype: x.dtype, shape: own }))];
        }),
    );
    const v = s.apply(f.pack!, [record]);
    const made = is(v, 'record')
      ? fieldRecord(s, v, 'pack')
      : new Map([['bytes', s.ctx.tensor(v)]]);
    const { lead, grid } = blockGrid(s, f, shape);
    return new Map(
      [...made].map(([name, { type }]) => [
        name,
        whole ? type : { dtype: type.dtype, shape: [...lead, ...grid, ...type.shape] },
      ]),
    );
  });
}

/** A single array stands for itself, several for a record. */
const packedArg = (parts: ReadonlyMap<string, Value>): Val =>
  parts.size === 1 && parts.has('bytes') ? tensorVal(parts.get('bytes')!) : asRecord(parts);

/**
 * The inverse of {@link packTensor}; `bytes` holds one tensor for each array of the layout, `outer` the fields that
 * the layout leaves out.
 */
export function unpackTensor(
  s: Stager,
  f: FormatVal,
  bytes: ReadonlyMap<string, Value>,
  shape: readonly Dim[],
  outer: ReadonlyMap<string, Value>,
): EncodedVal {
  const { lead, grid } = blockGrid(s, f, shape);
  const result =
    f.layoutOf === 'tensor'
      ? s.apply(f.unpack!, declared(f.unpack!, [packedArg(bytes), arrayVal(shape.map(dimVal))]))
      : parallelMap(s, [...lead, ...grid], (ids) => {
          const indices = ids.map((i) => s.ctx.tensor(i));
          const parts = new Map([...bytes].map(([k, v]) => [k, atIndices(s, v, indices)]));
          return asRecord(fieldRecord(s, s.apply(f.unpack!, [packedArg(parts)]), 'unpack'));
        });
  const made = fieldRecord(s, result, 'unpack');
  const fields = new Map(outer);
  for (const field of fieldsOf(s, f)) {
    if (fields.has(field.name)) continue;
    const type = { dtype: field.dtype, shape: fieldShape(s, f, field, shape) };
    const value = made.get(field.name);
    if (!value || !sameDims(value.type.shape, type.shape))
      s.ctx.at(f.unpack!.node, f.unpack!.module, () =>
        fail('Q3010', {
          field: field.name,
          found: value ? typeText(value.type) : `a record { ${[...made.keys()].join(', ')} }`,
          expected: typeText(type),
        }),
      );
    fields.set(
      field.name,
      value!.type.dtype === type.dtype
        ? value!
        : s.ctx.builder.one('cast', [value!], { dtype: type.dtype }),
    );
  }
  return { tag: 'encoded', format: f, shape, fields };
}
