// Encoders run four blocks at a time where that is cheaper; whatever is chosen, the bytes are the interpreter's.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type HostArray, interpret } from '../../compiler/index.ts';
import { agree } from '../conformance/compare.ts';
import { wasmRunner } from '../conformance/wasm-runner.ts';
import { type Compiled, compiled } from './harness.ts';

const test = suite('four blocks at a time');
const folder = mkdtempSync(join(tmpdir(), 'quern-blocks-'));
test.after(() => rmSync(folder, { recursive: true }));

const imports = `import { abs, amax, amin, argmax, at, bitcast, clamp, concat, f16, f32, format, gather, i8, iota, range, round, slice, sum, tensor, u1, u4,
  u5, u8, group, reshape, transpose } from 'quern';
import type { Tensor } from 'quern';
`;
let files = 0;
async function encoder(body: string): Promise<(x: HostArray) => Promise<Compiled>> {
  const file = join(folder, `f${files++}.ts`);
  writeFileSync(file, `${imports}export const it = format(${body});`);
  const c = await compiled({ file, name: 'it.encode' });
  return async (x) => {
    const { results } = await interpret({ file, name: 'it.encode' }, [x]);
    const got = await wasmRunner.run(c.artifact, [x]);
    results.forEach((r, i) => agree(`field ${i} of [${x.shape.join(', ')}]`, got[i]!, r, 'exact'));
    return c;
  };
}

const edges = [0, -0, 1, -1, 0.5, 3, -7.5, 1e-20, 1e20, NaN, Infinity, -Infinity];
/** Blocks of plain numbers, of edges, of zeros and of equal magnitudes with unlike signs, in turn. */
function weights(rows: number, blocks: number, block: number): HostArray {
  const data = new Float32Array(rows * blocks * block);
  data.forEach((_, i) => {
    const b = Math.floor(i / block);
    const noise = Math.sin(i * 12.9898) * 3;
    data[i] = [noise, edges[(i * 5) % edges.length]!, 0, i % 3 ? 2 : -2, -noise][b % 5]!;
  });
  return { dtype: 'f32', shape: [rows, blocks * block], data };
}
const counts = [1, 2, 3, 4, 5, 7, 8, 9, 11];

/** Encodes every count of blocks; the last compiled kernel's schedule. */
async function schedule(block: number, body: string): Promise<string> {
  const run = await encoder(body);
  let text = '';
  for (const n of counts) text = (await run(weights(3, n, block))).stage('schedule');
  return text;
}

