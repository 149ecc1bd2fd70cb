// Random control flow: loops, branches and maps nested in each other, over a scalar, a row and a matrix that all of
// them assign. Values stay small whole numbers, so that results are exact.
import fc from 'fast-check';
import { scalar, whole } from './arrays.ts';
import type { Case } from './case.ts';

/** A tree of choices; each picks a statement and its operands. */
interface Node {
  readonly pick: number;
  readonly a: number;
  readonly inner: readonly Node[];
}
const level = (inner: fc.Arbitrary<Node[]>): fc.Arbitrary<Node> =>
  fc.record({ pick: fc.nat(15), a: fc.nat(5), inner });
const leaf = level(fc.constant([]));
const node = level(fc.array(level(fc.array(leaf, { maxLength: 2 })), { maxLength: 2 }));

const limit = (text: string): string => `clamp(${text}, -99, 99)`;
const rowText = [
  'row * 2 - s',
  'row + at(m, 0)',
  'at(m, -1) - row',
  'row - amax(row)',
  'abs(row) + n',
  'sum(m, 0)',
];
const matText = [
  'm + row',
  'm * 2 - s',
  'm - amax(m, 1, { keepdims: true })',
  'at(m, 0) - m',
  'f32(i4(m))',
  'transpose(transpose(m) + 1)',
];
const sumText = [
  's + 1',
  's * 2 - n',
  'sum(row)',
  'at(m, 0, -1) - s',
  'amax(m)',
  'argmin(row) + s',
];

/** Statements of one node; `index` names the loop variables around. */
function statement({ pick, a, inner }: Node, depth: number, index: readonly string[]): string {
  const body = (extra: readonly string[] = []): string =>
    inner.map((n) => statement(n, depth + 1, [...index, ...extra])).join(' ');
  const i = `i${depth}_${index.length}`;
  const at = index.at(-1) ?? 'n';
  switch (pick) {
    case 0:
      return `s = ${limit(sumText[a]!)};`;
    case 1:
      return `row = ${limit(rowText[a]!)};`;
    case 2:
      return `m = ${limit(matText[a]!)};`;
    case 3:
      return `for (const ${i} of range(${a % 4})) { s = ${limit(`s + ${i}`)}; ${body([i])} }`;
    case 4:
      return `for (const ${i} of range(${a % 2 ? 'n' : 'dim(m, 0)'})) { row = ${limit(`row - ${i}`)}; ${body([i])} }`;
    case 5:
      return `if (${['s > 0', 'n > 1', 'sum(row) < 3'][a % 3]}) { s = ${limit(`${at} - s`)}; ${body()} } else { row = ${limit('row + 1')}; }`;
    case 6:
      return `if (s < ${a}) { ${body()} m = ${limit('m - s')}; }`;
    case 7:
      return `m = map(dim(m, 0), (${i}) => { let row = at(m, ${i}) + ${at}; let s = ${i}; ${mapBody(inner, depth, i)} return ${limit('row + s')}; });`;
    case 8:
      return `row = map(dim(m, 1), (${i}) => { let s = at(row, ${i}) * 1; let k = 0; while (s > ${a} && k < 3) { s = s - 2; k = k + 1; } return ${limit('s + k')}; });`;
    case 9:
      return `m = map([dim(m, 0), dim(m, 1)], (${i}, j) => ${limit(`at(m, ${i}, j) * ${(a % 3) - 1} + j - ${at}`)});`;
    case 11:
      return `row = set(row, ${limit(['s', 'at(row, n + 1) + 1', 'sum(row)', `at(row, n) - ${at}`, 'at(m, 0, 0)', 'amax(row) - s'][a]!)}, ${at} + ${a % 3} + n);`;
    case 12:
      return `m = set(m, ${limit(['row', 'at(m, 0) - row', 'at(m, -1) + at(m, n)', 's', 'sum(m, 0)', 'at(m, n + 1) - at(m, 0, 0)'][a]!)}, ${['n', at, '0', '-1', 's > 3 ? n : 1 - n', at][a]});`;
    case 13:
      return `{ const first = at(m, 0); const before = ${a % 2 ? 'row' : 'at(row, 0)'}; m = set(m, at(m, -1), 0); row = set(row, ${limit('s + at(m, 0, 0)')}, n + ${a}); ${body()} m = set(m, first, ${at}); row = ${limit('row + before')}; }`;
    case 14:
      return `row = ${a % 2 ? 'sort(row)' : 'f32(argsort(row, { descending: true }))'};`;
    case 15:
      return `for (const ${i} of range(${(a % 3) + 1})) { m = set(m, ${limit(`at(m, ${i}, n) - s + ${at}`)}, ${i}, n + ${a}); if (at(m, ${i}, 0) > ${a}) { m = set(m, row, ${i}); ${body([i])} } }`;
    default:
      return `[s, row] = [${limit('at(row, 0)')}, ${limit('row + s')}];`;
  }
}
/** Inside of a map the matrix is read only: iterations are independent. */
const mapBody = (inner: readonly Node[], depth: number, i: string): string =>
  inner
    .map((n) =>
      statement({ ...n, pick: [0, 1, 3, 4, 5, 8, 10, 11, 14][n.pick % 9]!, inner: [] }, depth + 1, [
        i,
      ]),
    )
    .join(' ');

const starts = [
  [3, 5],
  [1, 1],
  [2, 8],
  [4, 9],
] as const;

export const bodies: fc.Arbitrary<Case> = fc
  .record({
    list: fc.array(node, { minLength: 2, maxLength: 5 }),
    start: fc.nat(starts.length - 1),
    symbolic: fc.boolean(),
    seed: fc.integer({ min: 1, max: 99 }),
  })
  .map(({ list, start, symbolic, seed }): Case => {
    const [n, k] = starts[start]!;
    return {
      name: 'a body',
      params: `x: Tensor<f32, [${symbolic ? 'N, K' : `${n}, ${k}`}]>, n: Tensor<i32, []>`,
      body: `  let s = at(x, 0, 0);\n  let row = at(x, 0) + 0;\n  let m = x + 0;\n${list.map((l) => `  ${statement(l, 0, [])}`).join('\n')}`,
      results: { s: 's + 0', row: 'row + 0', m: 'm + 0' },
      calls: [0, 2].map((trips) => [whole('f32', [n, k], seed + trips), scalar('i32', trips)]),
    };
  });
