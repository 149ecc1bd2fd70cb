// Values of a team combined through workgroup memory, in two rounds: a square root of the members combine as many values
// each, then everybody combines those. The order is that of the members, so results do not depend on timing.
import type { Scalar } from '../../compiler/ir/dtype.ts';
import type { ReduceOp, VType } from '../../compiler/loops/loops.ts';
import { letters } from './memory.ts';
import { binaryRows, combineKey, type Row } from './tables.ts';
import { typeText } from './types.ts';
import { fault, type Writer } from './writer.ts';

/** Values of one type that are combined by one call: up to four scalars. */
export function combineFunction(w: Writer, op: ReduceOp, type: VType): string {
  const row: Row | undefined = (binaryRows as Readonly<Record<string, Row>>)[
    combineKey(op, type.scalar)
  ];
  if (!row) throw fault(`values of ${type.scalar} are combined by ${op}`);
  const t = typeText(type.scalar, type.lanes);
  const suffix = `${t.replace(/\W+/g, '_').replace(/_$/, '')}_${w.threads}`;
  const name = `combine_${op}_${suffix}`;
  const both = (a: string, b: string): string => {
    if ('infix' in row) return `${a} ${row.infix} ${b}`;
    const f = 'part' in row ? w.use(row.part, type.lanes) : (row as { call: string }).call;
    return `${f}(${a}, ${b})`;
  };
  const first = 2 ** Math.ceil(Math.log2(w.threads) / 2);
  const second = w.threads / first;
  // One array for all types: a component of everybody after the other, as bits.
  const part = `part_${w.threads}`;
  const words = 4 * w.threads;
  w.module.functions.set(part, `var<workgroup> ${part}: array<u32, ${words}>;`);
  w.module.shared.set(part, 4 * words);
  const lanes = Array.from({ length: type.lanes }, (_, k) => k);
  const place = (at: string, k: number): string =>
    `${part}[${k === 0 ? '' : `${k * w.threads}u + `}${at}]`;
  const put = (at: string, value: string): string =>
    lanes
      .map((k) => {
        const x = type.lanes === 1 ? value : `${value}.${letters[k]}`;
        return `${place(at, k)} = ${bitsOf(type.scalar, x)};`;
      })
      .join(' ');
  const get = (at: string): string => {
    const xs = lanes.map((k) => ofBits(type.scalar, place(at, k)));
    return type.lanes === 1 ? xs[0]! : `${t}(${xs.join(', ')})`;
  };
  w.module.functions.set(
    name,
    `/* The values of ${w.threads} threads combined; every one of them gets the result. */
fn ${name}(value: ${t}, member: u32) -> ${t} {
  workgroupBarrier();
  ${put('member', 'value')}
  workgroupBarrier();
  var all = value;
  if (member < ${first}u) {
    all = ${get(`member * ${second}u`)};
    for (var i = member * ${second}u + 1u; i < (member + 1u) * ${second}u; i++) { all = ${both('all', get('i'))}; }
  }
  workgroupBarrier();
  if (member < ${first}u) { ${put('member', 'all')} }
  workgroupBarrier();
  all = ${get('0u')};
  for (var i = 1u; i < ${first}u; i++) { all = ${both('all', get('i'))}; }
  return all;
}`,
  );
  return name;
}

const bitsOf = (scalar: Scalar, x: string): string =>
  scalar === 'u32' ? x : scalar === 'bool' ? `u32(${x})` : `bitcast<u32>(${x})`;
const ofBits = (scalar: Scalar, x: string): string =>
  scalar === 'u32' ? x : scalar === 'bool' ? `(${x} != 0u)` : `bitcast<${scalar}>(${x})`;
