// Formats: what format({...}) means. encode and decode are staged once a use, as the body of a parallel map
// over blocks, so that whatever an author writes fuses like the formats that ship with the library.
import { fail } from '../diagnostics/diagnostic.ts';
import { type Dim, Poly, sameDims, shapeText } from '../ir/algebra.ts';
import { dtypes, type DType } from '../ir/dtype.ts';
import type { Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import { parallelMap } from './control.ts';
import type { Stager } from './stager.ts';
import {
  type Closure, type EncodedVal, type FormatVal, type RecordVal, type Val, describeVal, is, recordVal, tensorVal,
} from './values.ts';

export type Level = 'block' | 'row' | 'tensor';
export interface Field {
  readonly name: string;
  readonly level: Level;
  readonly dtype: DType;
  /** Shape of one occurrence; row fields may name the dim K of the row. */
  readonly shape: readonly Dim[];
}

const closureOf = (r: RecordVal, key: string, needed: boolean): Closure | undefined => {
  const v = r.fields.get(key);
  if (v === undefined && !needed) return undefined;
  if (!is(v, 'closure'))
    return fail('Q3001', { what: `the function \`${key}\``, found: describeVal(v), expected: `${key}(...) { ... }` });
  return v;
};

/** The builtin format({...}). */
export function makeFormat(s: Stager, args: readonly Val[]): FormatVal {
  const [r] = args;
  if (!is(r, 'record'))
    return fail('Q3001', { what: 'a record', found: describeVal(r), expected: '{ block, encode, decode }' });
  const known = ['block', 'encode', 'decode', 'row', 'tensor', 'layout'];
  for (const key of r.fields.keys())
    if (!known.includes(key)) fail('Q3001', { what: 'only known properties', found: `\`${key}\``, expected: known.join(', ') });
  const b = r.fields.get('block');
  const block = is(b, 'array') ? b.items : [b];
  if (block.length === 0 || block.length > 2 || block.some((x) => typeof x !== 'number' || !Number.isInteger(x) || x < 1 || x > 65536))
    fail('Q3001', { what: 'a block size', found: describeVal(b), expected: 'a positive integer, or [rows, columns]' });
  const layout = r.fields.get('layout');
  if (layout !== undefined && !is(layout, 'record'))
    fail('Q3001', { what: 'a layout of two functions', found: describeVal(layout), expected: 'layout: { pack, unpack }' });
  return {
    tag: 'format', span: s.ctx.span, block: block as number[],
    encode: closureOf(r, 'encode', true)!,
    decode: closureOf(r, 'decode', true)!,
    row: closureOf(r, 'row', false),
    tensor: closureOf(r, 'tensor', false),
    ...(is(layout, 'record') ? { pack: closureOf(layout, 'pack', true), unpack: closureOf(layout, 'unpack', true) } : {}),
  };
}

/** Results of encode/row/tensor as a record of tensors. */
function fieldRecord(s: Stager, v: Val, from: string): Map<string, Value> {
  if (!is(v, 'record'))
    return fail('Q3001', { what: `a record of fields from ${from}`, found: describeVal(v), expected: '{ d: f16(d), q: u4(q) }' });
  const out = new Map<string, Value>();
  for (const [name, x] of v.fields) {
    if (!is(x, 'tensor') && typeof x !== 'number' && typeof x !== 'boolean') fail('Q3004', { field: name, found: describeVal(x) });
    out.set(name, s.ctx.tensor(x, typeof x === 'number' ? 'f32' : undefined));
  }
  return out;
}

const asRecord = (fields: ReadonlyMap<string, Value>): RecordVal =>
  recordVal([...fields].map(([k, v]) => [k, tensorVal(v)]));

/** dims of the grid of blocks for a logical shape; adds the divisibility constraints. */
export function blockGrid(s: Stager, f: FormatVal, shape: readonly Dim[]): { lead: readonly Dim[]; grid: readonly Dim[] } {
  const n = f.block.length;
  if (shape.length < n)
    fail('Q2006', { op: 'encode', found: shapeText(shape), expected: `at least ${n} axes for a block of [${f.block.join(', ')}]` });
  const lead = shape.slice(0, shape.length - n);
  const grid = f.block.map((b, i) => {
    const d = shape[lead.length + i]!;
    if (d.constant !== undefined && d.constant % b !== 0) fail('Q3002', { k: `${d}`, block: b, shape: shapeText(shape) });
    if (d.multiple() % b !== 0) s.ctx.constrain(d, b, `the block of ${f.ref ? `format ${f.ref.name}` : 'the format'}`);
    return d.over(b)!;
  });
  return { lead, grid };
}

const blockDims = (f: FormatVal): Dim[] => f.block.map((b) => Poly.of(b));

/** [..., A, B] -> [..., A/a, B/b, a, b] for a block of [a, b]; the identity regrouping for one axis. */
function toBlocks(s: Stager, f: FormatVal, x: Value): Value {
  const { lead, grid } = blockGrid(s, f, x.type.shape);
  const b = s.ctx.builder;
  const split = b.one('reshape', [x], { shape: [...lead, ...f.block.flatMap((n, i) => [grid[i]!, Poly.of(n)])] });
  if (f.block.length === 1) return split;
  const n = lead.length;
  return b.one('transpose', [split], { perm: [...lead.map((_, i) => i), n, n + 2, n + 1, n + 3] });
}

function fromBlocks(s: Stager, f: FormatVal, x: Value, shape: readonly Dim[]): Value {
  const b = s.ctx.builder;
  const n = shape.length - f.block.length;
  const joined = f.block.length === 1 ? x
    : b.one('transpose', [x], { perm: [...shape.slice(0, n).map((_, i) => i), n, n + 2, n + 1, n + 3] });
  return b.one('reshape', [joined], { shape });
}

/** The fields of a format, learnt by staging encode once on a block without keeping the ops. */
export function fieldsOf(s: Stager, f: FormatVal): readonly Field[] {
  return s.ctx.builder.dryRun(() => {
    const out: Field[] = [];
    const before = s.ctx.constraints.length;
    const outer = new Map<string, Value>();
    const learn = (level: Level, closure: Closure, shape: readonly Dim[]): void => {
      const x = s.ctx.builder.param({ dtype: 'f32', shape }, 'x');
      const result = fieldRecord(s, s.apply(closure, argsFor(closure, x, outer)), level === 'block' ? 'encode' : level);
      for (const [name, v] of result) {
        outer.set(name, v);
        out.push({ name, level, dtype: v.type.dtype, shape: v.type.shape });
      }
    };
    if (f.tensor) learn('tensor', f.tensor, [Poly.dim('N'), Poly.dim('K')]);
    if (f.row) learn('row', f.row, [Poly.dim('K')]);
    learn('block', f.encode, blockDims(f));
    s.ctx.constraints.length = before;
    return out;
  });
}

/** encode(x) or encode(x, outer): the second argument only where it is declared. */
const argsFor = (c: Closure, x: Value, outer: ReadonlyMap<string, Value>): Val[] =>
  c.node.parameters.length > 1 ? [tensorVal(x), asRecord(outer)] : [tensorVal(x)];

/** Shape of the tensor that stores a field of a tensor of `shape`. */
export function fieldShape(s: Stager, f: FormatVal, field: Field, shape: readonly Dim[]): readonly Dim[] {
  const { lead, grid } = blockGrid(s, f, shape);
  const own = field.shape.map((d) => d.substitute((a) => (a.key === 'K' ? shape.at(-1) : undefined)));
  if (field.level === 'tensor') return own;
  if (field.level === 'row') return [...shape.slice(0, -1), ...own];
  return [...lead, ...grid, ...own];
}

/** encode(format, x). */
export function encodeTensor(s: Stager, f: FormatVal, x: Value): EncodedVal {
  const fields = new Map<string, Value>();
  const outer = new Map<string, Value>();
  const shape = x.type.shape;
  const { lead, grid } = blockGrid(s, f, shape);
  const b = s.ctx.builder;
  if (f.tensor)
    for (const [k, v] of fieldRecord(s, s.apply(f.tensor, [tensorVal(x)]), 'tensor')) {
      fields.set(k, v);
      outer.set(k, v);
    }
  const rows = shape.slice(0, -1);
  if (f.row) {
    const closure = f.row;
    const result = parallelMap(s, rows, (ids) => {
      const row = ids.length ? b.one('at', [x, ...ids.map((i) => s.ctx.tensor(i))], {}) : x;
      return asRecord(fieldRecord(s, s.apply(closure, argsFor(closure, row, outer)), 'row'));
    });
    if (is(result, 'record')) for (const [k, v] of result.fields) fields.set(k, s.ctx.tensor(v));
  }
  const blocks = toBlocks(s, f, x);
  const result = parallelMap(s, [...lead, ...grid], (ids) => {
    const indices = ids.map((i) => s.ctx.tensor(i));
    const inside = new Map(outer);
    if (f.row) for (const [k, v] of fields) if (!outer.has(k)) inside.set(k, atIndices(s, v, indices.slice(0, rows.length)));
    const block = b.one('at', [blocks, ...indices], {});
    return asRecord(fieldRecord(s, s.apply(f.encode, argsFor(f.encode, block, inside)), 'encode'));
  });
  if (is(result, 'record')) for (const [k, v] of result.fields) {
    const value = s.ctx.tensor(v);
    value.name ??= k;
    fields.set(k, value);
  }
  return { tag: 'encoded', format: f, shape, fields };
}

const atIndices = (s: Stager, v: Value, indices: readonly Value[]): Value =>
  indices.length ? s.ctx.builder.one('at', [v, ...indices], {}) : v;

/** The fields that one block sees: its own, and those of its row and tensor. */
function blockFields(s: Stager, w: EncodedVal, indices: readonly Value[], levels: readonly Level[]): RecordVal {
  const out: [string, Val][] = [];
  const rowIndices = indices.slice(0, w.shape.length - 1);
  for (const field of fieldsOf(s, w.format)) {
    if (!levels.includes(field.level)) continue;
    const stored = w.fields.get(field.name)!;
    const at = field.level === 'block' ? indices : field.level === 'row' ? rowIndices : [];
    const v = atIndices(s, stored, at);
    v.name ??= field.name;
    out.push([field.name, tensorVal(v)]);
  }
  return recordVal(out);
}

/** decode(w): a map over blocks, viewed as the logical tensor. */
export function decodeTensor(s: Stager, w: EncodedVal): Value {
  const f = w.format;
  const { lead, grid } = blockGrid(s, f, w.shape);
  const result = parallelMap(s, [...lead, ...grid], (ids) => {
    const indices = ids.map((i) => s.ctx.tensor(i));
    const got = s.apply(f.decode, [blockFields(s, w, indices, ['block', 'row', 'tensor'])]);
    const block = s.ctx.tensor(got, 'f32');
    if (!sameDims(block.type.shape, blockDims(f)) || dtypes[block.type.dtype].kind === 'bool')
      fail('Q3003', { found: typeText(block.type), expected: `f32${shapeText(blockDims(f))}` });
    return tensorVal(block.type.dtype === 'f32' ? block : s.ctx.builder.one('cast', [block], { dtype: 'f32' }));
  });
  return fromBlocks(s, f, s.ctx.tensor(result), w.shape);
}

/** Bytes of the layout, one struct a block: u8[..., blocks, bytes], or a record of planar arrays. */
export function packTensor(s: Stager, w: EncodedVal): Val {
  const { lead, grid } = blockGrid(s, w.format, w.shape);
  return parallelMap(s, [...lead, ...grid], (ids) =>
    s.apply(w.format.pack!, [blockFields(s, w, ids.map((i) => s.ctx.tensor(i)), ['block'])]),
  );
}

/** What pack yields for one block, learnt without keeping the ops. */
export function packedTypes(s: Stager, f: FormatVal): ReadonlyMap<string, Value> {
  return s.ctx.builder.dryRun(() => {
    const fields = fieldsOf(s, f).filter((x) => x.level === 'block');
    const record = recordVal(fields.map((x) => [x.name, tensorVal(s.ctx.builder.param({ dtype: x.dtype, shape: x.shape }))]));
    const v = s.apply(f.pack!, [record]);
    return is(v, 'record') ? fieldRecord(s, v, 'pack') : new Map([['bytes', s.ctx.tensor(v)]]);
  });
}

/** The inverse of {@link packTensor}; `bytes` holds one tensor for each array of the layout. */
export function unpackTensor(s: Stager, f: FormatVal, bytes: ReadonlyMap<string, Value>, shape: readonly Dim[], outer: ReadonlyMap<string, Value>): EncodedVal {
  const { lead, grid } = blockGrid(s, f, shape);
  const result = parallelMap(s, [...lead, ...grid], (ids) => {
    const indices = ids.map((i) => s.ctx.tensor(i));
    const parts = new Map([...bytes].map(([k, v]) => [k, atIndices(s, v, indices)]));
    const arg: Val = parts.size === 1 && parts.has('bytes') ? tensorVal(parts.get('bytes')!) : asRecord(parts);
    return asRecord(fieldRecord(s, s.apply(f.unpack!, [arg]), 'unpack'));
  });
  const fields = new Map(outer);
  for (const field of fieldsOf(s, f)) {
    if (field.level !== 'block') continue;
    const v = is(result, 'record') ? result.fields.get(field.name) : undefined;
    if (v === undefined) fail('Q3004', { field: field.name, found: 'unpack does not return it' });
    const value = s.ctx.tensor(v);
    const want = s.ctx.builder;
    fields.set(field.name, value.type.dtype === field.dtype ? value : want.one('cast', [value], { dtype: field.dtype }));
  }
  return { tag: 'encoded', format: f, shape, fields };
}
