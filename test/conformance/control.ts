// Control flow: run-time loops and branches with carried scalars, tensors, arrays and records, and parallel maps
// with sequential bodies, nested in each other.
import { array, random, scalar, whole } from './arrays.ts';
import type { Case } from './case.ts';

const params = 'x: Tensor<f32, [N, K]>, n: Tensor<i32, []>, c: Scalar, v: Tensor<i32, [N]>';
const shapes = [
  [3, 5],
  [1, 1],
  [2, 8],
  [5, 33],
  [4, 4],
];
const calls = shapes.flatMap(([n, k], s) =>
  [0, 1, 3].map((trips, t) => [
    whole('f32', [n!, k!], s + t),
    scalar('i32', trips),
    scalar('f32', t - 1),
    array('i32', [n!], (i) => (i * 3 + t) % 6),
  ]),
);
/** Each returns its value from statements of its own. */
const kernel = (
  name: string,
  body: string,
  results: Case['results'],
  more: Partial<Case> = {},
): Case => ({ name, params, body, results, calls, ...more });

export const controlCases: readonly Case[] = [
  kernel(
    'a loop carries scalars, tensors, arrays and records',
    `
  let s = 0.5;
  let t = x;
  let pair = [at(x, 0), 0];
  let state = { best: c, count: 0, row: sum(x, 0) };
  for (const i of range(5)) {
    s = s * 2 - i;
    t = t + x * i;
    pair = [pair[0] + 1, pair[1] + i];
    state = { best: max(state.best, i - 2), count: state.count + 1, row: state.row * 2 - at(x, i) };
  }`,
    {
      s: 's',
      t: 't',
      first: 'pair[0]',
      second: 'pair[1]',
      best: 'state.best',
      count: 'state.count',
      row: 'state.row',
    },
  ),
  kernel(
    'trip counts known at run time, zero among them',
    `
  let a = 1;
  let t = x;
  let b = 0;
  for (const i of range(n)) { a = a * 3 + i; t = t * 2 + i; }
  for (const i of range(n, n + 2)) b = b * 10 + i;
  let rows = zeros([dim(x, 1)]);
  for (const i of range(dim(x, 0))) rows = rows + at(x, i) * (i + 1);
  let none = c;
  for (const i of range(0)) none = none + i + 1;`,
    { a: 'a', t: 't', b: 'b', rows: 'rows', none: 'none' },
  ),
  kernel(
    'loops in loops, swaps, and values from outside',
    `
  let a = at(x, 0);
  let b = at(x, -1);
  let total = 0;
  const y = x * 2 + 1;
  for (const i of range(3)) {
    for (const j of range(i + 1)) {
      [a, b] = [b, a + at(y, j)];
      total = total + i * j;
    }
    for (const j of range(n)) total = total - j;
  }
  let p = 1; let q = 2;
  for (const i of range(7)) [p, q] = [q, p + q];`,
    { a: 'a', b: 'b', total: 'total', p: 'p', q: 'q' },
  ),
  kernel(
    'while with scalars and tensors',
    `
  let k = 27; let steps = 0;
  while (k !== 1) { k = k % 2 === 0 ? k >> 1 : k * 3 + 1; steps = steps + 1; }
  let t = x; let r = 0;
  while (amax(t) < 50 && r < 6) { t = abs(t) * 2 + 1; r = r + 1; }
  let z = n;
  while (z > 100) z = z - 1;`,
    { steps: 'steps', t: 't', r: 'r', z: 'z', k: 'k' },
  ),
  kernel(
    'if on run-time scalars at top level',
    `
  let a = c; let t = x; let m = 0;
  if (n > 0) { a = a + 1; t = t * 2; } else { a = -a; t = t - at(t, 0); }
  if (c > 0) m = n;
  else if (c < 0) m = n * 10;
  if (amax(x) > 3) { if (n > 1) { t = t + 1; m = m + 5; } }
  let first = 0; let second = 1;
  if (n === 1) { first = 1; second = 0; }`,
    { a: 'a', t: 't', m: 'm', first: 'first', second: 'second' },
  ),
  kernel(
    'maps of one axis and of two',
    `
  const a = map(dim(x, 0), (i) => sum(at(x, i)));
  const b = map(dim(x, 0), (i) => at(x, i) * i);
  const d = map([dim(x, 0), dim(x, 1)], (i, j) => at(x, i, j) + i * 100 + j);
  const e = map([3, 4], (i, j) => i * j);
  const f = map(4, (i) => ({ square: i * i, row: at(x, 0) * i, code: u4(i * 3), half: f16(i / 3) }));
  const g = map(dim(x, 1), (j) => amax(gather(x, j, 1)) - j);
  const h = map([2, 3], (i, j) => tensor([1, 2, 3, 4, 5]) * (i + j));
  const k = map(5, (i) => i > n);`,
    {
      a: 'a',
      b: 'b',
      d: 'd',
      e: 'e',
      square: 'f.square',
      row: 'f.row',
      code: 'f.code',
      half: 'f.half',
      g: 'g',
      h: 'h',
      k: 'k',
      later: 'sum(d, 1) + a',
      inner: 'matmul(b, transpose(d))',
    },
  ),
  kernel(
    'maps with sequential bodies',
    `
  const a = map(dim(x, 0), (i) => {
    let s = 0;
    for (const j of range(dim(x, 1))) s = s * 2 - at(x, i, j);
    return s;
  });
  const b = map(dim(x, 0), (i) => {
    let row = at(x, i);
    for (const k of range(at(v, i))) row = row * 2 + k;
    return { row, last: at(row, -1) };
  });
  const d = map([dim(x, 0), dim(x, 1)], (i, j) => {
    let y = at(x, i, j);
    while (y > 2) y = y / 2;
    if (y < 0) y = -y; else y = y + j;
    return y;
  });
  const e = map(dim(x, 0), (i) => {
    let t = at(x, i); let hit = 0;
    if (sum(t) > 0) { t = t - amax(t); hit = 1; } else { t = t + i; }
    return { t, hit };
  });`,
    { a: 'a', row: 'b.row', last: 'b.last', d: 'd', t: 'e.t', hit: 'e.hit' },
  ),
  kernel(
    'maps in maps, and loops in maps in loops',
    `
  const a = map(dim(x, 0), (i) => map(dim(x, 1), (j) => at(x, i, j) * (j + 1) - i));
  const b = map(3, (i) => sum(map(dim(x, 0), (j) => amax(at(x, j)) * i)));
  let t = x;
  for (const r of range(3)) {
    t = map(dim(x, 0), (i) => {
      let row = at(t, i);
      for (const k of range(2)) row = row + at(t, 0) * k - r;
      return row;
    });
  }
  let u = sum(x, 1);
  for (const r of range(n)) u = map(dim(x, 0), (i) => at(u, i) * 2 + at(u, dim(x, 0) - 1 - i));
  const w = map(dim(x, 0), (i) => map(2, (k) => {
    let s = 0;
    for (const j of range(dim(x, 1))) s = s + at(x, i, j) * (k + 1);
    return s;
  }));`,
    { a: 'a', b: 'b', t: 't', u: 'u', w: 'w' },
  ),
  kernel(
    'reductions, views and contractions inside bodies',
    `
  const a = map(dim(x, 0), (i) => { const r = at(x, i); return (r - amax(r)) * sum(r) + argmax(r); });
  const b = map(dim(x, 0), (i) => matmul(reshape(at(x, i), [1, -1]), transpose(x)));
  const d = map(2, (i) => concat([at(x, 0), at(x, -1)]) + i);
  let m = x;
  for (const i of range(2)) m = matmul(matmul(m, transpose(x)), x) * 0.125;
  let s = 0;
  for (const i of range(dim(x, 0))) s = s + argmin(at(x, i)) * i;
  let r = at(x, 0);
  for (const i of range(n)) r = (r - amin(r)) * 2;
  const e = map(dim(x, 0), (i) => reshape(pad(at(x, i), 1, 1), [1, -1]));`,
    { a: 'a', b: 'b', d: 'd', m: ['m', { ulp: 8 }], s: 's', r: 'r', e: 'e' },
  ),
  {
    name: 'results of narrow types from maps and loops',
    params: 'x: Tensor<f32, [N, 32]>, q: Tensor<u4, [N, K]>, n: Tensor<i32, []>',
    body: `
  const coded = map([dim(x, 0), 4], (i, g) => {
    const b = slice(at(x, i), 0, 8);
    const block = at(group(x, 8), i, g) + b * 0;
    const top = amax(abs(block));
    const d = top / 7;
    return { d: f16(d), q: i4(clamp(round(d === 0 ? 0 : block / d), -8, 7)), odd: u3(iota(5) + g) };
  });
  let nibbles = q;
  for (const i of range(n)) nibbles = u4(nibbles + 3);
  let flips = q > 7;
  for (const i of range(n)) flips = !flips;
  const bits = map(dim(q, 0), (i) => u1(sum(at(q, i)) & 1));
  const grid = map([3, 5], (i, j) => u2(i + j));`,
    results: {
      d: 'coded.d',
      q: 'coded.q',
      odd: 'coded.odd',
      nibbles: 'nibbles',
      flips: 'flips',
      bits: 'bits',
      grid: 'grid',
      decoded: 'coded.q * reshape(coded.d, [-1, 4, 1])',
    },
    calls: [
      [1, 1, 0],
      [3, 5, 1],
      [2, 8, 4],
      [9, 33, 2],
    ].map(([n, k, t], s) => [
      whole('f32', [n!, 32], s),
      random('u4', [n!, k!], s),
      scalar('i32', t!),
    ]),
  },
];
