// Control flow that depends on what the kernel is given: loops, branches and maps at run time.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { body, codesOf, kernel, problems, scalar, t, values } from './stage.ts';

const test = suite('run-time control flow');
const same = async (code: string, expected: readonly number[]): Promise<void> =>
  assert.equal(await body(code), [...expected]);

test('a loop carries scalars; a literal start takes the type of the body', async () => {
  await same('let s = 0; for (const i of range(4)) s += at(x, i); return s;', [10]);
  await same(
    'let s = 0; let n = 0; for (const i of range(4)) { s += at(x, i) / 2; n += i; } return s * n;',
    [30],
  );
  await same('let best = 0; for (const i of range(4)) best = 0.5; return best;', [0.5]);
});

test('a loop carries tensors, arrays and records', async () => {
  await same('let y = x; for (const i of range(3)) y = y * 2; return y;', [8, 16, 24, 32]);
  await same(
    'let p = [0, 1]; for (const i of range(6)) p = [p[1], p[0] + p[1]]; return p[0] * x;',
    [8, 16, 24, 32],
  );
  await same(
    'let o = { sum: f32(0), last: [f32(0)] }; for (const i of range(4)) { const v = at(x, i); o = { sum: o.sum + v, last: [v] }; } return o.sum * 10 + o.last[0];',
    [104],
  );
});

test('a range has a start, and takes dims and run-time scalars', async () => {
  await same('let s = 0; for (const i of range(1, 3)) s += at(x, i) * i; return s;', [2 + 6]);
  await same('let s = 0; for (const i of range(dim(x, 0) - 1)) s += at(x, i); return s;', [6]);
  await same('let s = 0; for (const i of range(i32(at(x, 2)))) s += i; return s;', [3]);
  await same(
    'let s = 0; for (const i of range(i32(at(x, 1)), i32(at(x, 3)))) s += i; return s;',
    [5],
  );
  await same('let s = 7; for (const i of range(0)) s = 0; return s;', [7]);
});

test('loops nest, with their own variables', async () => {
  await same(
    'let s = 0; for (const i of range(4)) { let row = 0; for (const j of range(3)) { const v = at(x, i) * j; row += v; } s += row * i; } return s;',
    [3 * (0 + 2 + 6 + 12)],
  );
});

test('a literal start takes the type that an inner loop gives it', async () => {
  await same(
    'let s = 0; for (const i of range(2)) for (const j of range(2)) s += at(x, i * 2 + j); return s;',
    [10],
  );
  await same(
    'let s = 0; for (const i of range(2)) { for (const j of range(2)) { if (i === j) { let k = 0; while (k < 2) { s += at(x, i) / 2; k += 1; } } } } return s;',
    [3],
  );
});

test('unrolled loops inside run-time loops, and the other way round', async () => {
  await same(
    'let s = 0; for (const i of range(4)) for (const k of [1, 2]) { if (k === 1) continue; s += at(x, i) * k; } return s;',
    [20],
  );
  await same(
    'let s = 0; for (const k of [1, 2]) for (const i of range(4)) s += at(x, i) * k; return s;',
    [30],
  );
});

test('a closure called in a loop assigns outer variables', async () => {
  await same(
    'let s = f32(0); const add = (v) => { s = s + v; }; for (const i of range(4)) add(at(x, i)); return s;',
    [10],
  );
  await same(
    'let s = 0; const add = (v) => { s += v; }; for (const i of range(2)) for (const j of range(2)) add(at(x, i * 2 + j)); return s;',
    [10],
  );
});

test('names of the body that hide outer ones leave those alone', async () => {
  await same(
    "let mode = 'a'; let s = 0; for (const i of range(4)) { let mode = i; mode += 1; s += mode; } return mode === 'a' ? s : 0;",
    [10],
  );
});

test('arrays made in a loop body can be changed there', async () => {
  await same(
    'let s = 0; for (const i of range(4)) { const parts = []; for (const k of [1, 2]) parts.push(at(x, i) * k); s += parts[0] + parts[1]; } return s;',
    [30],
  );
  await same(
    'return map(4, (i) => { const o = { v: at(x, i) }; o.v *= 2; return o.v; });',
    [2, 4, 6, 8],
  );
});

test('while runs as long as its condition holds', async () => {
  await same('let v = at(x, 3); let n = 0; while (v > 0.3) { v = v / 2; n += 1; } return n;', [4]);
  await same('let i = 0; while (i < 3) i += 1; return x * i;', [3, 6, 9, 12]);
  await same('let i = 5; while (false) i = 1; return i;', [5]);
});

const pick = (condition: string): string =>
  `let y = 0; let z = x; if (${condition}) { y = 1.5; } else if (at(x, 1) > 1) { y = at(x, 0) + 1; z = x * 2; } return z + y;`;

test('branches assign variables, in either or both sides', async () => {
  await same(pick('at(x, 0) > 0'), [2.5, 3.5, 4.5, 5.5]);
  await same(pick('at(x, 0) > 1'), [4, 6, 8, 10]);
});