test('scales of four blocks are found together', async () => {
  const text = await schedule(
    32,
    `{ block: 32, encode(x: Tensor<f32, [32]>) {
      const d = amax(abs(x)) / 7;
      return { d: f16(d), q: u4(x * (d === 0 ? 0 : 1 / d) + 8.5) };
    }, decode: ({ d, q }) => (q - 8) * d }`,
  );
  assert.match(text, /four blocks at a time/);
  assert.match(text, /build\(reduce_max/);
});

test('what a block joins is stored part by part, without a choice for each element', async () => {
  const text = await schedule(
    32,
    `{ block: 32, encode(x: Tensor<f32, [32]>) {
      const d = f16(amax(abs(x)) / 7);
      const q = u4(clamp(x * 2 + 8, 0, 15));
      const bits = u1(x > 0);
      return {
        struct: concat([bitcast(d, u8), concat([u8(slice(q, 0, 1)), u8(slice(q, 0, 16) | (slice(q, 16, 32) << 4))]), u8(slice(q, 5, 8))]),
        halves: concat([slice(q, 16, 32), slice(q, 0, 16)]),
        odd: concat([slice(bits, 0, 3), slice(bits, 7, 12)]),
        rows: concat([group(x, 8), group(x * 2, 8)], 1),
        first: concat([group(x, 8), group(x * 2, 8)], 0),
        mixed: concat([slice(x, 0, 5), i8(slice(q, 3, 10)), slice(bits, 0, 4)]),
      };
    }, decode: ({ rows }) => reshape(slice(rows, 0, 8, 1), [32]) }`,
  );
  const struct = text.split('\n').filter((l) => /result\.struct\[/.test(l));
  assert.ok(struct.length > 0 && !struct.some((l) => l.includes('select')), struct.join('\n'));
  assert.match(text, /result\.struct\[[^\]]* : 16/);
});

test('the place of the largest magnitude is the first one, or that of the first NaN', async () => {
  const text = await schedule(
    16,
    `{ block: 16, encode(x: Tensor<f32, [16]>) {
      const k = argmax(abs(x));
      return { k: i8(k), peak: at(x, k), low: amin(x), top: amax(x) };
    }, decode: ({ k, peak }) => k * peak + tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) }`,
  );
  assert.match(text, /four blocks at a time/);
});

test('searches keep one candidate a block in each lane', async () => {
  const text = await schedule(
    32,
    `{ block: 32, encode(x: Tensor<f32, [32]>) {
      const top = amax(abs(x));
      let best = top * 0;
      let d = top * 0;
      for (const step of range(5)) {
        const inverse = (step + 3) / top;
        const hits = amax(abs(round(x * inverse)));
        const better = hits > best;
        d = better ? inverse : d;
        best = better ? hits : best;
      }
      return { d, q: u5(x * d + 16) };
    }, decode: ({ d, q }) => q * d }`,
  );
  assert.match(text, /four blocks at a time/);
});

test('the nearest entry of a codebook is counted and looked up without a loop', async () => {
  const text = await schedule(
    32,
    `{ block: 32, encode(x: Tensor<f32, [32]>) {
      const top = amax(abs(x));
      const code = sum(reshape(x / top, [32, 1]) > tensor([-0.9, -0.31, -0.02, 0.05, 0.4, 0.77]), 1);
      const level = gather(tensor([-100, -60, -3, 0, 7, 50, 90], i8), code);
      return { top, q: u4(code), scale: amax(abs(level * x)), level: i8(level) };
    }, decode: ({ top, q, scale, level }) => q * top + scale * level }`,
  );
  assert.match(text, /rank_gt\(/);
  assert.not.match(text, /for i_\d+ in 0\.\.6/);
});

test('tables out of order, comparisons from below and integers are summed as they are', async () => {
  const text = await schedule(
    8,
    `{ block: 8, encode(x: Tensor<f32, [8]>) {
      const v = reshape(x, [8, 1]);
      const whole = reshape(i8(clamp(round(x), -9, 9)), [8, 1]);
      return { a: u4(sum(v > tensor([1, -2, 3]), 1)), b: u4(sum(v < tensor([-2, 0, 3]), 1)),
        c: u4(sum(whole >= tensor([-4, 0, 2], i8), 1)) };
    }, decode: ({ a, b, c }) => a + b * c }`,
  );
  assert.not.match(text, /rank_/);
});

test('codes of one bit, rows of odd length and scratch of an iteration stay apart', async () => {
  await schedule(
    8,
    `{ block: 8, encode(x: Tensor<f32, [8]>) {
      const columns = transpose(group(x, 2));
      const top = amax(abs(columns), 1);
      return { top, q: u1(x > 0), both: u4(round(columns * 3)) };
    }, decode: ({ top, q, both }) => reshape(transpose(both), [8]) * at(top, 0) * q }`,
  );
});

test('a body with a branch of its own goes one block at a time, and says so', async () => {
  const text = await schedule(
    32,
    `{ block: 32, encode(x: Tensor<f32, [32]>) {
      let d = amax(abs(x)) / 7;
      let n = 0;
      while (d > 1 && n < 4) { d = d / 2; n = n + 1; }
      return { d, n: u4(n), q: u4(clamp(round(x), 0, 15)) };
    }, decode: ({ d, n, q }) => q * d + n }`,
  );
  assert.match(text, /blocks one at a time: its body has a while/);
});

test('workers have scratch of their own in the loop over fours and in that over the rest', async () => {
  const file = join(folder, 'rows.ts');
  writeFileSync(
    file,
    `${imports}import { map } from 'quern';
    import { dim } from 'quern';
    import type { Dim } from 'quern';
    export function rows<N extends Dim>(x: Tensor<f32, [N, 64]>) {
      return map(dim(x, 0), (i) => {
        const squares = at(x, i) * at(x, i);
        let total = at(squares, 0);
        for (const k of range(1, 64)) total = total + at(squares, k);
        return squares / total;
      });
    }
    `,
  );
  const text = (await compiled({ file, name: 'rows' })).stage('schedule');
  assert.match(text, /four blocks at a time/);
  assert.match(text, /temp private/);
  assert.not.match(text, /temp$/m);
});

test('iterations overlap where long vectors wait for what four blocks have in common', async () => {
  const text = await schedule(
    32,
    `{ block: 32, encode(x: Tensor<f32, [32]>) {
      const d = amax(abs(x)) / 7;
      return { d: f16(d), q: u4(x * (d === 0 ? 0 : 1 / d) + 8.5), low: i8(clamp(round(x * 4), -9, 9)) };
    }, decode: ({ d, q, low }) => (q - 8) * d + low }`,
  );
  assert.match(text, /iterations overlap/);
  // The first head in front, the last tail behind: each part is there twice.
  assert.is(text.match(/result\.low\[[^\]]*: 32 @ 32\] = /g)!.length, 2 * 4 + 1);
  assert.match(text, /local t_\d+: f32x4 = /);
});

test('iterations overlap that go one block at a time', async () => {
  const text = await schedule(
    64,
    `{ block: 64, encode(x: Tensor<f32, [64]>) {
      const top = amax(abs(x));
      return { top, q: u4(sum(reshape(x * (1 / top), [64, 1]) > tensor([-0.9, -0.31, -0.02, 0.05, 0.4, 0.77]), 1)) };
    }, decode: ({ top, q }) => q * top }`,
  );
  assert.match(text, /iterations overlap/);
});

test('iterations with scratch on both sides stay one after the other', async () => {
  const text = await schedule(
    32,
    `{ block: 32, encode(x: Tensor<f32, [32]>) {
      const columns = transpose(reshape(x, [4, 8]));
      const top = amax(abs(columns), 1);
      return { top, q: i8(round(reshape(transpose(columns / reshape(top, [8, 1])), [32]) * 100)) };
    }, decode: ({ top, q }) => q * at(top, 0) }`,
  );
  assert.match(text, /iterations do not overlap/);
});

test('scratch that is used an element at a time holds four blocks side by side', async () => {
  const text = await schedule(
    16,
    `{ block: 16, encode(x: Tensor<f32, [16]>) {
      const k = argmax(abs(x));
      let best = at(x, 0) * 0;
      let total = at(x, 0);
      for (const step of range(3)) {
        const codes = i8(round(reshape(x, [16, 1]) * (step + 60)));
        for (const i of range(1, 16)) total = total * 0.5 + at(at(codes, i), 0);
        // Each block reads another element.
        best = total > best ? total + at(at(codes, k), 0) : best;
      }
      return { best, total, q: u4(x * 4) };
    }, decode: ({ best, total, q }) => best + total * q }`,
  );
  assert.match(text, /four blocks at a time/);
  // Codes may wrap, so they stay bytes: sixteen numbers of four blocks. Carried numbers are variables.
  assert.match(text, /buffer codes_1: i8\[64\] temp/);
  assert.match(text, /local total_\d+: f32x4 = /);
  assert.match(text, /gather\(codes_1, /);
});

test('small integers that cannot wrap are kept wide', async () => {
  const text = await schedule(
    16,
    `{ block: 16, encode(x: Tensor<f32, [16]>) {
      let total = at(x, 0);
      for (const step of range(3)) {
        const codes = i8(clamp(round(reshape(x, [16, 1]) * (step + 60)), -100, 100)) + i8(0);
        const level = gather(tensor([-9, -3, 0, 4, 8, 9, 11, 50, 1, 2, 3, 4, 5, 6, 7, 8], i8), u4(codes));
        for (const i of range(1, 16)) total = total * 0.5 + at(at(level, i), 0);
      }
      return { total, q: u4(x * 4) };
    }, decode: ({ total, q }) => total * q }`,
  );
  assert.match(text, /buffer level_1: i32\[64\] temp/);
});

test('what lies side by side is computed sixteen lanes at a time', async () => {
  const search = (size: number, v: string): string =>
    `{ block: ${size}, encode(x: Tensor<f32, [${size}]>) {
      const column = reshape(x, [${size}, 1]);
      const peak = amax(abs(x));
      let best = peak * 0;
      let scale = peak * 0;
      for (const step of range(5)) {
        const v = ${v};
        const q = u4(sum(reshape(v, [${size}, 1, 1]) > tensor([-6.5, -4, -2.25, -1, -0.5, 0.5, 1, 2.25, 4, 6.5]), 2));
        const level = gather(tensor([-8, -5, -3, -2, -1, 0, 1, 2, 3, 5, 8], i8), q);
        const terms = level * column;
        let dot = at(at(terms, 0), 0);
        for (const i of range(1, ${size})) dot = dot + at(at(terms, i), 0);
        scale = dot > best ? f32(step) : scale;
        best = dot > best ? dot : best;
      }
      return { scale, best, q: u4(x * 4) };
    }, decode: ({ scale, best, q }) => scale + best * q }`;
  const plain = '((step + 6) / peak) * column';
  const text = await schedule(32, search(32, plain));
  assert.match(text, /terms_\d+\[[^\n]*: 16 @ 4\] = [^\n]*gather\(table_\d+, [^\n]*rank_gt/);
  // Sums in order: 31 numbers, four a round.
  assert.match(text, /for t_\d+ in 0\.\.28 step 4 /);
  // Other numbers for each element, and a length that is no multiple of four.
  const counted = `${plain} + reshape(f32(iota(32)), [32, 1])`;
  await schedule(32, search(32, counted));
  const short = await schedule(18, search(18, plain));
  assert.not.match(short, /terms_\d+\[[^\n]*: 16 @ 4\]/);
});

test.run();
