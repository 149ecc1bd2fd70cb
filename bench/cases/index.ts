// All groups of cases, in the order of the report. A group runs in a process of its own: its memory and its peers go with it.
import type { Context } from '../contest.ts';
import { attentionCases } from './attention.ts';
import { encodeCases } from './encode.ts';
import { matmulCases } from './matmul.ts';
import { modelCases } from './model.ts';
import { overheadCases } from './overhead.ts';
import { rowCases } from './rows.ts';
import { systemCases } from './systems.ts';
import { threadCases } from './threads.ts';

export interface Group {
  readonly name: string;
  /** Asks `wants` about each of its cases before it does anything for it. */
  run(context: Context): Promise<void>;
}

type Shape = readonly [n: number, k: number];

/** The goals are set for the first; the others are those of a large model's feed-forward layers. */
export const shapes: readonly Shape[] = [
  [4096, 4096],
  [11008, 4096],
  [4096, 14336],
];
const quickShapes: readonly Shape[] = [[1024, 1024]];

export const shapesOf = (quick: boolean): readonly Shape[] => (quick ? quickShapes : shapes);

export function groups(quick: boolean): readonly Group[] {
  const all = shapesOf(quick);
  const [n, k] = all[0]!;
  return [
    ...all.map(([rows, columns], i) => ({
      name: `matmul ${rows}x${columns}`,
      run: (c: Context) => matmulCases(c, rows, columns, i === 0 ? 'all' : 'goals'),
    })),
    { name: 'encode', run: encodeCases },
    { name: 'attention', run: attentionCases },
    { name: 'rows', run: rowCases },
    { name: 'threads', run: (c: Context) => threadCases(c, n, k) },
    { name: 'systems', run: systemCases },
    { name: 'model', run: modelCases },
    { name: 'overhead', run: overheadCases },
  ];
}

/** The cases of a group. */
export async function idsOf(group: Group, quick: boolean): Promise<string[]> {
  const ids: string[] = [];
  await group.run({
    quick,
    pace: { rounds: 0, turn: 0, warm: 0, settle: 0, clock: 'elapsed' },
    coldBytes: 0,
    peers: false,
    wants: (id) => {
      if (!ids.includes(id)) ids.push(id);
      return false;
    },
    report: () => {},
  });
  return ids;
}
