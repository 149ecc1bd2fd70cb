// Updates of parts of tensors, in loops and branches, with readers of the old contents before and behind them; and
// sorting along every axis, with ties, zeros of both signs and NaN.
import type { HostArray } from '../../compiler/index.ts';
import { array, random, scalar, whole } from './arrays.ts';
import type { Case } from './case.ts';

const params =
  'x: Tensor<f32, [N, K]>, n: Tensor<i32, []>, v: Tensor<i32, [N]>, q: Tensor<u4, [N, K]>';
const calls = [
  [3, 5],
  [1, 1],
  [2, 8],
  [5, 33],
  [4, 16],
].flatMap(([n, k], s) =>
  [0, 2, -3, 40].map((m, t): HostArray[] => [
    whole('f32', [n!, k!], s + t),
    scalar('i32', m),
    array('i32', [n!], (i) => ((i * 5 + t * 3) % 9) - 2),
    random('u4', [n!, k!], s + t),
  ]),
);
const kernel = (name: string, body: string, results: Case['results']): Case => ({
  name: `updates: ${name}`,
  params,
  body,
  results,
  calls,
});

const updates: readonly Case[] = [
  kernel(
    'elements, rows and everything, inside and outside of the axes',
    `
  const a = set(x, 100, n, 0);
  const b = set(x, at(x, 0) * 2, n);
  const c = set(set(x, -1, -1, -1), 7, 0, n);
  const d = set(x, 5, n);
  const e = set(q, 9, n, 0);
  const f = set(set(x, at(x, -1), 0), at(x, 0), -1);
  const g = set(v, n, 0);
  const h = set(x > 0, true, n, 0);`,
    { a: 'a', b: 'b', c: 'c', d: 'd', e: 'e', f: 'f', g: 'g', h: 'h' },
  ),
  kernel(
    'loops that fill, count and swap',
    `
  let filled = zeros([dim(x, 1)]);
  for (const i of range(dim(x, 1))) filled = set(filled, at(x, 0, i) * 2 + i, i);
  let counts = zeros([9], i32);
  for (const i of range(dim(v, 0))) { const b = at(v, i) + 2; counts = set(counts, at(counts, b) + 1, b); }
  let reversed = at(x, 0);
  for (const i of range(3)) {
    const j = dim(x, 1) - 1 - i;
    const low = at(reversed, i);
    reversed = set(reversed, at(reversed, j), i);
    reversed = set(reversed, low, j);
  }
  let rows = x;
  for (const i of range(2)) {
    const first = at(rows, 0);
    rows = set(rows, at(rows, i + 1), 0);
    rows = set(rows, first * 1, i + 1);
  }
  let codes = q;
  for (const i of range(dim(q, 0))) codes = set(codes, u4(at(codes, i, 0) + i), i, -1);`,
    { filled: 'filled', counts: 'counts', reversed: 'reversed', rows: 'rows', codes: 'codes' },
  ),
  kernel(
    'what is read of the old contents',
    `
  let t = x;
  let seen = 0;
  for (const i of range(dim(x, 0))) {
    const before = t;
    const total = sum(t);
    t = set(t, at(t, i) + at(before, 0) - 1, i);
    seen = seen + total + at(before, i, 0) * 2;
  }
  let w = x;
  for (const i of range(dim(x, 0))) w = set(w, at(w, i) - at(w, 0) * at(w, i, 0), i);
  let rolled = at(x, 0);
  for (const i of range(3)) rolled = set(rolled, sum(rolled) - at(rolled, i), i);
  let shifted = x;
  for (const i of range(dim(x, 0))) {
    const r = at(shifted, i);
    shifted = set(shifted, r + at(r, -1) - at(transpose(shifted), 0, i), i);
  }
  let p = x; let o = x * 2;
  for (const i of range(n)) [p, o] = [o, p];
  let k1 = 1; let k2 = 2;
  for (const i of range(n)) [k1, k2] = [k2, k1];`,
    {
      t: 't',
      seen: 'seen',
      w: 'w',
      rolled: 'rolled',
      shifted: 'shifted',
      p: 'p',
      o: 'o',
      k1: 'k1',
      k2: 'k2',
    },
  ),
  kernel(
    'in branches, nested loops and while',
    `
  let t = x;
  for (const i of range(dim(x, 0))) {
    if (at(v, i) > 1) {
      t = set(t, at(t, i) * 3, i);
      if (at(v, i) > 3) t = set(t, 0, i, 0);
    } else if (at(v, i) === 0) t = set(t, at(t, 0), i);
    for (const j of range(dim(x, 1))) t = set(t, at(t, i, j) + at(t, i, 0), i, j);
  }
  let u = at(x, 0); let k = 0;
  while (at(u, 0) < 20 && k < 5) { u = set(u, at(u, 0) * 2 + 7, 0); u = set(u, k, at(v, 0)); k = k + 1; }
  let a = x; let b = x + 1;
  if (n > 0) { a = set(b, 1, 0); b = set(a, 2, 0); } else { [a, b] = [b, a]; }
  let kept = x;
  const old = kept;
  if (n > 0) kept = set(kept, 9, 0, 0);
  kept = kept + old * 10;`,
    { t: 't', u: 'u', k: 'k', a: 'a', b: 'b', kept: 'kept' },
  ),
  kernel(
    'inside of parallel maps',
    `
  const sums = map(dim(x, 0), (i) => {
    let s = 0; let out = zeros([dim(x, 1)]);
    for (const j of range(dim(x, 1))) { s = s + at(x, i, j); out = set(out, s, j); }
    return out;
  });
  const bins = map(dim(x, 0), (i) => {
    let h = zeros([4], u8);
    for (const j of range(dim(x, 1))) { const b = i32(at(q, i, j)) >> 2; h = set(h, u8(at(h, b) + 1), b); }
    return h;
  });
  const sieve = map(dim(x, 0), (i) => {
    let row = at(q, i); let j = 0;
    while (j < dim(x, 1)) { row = set(row, 15, j); j = j + at(q, i, 0) + 1; }
    return row;
  });`,
    { sums: 'sums', bins: 'bins', sieve: 'sieve' },
  ),
  kernel(
    'slices at run-time starts',
    `
  const a = setSlice(x, slice(x, 0, 1) * 2, n);
  const b = setSlice(x, slice(x * 3, 0, 1, 1), n, 1);
  const c = setSlice(pad(x, 2, 2), x, 1, 1);
  const d = setSlice(q, slice(q, 0, 1), 0);
  let ring = zeros([4, dim(x, 1)]);
  for (const i of range(dim(x, 0))) ring = set(ring, at(x, i), (i + n) & 3);`,
    { a: 'a', b: 'b', c: 'c', d: 'd', ring: 'ring' },
  ),
];