test('a variable may get its first value in both branches', async () => {
  await same('let y; if (at(x, 0) > 3) y = x; else { y = x * 2; } return y;', [2, 4, 6, 8]);
  const [one] = problems(kernel('let y; if (at(x, 0) > 3) y = x;\nreturn y;'));
  assert.is(one!.code, 'Q1016');
  assert.match(one!.found!, 'one branch');
});

test('long chains of else if are traced once each', async () => {
  const arms = Array.from({ length: 24 }, (_, i) => `if (at(x, 3) < ${i - 20}) y = ${i};`);
  await same(`let y = -1; ${arms.join(' else ')} return y;`, [-1]);
});

test('branches of different dtypes meet as in ?:', async () => {
  await same('let y = i32(3); if (at(x, 0) > 0) y = at(x, 1) / 4; return y;', [0.5]);
  await same('let y = at(x, 0); if (at(x, 1) > 0) y = 7; return y;', [7]);
});

test('text stays the same in both branches', async () => {
  await same(
    "let kind = 'a'; let y = 0; if (at(x, 0) > 0) { kind = 'b'; y = 1; } else kind = 'b'; return kind === 'b' ? y : 9;",
    [1],
  );
});

test('?:, && and || select elementwise', async () => {
  await same('return x > 2 ? x : -x;', [-1, -2, 3, 4]);
  await same('return (x > 1 && x < 4) || x === 1 ? 1 : 0;', [1, 1, 1, 0]);
  await same('return f32(!(x > 2));', [1, 1, 0, 0]);
});

test('maps give the mapped axes in front, of records as well', async () => {
  await same('return map(4, (i) => at(x, 3 - i));', [4, 3, 2, 1]);
  await same(
    'const o = map([2, 2], (i, j) => ({ a: at(x, i * 2 + j), b: [i, j] })); return o.a * 10 + o.b[1];',
    [10, 21, 30, 41],
  );
  await same('return sum(map(2, (i) => x * (i + 1)), 0);', [3, 6, 9, 12]);
});

test('scalars of the call steer loops', async () => {
  const source = `import { at, range } from 'quern';
export function f<N extends Dim>(x: Tensor<f32, [N]>, n: Tensor<i32, []>, s: Scalar) {
  let y = 0; for (const i of range(n)) y += at(x, i) * s; return y;
}`;
  assert.equal(await values(source, [t([1, 2, 3]), scalar(2, 'i32'), scalar(0.5)]), [1.5]);
});

const refused: Readonly<Record<string, readonly [code: string, expected: string]>> = {
  'assigning outer variables in a map': [
    'let s = 0; const y = map(4, (i) => { s = i; return s; }); return y;',
    'Q1002',
  ],
  'changing an outer array in a loop': [
    'const a = [0]; for (const i of range(4)) a.push(i); return x;',
    'Q1002',
  ],
  'changing an outer record in a branch': [
    'const o = { n: 0 }; if (at(x, 0) > 0) o.n = 1; return x;',
    'Q1002',
  ],
  'an array that grows': [
    'let a = [0]; for (const i of range(4)) a = [...a, i]; return x;',
    'Q1011',
  ],
  'a dtype that changes': [
    'let a = f32(0); for (const i of range(4)) a = i32(i); return a;',
    'Q1011',
  ],
  'a shape that changes': ['let a = x; for (const i of range(4)) a = sum(x); return a;', 'Q1011'],
  'text that changes': ["let a = 'p'; for (const i of range(4)) a = 'q'; return x;", 'Q1002'],
  'branches that disagree': ['let a = x; if (at(x, 0) > 0) a = sum(x); return a;', 'Q1011'],
  'return in a loop': ['for (const i of range(4)) return x; return x;', 'Q1009'],
  'return in a branch': ['if (at(x, 0) > 0) return x; return x;', 'Q1009'],
  'break in a run-time loop': ['for (const i of range(4)) { break; } return x;', 'Q1002'],
  'while without an end': ['while (true) {} return x;', 'Q1002'],
  'while that changes nothing': ['while (at(x, 0) > 0) {} return x;', 'Q1002'],
  'a condition that is a tensor': ['if (x > 0) {} return x;', 'Q1010'],
  'a float as a range': ['for (const i of range(at(x, 0))) {} return x;', 'Q1012'],
  'a variable without a value before its loop': [
    'let y; for (const i of range(4)) y = i; return x;',
    'Q1016',
  ],
  'constants assigned': ['const y = 0; for (const i of range(4)) y = i; return x;', 'Q1007'],
  'for (;;) over run-time values': ['for (let i = 0; i < at(x, 0); i++) {} return x;', 'Q1002'],
  'a map without a result': ['return map(4, (i) => {});', 'Q1012'],
};
for (const [name, [code, expected]] of Object.entries(refused))
  test(`refused: ${name}`, () => {
    assert.equal(codesOf(kernel(code)), [expected]);
  });

test.run();
