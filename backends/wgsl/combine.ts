// Values of a team combined through workgroup memory, in two rounds: a square root of the members combine as many values
// each, then everybody combines those. The order is that of the members, so results do not depend on timing. Each round has
// memory of its own, so that two barriers do: who writes in one round has seen everybody leave the other.
import type { Scalar } from '../../compiler/ir/dtype.ts';
import type { ReduceOp, VType } from '../../compiler/loops/loops.ts';
import { letters } from './memory.ts';
import { combineBySubgroups } from './subgroups.ts';
import { binaryRows, combineKey, type Row } from './tables.ts';
import { typeText } from './types.ts';
import { fault, type Writer } from './writer.ts';

/** The text of a value of each member as that of all of them combined: up to four scalars of one type. */
export type Combine = (value: string) => string;

/** What combines values of a type, which becomes part of the program. */
export function combineOf(w: Writer, op: ReduceOp, type: VType): Combine {
  const t = typeText(type.scalar, type.lanes);
  const suffix = `${t.replace(/\W+/g, '_').replace(/_$/, '')}_${w.threads}`;
  const f: Combination = { w, op, type, t, name: `combine_${op}_${suffix}` };
  if (w.module.features.has('subgroups')) return combineBySubgroups(f);
  return combineByMemory(f);
}

/** A function that combines. */
export interface Combination {
  readonly w: Writer;
  readonly op: ReduceOp;
  readonly type: VType;
  /** The type as written. */
  readonly t: string;
  readonly name: string;
}

function combineByMemory(f: Combination): Combine {
  const { w, t, name } = f;
  const both = pairOf(f);
  const first = 2 ** Math.ceil(Math.log2(w.threads) / 2);
  const second = w.threads / first;
  const parts = wordsFor(f, `part_${w.threads}`, w.threads);
  const last = wordsFor(f, `last_${w.threads}`, first);
  w.module.functions.set(
    name,
    `/* The values of ${w.threads} threads combined; every one of them gets the result. */
fn ${name}(value: ${t}, member: u32) -> ${t} {
  ${parts.put('member', 'value')}
  workgroupBarrier();
  if (member < ${first}u) {
    let start = member * ${second}u;
    var own = ${parts.get('start')};
    for (var i = start + 1u; i < start + ${second}u; i++) { own = ${both('own', parts.get('i'))}; }
    ${last.put('member', 'own')}
  }
  workgroupBarrier();
  var all = ${last.get('0u')};
  for (var i = 1u; i < ${first}u; i++) { all = ${both('all', last.get('i'))}; }
  return all;
}`,
  );
  return (value) => `${name}(${value}, member)`;
}

/** Two values combined, as text. */
export function pairOf({ w, op, type }: Combination): (a: string, b: string) => string {
  const row: Row | undefined = (binaryRows as Readonly<Record<string, Row>>)[
    combineKey(op, type.scalar)
  ];
  if (!row) throw fault(`values of ${type.scalar} are combined by ${op}`);
  return (a, b) => {
    if ('infix' in row) return `${a} ${row.infix} ${b}`;
    const f = 'part' in row ? w.use(row.part, type.lanes) : (row as { call: string }).call;
    return `${f}(${a}, ${b})`;
  };
}

interface Words {
  readonly put: (at: string, value: string) => string;
  readonly get: (at: string) => string;
}

/** Workgroup memory for values: one array for all types, a component of everybody after the other, as bits. */
export function wordsFor({ w, type, t }: Combination, name: string, places: number): Words {
  w.share(
    name,
    4 * type.lanes * places,
    (bytes) => `var<workgroup> ${name}: array<u32, ${bytes / 4}>;`,
  );
  const lanes = Array.from({ length: type.lanes }, (_, k) => k);
  const place = (at: string, k: number): string => {
    if (k === 0) return `${name}[${at}]`;
    return `${name}[${at === '0u' ? '' : `${at} + `}${k * places}u]`;
  };
  return {
    put: (at, value) =>
      lanes
        .map((k) => {
          const x = type.lanes === 1 ? value : `${value}.${letters[k]}`;
          return `${place(at, k)} = ${bitsOf(type.scalar, x)};`;
        })
        .join(' '),
    get: (at) => {
      const xs = lanes.map((k) => ofBits(type.scalar, place(at, k)));
      return type.lanes === 1 ? xs[0]! : `${t}(${xs.join(', ')})`;
    },
  };
}

const bitsOf = (scalar: Scalar, x: string): string =>
  scalar === 'u32' ? x : scalar === 'bool' ? `u32(${x})` : `bitcast<u32>(${x})`;
const ofBits = (scalar: Scalar, x: string): string =>
  scalar === 'u32' ? x : scalar === 'bool' ? `(${x} != 0u)` : `bitcast<${scalar}>(${x})`;