const special = [0, -0, NaN, 1, Infinity, -Infinity, 2, 2, -1, 0.5];
const sorts: readonly Case[] = [
  {
    name: 'sorting: values and indices along every axis, stable in both directions',
    params: 'x: Tensor<f32, [N, K]>, i: Tensor<i32, [N, K]>, b: Tensor<u8, [N, K]>',
    body: `
  const top = topk(x, 1);
  const low = topk(i, 1, 0, { largest: false });
  const one = map(dim(x, 0), (r) => { const s = sort(at(x, r)); return at(s, 0) + at(s, -1); });
  const whole = at(x, 0);
  let t = x;
  for (const k of range(2)) { t = sort(t * -1, 0); t = sort(t - k); }`,
    results: {
      a: 'sort(x)',
      ai: 'argsort(x)',
      d: 'sort(x, { descending: true })',
      di: 'argsort(x, -1, { descending: true })',
      c: 'sort(x, 0)',
      ci: 'argsort(x, 0, { descending: true })',
      e: 'sort(i, 1)',
      ei: 'argsort(i)',
      f: 'argsort(b)',
      g: 'sort(b, 0)',
      m: 'argsort(x > 0)',
      top: 'top.values',
      topi: 'top.indices',
      low: 'low.indices',
      back: 'takeAlong(x, argsort(x))',
      one: 'one',
      fused: 'sort(abs(x) - 1) * 2',
      whole: 'argsort(whole)',
      t: 't',
    },
    calls: [
      [1, 1],
      [3, 2],
      [2, 7],
      [4, 16],
      [3, 33],
      [1, 100],
      [33, 3],
    ].map(([n, k], s) => [
      array('f32', [n!, k!], (i) => (i % 3 ? special[(i * 7 + s) % 10]! : (i * 37) % 11)),
      array('i32', [n!, k!], (i) => ((i * 31 + s) % 7) - 3 + (i % 13 === 0 ? 2 ** 30 : 0)),
      random('u8', [n!, k!], s),
    ]),
  },
  {
    name: 'sorting: packed types, small floats and empty axes',
    params: 'x: Tensor<f16, [N, K]>, q: Tensor<i4, [N, K]>, z: Tensor<f32, [R, K]>',
    results: { x: 'sort(x)', q: 'sort(q)', qi: 'argsort(q, 0)', z: 'sort(z)', zi: 'argsort(z, 0)' },
    calls: [
      [3, 5, 0],
      [2, 64, 0],
    ].map(([n, k, r], s) => [
      random('f16', [n!, k!], s),
      random('i4', [n!, k!], s),
      random('f32', [r!, k!], s),
    ]),
  },
];

export const updateCases: readonly Case[] = [...updates, ...sorts];
