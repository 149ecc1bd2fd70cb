// Puts the fields of each encoded param that have a layout of the kernel's own into a record, where their runs of depth
// fit into each other. The record takes the place of the codes among the params; the others are not read any more.
import { chooseDerived, widens } from './derived.ts';
import type { DType } from '../ir/dtype.ts';
import type { Func } from '../ir/ir.ts';
import type { Buffer } from '../loops/loops.ts';
import { storedSize } from './emitter.ts';
import type { Lowering } from './lowering.ts';
import { depthOf, isTile, type PackedField } from './packed.ts';
import { periodOf, type RecordField, recordBytes, recordOf } from './records.ts';

/** After the layouts of all fields are known, before anything is emitted that reads them. */
export function makeRecords(lo: Lowering, func: Func): void {
  for (const { field } of lo.packed) field.settled = true;
  for (const p of func.params) {
    const own = lo.packed.flatMap(({ value, field }) => (p.values.includes(value) ? [field] : []));
    const laid = own.filter((f) => f.layout !== undefined);
    const codes = laid.find((f) => isTile(f.layout));
    if (!codes) continue;
    const depth = depthOf(codes.shape);
    const fields = laid.filter((f) => periodOf(depth, f as RecordField) !== undefined);
    for (const f of fields) f.derived = f.layout === 'rows' ? chooseDerived(f) : undefined;
    const wide = fields.filter(
      (f) =>
        f.layout === 'rows' &&
        widens(f, periodOf(depth, f as RecordField)!, fields.filter(isCodes)),
    );
    for (const f of wide) f.layout = 'wide rows';
    const layout = fields.length > 1 ? recordOf(fields as RecordField[]) : undefined;
    if (!layout || depth.multiple() % layout.levels[0]!.period !== 0) {
      for (const f of fields) f.derived = undefined;
      for (const f of wide) f.layout = 'rows';
      continue;
    }
    // Statements refer to buffers by identity, so they change in place.
    for (const f of fields)
      Object.assign(f.buffer, { dtype: f.dtype, size: storedSize(f.dtype, f.shape) });
    const { buffer } = codes;
    Object.assign(buffer, { dtype: 'u8', size: recordBytes(layout) });
    const as = viewsOf(buffer);
    fields.forEach((f: PackedField, i) => {
      f.record = { layout, part: layout.parts[i]!, buffer, as };
    });
    for (const f of fields)
      if (f.derived)
        lo.note(
          `${f.buffer.name} is repacked into what it means: ${derivedText[f.derived.stored]}`,
        );
    for (const f of wide)
      lo.note(`${f.buffer.name} is repacked into f32: operations bound the kernel, not bytes`);
    lo.layoutNotes.push(`the fields of ${p.name} lie in records of ${recordText(layout.levels)}`);
  }
}

const isCodes = (f: PackedField): boolean => isTile(f.layout);

const derivedText = { f32: 'f32', half: 'the upper 16 bits of f32, all of it' } as const;

/** The same memory under other dtypes. */
function viewsOf(buffer: Buffer): (d: DType) => Buffer {
  const made = new Map<DType, Buffer>([['u8', buffer]]);
  return (dtype) => {
    const known = made.get(dtype) ?? { ...buffer, dtype };
    made.set(dtype, known);
    return known;
  };
}

const recordText = (
  levels: readonly { readonly period: number; readonly size: number }[],
): string => levels.map((l) => `${l.size} bytes for ${l.period} x 4 weights`).join(', each with ');
