// Values of a team combined by the hardware's subgroups, where a device has them: first within each, then what the subgroups
// have, in the order of their numbers. WGSL says neither how large they are (4 to 128) nor that they are full, so the
// subgroup's number and their count are asked for, and memory has a place for every thread. In which order a subgroup adds is
// the device's business: sums of f32 may differ in rounding from device to device. Everything else is exact.
import type { Combination, Combine } from './combine.ts';
import { pairOf, wordsFor } from './combine.ts';
import { combineKey } from './tables.ts';
import { typeText } from './types.ts';
import { fault } from './writer.ts';

/** How a subgroup combines values: by a builtin, on the values or on integers made of them. */
interface SubgroupRow {
  readonly call: string;
  /** As integers, and back: `key` keeps the order of floats (with a NaN before or behind all of them), `flag` is 0 or 1. */
  readonly as?: 'least' | 'most' | 'flag';
}

const rows: { readonly [key: string]: SubgroupRow } = {
  'add.f32': { call: 'subgroupAdd' },
  'min.f32': { call: 'subgroupMin', as: 'least' },
  'max.f32': { call: 'subgroupMax', as: 'most' },
  ...Object.fromEntries(
    (['i32', 'u32'] as const).flatMap((t): [string, SubgroupRow][] => [
      [`add.${t}`, { call: 'subgroupAdd' }],
      [`min.${t}`, { call: 'subgroupMin' }],
      [`max.${t}`, { call: 'subgroupMax' }],
      [`and.${t}`, { call: 'subgroupAnd' }],
      [`or.${t}`, { call: 'subgroupOr' }],
    ]),
  ),
  'and.bool': { call: 'subgroupAnd', as: 'flag' },
  'min.bool': { call: 'subgroupAnd', as: 'flag' },
  'or.bool': { call: 'subgroupOr', as: 'flag' },
  'max.bool': { call: 'subgroupOr', as: 'flag' },
};

/** Names of the entry point's parameters that tell a subgroup's number, and how many the group has. */
export const subgroupNames = ['subgroup', 'subgroups'] as const;

export function combineBySubgroups(f: Combination): Combine {
  const { w, op, type, t, name } = f;
  const row = rows[combineKey(op, type.scalar)];
  if (!row) throw fault(`values of ${type.scalar} are combined by ${op}`);
  const both = pairOf(f);
  const parts = wordsFor(f, `part_${w.threads}`, w.threads);
  w.module.functions.set(
    name,
    `/* The values of ${w.threads} threads combined; every one of them gets the result. */
fn ${name}(value: ${t}, subgroup: u32, subgroups: u32) -> ${t} {
  let own = ${within(f, row)};
  if (subgroups == 1u) { return own; }
  if (subgroupElect()) { ${parts.put('subgroup', 'own')} }
  workgroupBarrier();
  var all = ${parts.get('0u')};
  for (var i = 1u; i < subgroups; i++) { all = ${both('all', parts.get('i'))}; }
  workgroupBarrier();
  return all;
}`,
  );
  return (value) => `${name}(${value}, ${subgroupNames.join(', ')})`;
}

/** `value` combined within the subgroup. */
function within({ w, type, t }: Combination, { call, as }: SubgroupRow): string {
  const { lanes } = type;
  if (!as) return `${call}(value)`;
  if (as === 'flag') {
    const ints = typeText('u32', lanes);
    return `${t}(${call}(${ints}(value)))`;
  }
  const key = w.use(as === 'least' ? 'key_or_least' : 'key_or_most', lanes);
  return `${w.use('of_key', lanes)}(${call}(${key}(value)))`;
}
