// Updates are in place wherever nobody reads the old tensor again: in the loop IR there is no buffer for a copy, and
// no store but that of the update.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compiledText, temporaries } from './harness.ts';

const test = suite('updates in place');
const dims = { N: 6, K: 40 };

async function of(body: string): Promise<{ temps: number[]; text: string }> {
  const c = await compiledText(
    `export function kernel(x: Tensor<f32, [N, K]>, v: Tensor<i32, [N]>, n: Tensor<i32, []>) {\n${body}\n}`.replace(
      '(x',
      '<N extends Dim, K extends Dim>(x',
    ),
  );
  return { temps: temporaries(c, dims), text: c.stage('schedule') };
}
/** Stores into a buffer: vector and scalar loops of one store count once. */
const storesInto = (text: string, buffer: string): number =>
  text.split('\n').filter((l) => new RegExp(`^\\s*${buffer}\\[[^\\]:]*\\] = `).test(l)).length;

test('a loop that counts has one store, and no buffer but the result', async () => {
  const { temps, text } = await of(`
    let h = zeros([16], i32);
    for (const i of range(dim(v, 0))) h = set(h, at(h, at(v, i)) + 1, at(v, i));
    return h;`);
  assert.equal(temps, []);
  assert.is(storesInto(text, 'result'), 1);
});

test('chains of updates and loops share one buffer', async () => {
  const { temps, text } = await of(`
    let y = set(set(x, 1, 0, 0), 2, n, 1);
    for (const i of range(n)) y = set(y, at(y, i) * 2, i + 1);
    for (const i of range(n)) y = set(y, 0, i, i);
    return y;`);
  assert.equal(temps, []);
  assert.is(text.match(/kernel "/g)!.length, 1);
});

test('branches and loops inside update where they stand', async () => {
  const { temps } = await of(`
    let y = x;
    for (const i of range(dim(x, 0))) {
      if (at(v, i) > 0) { y = set(y, at(y, i) - at(y, 0, 0), i); if (at(v, i) > 2) y = set(y, 0, i, 0); }
      for (const j of range(n)) y = set(y, at(y, i, j) + at(y, 0, j), i, j);
    }
    return y;`);
  assert.equal(temps, []);
});

test('a value that later code reads is kept, not the tensor', async () => {
  const { temps } = await of(`
    let y = x;
    for (const i of range(dim(x, 0))) {
      const first = at(y, 0); const corner = at(y, 0, 0);
      y = set(y, at(y, i), 0);
      y = set(y, first + corner, i);
    }
    return y;`);
  assert.equal(temps, [4 * dims.K]);
});

test('rows that only a branch needs are kept in the branch', async () => {
  const { temps } = await of(`
    let y = x;
    for (const i of range(dim(x, 0))) {
      const first = at(y, 0);
      if (at(v, i) > 0) {
        const other = at(y, i);
        y = set(y, first - other, 0);
        y = set(y, first + other, i);
      }
    }
    return y;`);
  assert.equal(temps, [4 * dims.K, 4 * dims.K]);
});

test('elementwise steps of a carried tensor need no second one', async () => {
  const { temps } = await of(`
    let y = at(x, 0);
    for (const i of range(n)) y = y * 2 - at(y, i) * at(x, i);
    return y;`);
  assert.equal(temps, []);
});

test('a tensor that is read behind the update is copied, once, and explain says so', async () => {
  const { temps, text } = await of(`
    let y = x;
    for (const i of range(n)) { const old = y; y = set(y, 1, i, 0); y = y + old; }
    return y;`);
  assert.equal(temps, [4 * dims.N * dims.K]);
  assert.match(text, /is still read after an update: the tensor is copied/);
});

test('in a map each iteration updates its own scratch', async () => {
  const { temps } = await of(`
    return map(dim(x, 0), (i) => {
      let row = at(x, i);
      for (const j of range(dim(x, 1))) row = set(row, at(row, j) * at(row, 0), j);
      return row;
    });`);
  // Several iterations may run together, each with a row of its own.
  assert.ok(temps.length > 0);
  assert.ok(temps.every((bytes) => bytes === 4 * dims.K));
});

test.run();
