// Products of small integers whose right side lies along its columns: in the bounds-checked evaluator and on wasm, against the
// interpreter, for codes of all widths, with and without zero points, and scales of the left side of every length.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type HostArray, interpret } from '../../compiler/index.ts';
import { dtypes } from '../../compiler/ir/dtype.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { load } from '../../runtime/load.ts';
import { pack } from '../../runtime/pack.ts';
import { DeviceTensor } from '../../runtime/tensor.ts';
import { residentKernel } from '../resident/evaluated.ts';
import { skip } from '../support/skip.ts';
import { threaded } from '../threads/harness.ts';
import { compiledText } from './harness.ts';

const test = suite('columns of small integers');
const folder = mkdtempSync(join(tmpdir(), 'quern-columns-'));
test.after(() => rmSync(folder, { recursive: true }));

const codes = ['u1', 'u2', 'u3', 'u4', 'u5', 'u8', 'i2', 'i4', 'i6', 'i8'] as const;
const lefts = ['i32', 'f32', 'block32', 'block8'] as const;
const zeros = ['none', 'constant', 'row'] as const;
interface Case {
  readonly code: (typeof codes)[number];
  readonly left: (typeof lefts)[number];
  readonly zero: (typeof zeros)[number];
}

const imports = `import { abs, amax, decode, encode, f16, f32, format, i8, i32, matmul, reshape, round, shape } from 'quern';
import type { Dim, Tensor } from 'quern';
const blocks = (block: number) => format({
  block,
  encode(x: Tensor<f32>) {
    const d = amax(abs(x)) / 127;
    return { d: f16(d), q: i8(round(d === 0 ? 0 : x / d)) };
  },
  decode: ({ d, q }) => q * d,
});
`;
const leftText: Record<Case['left'], string> = {
  i32: 'i32(x)',
  f32: 'f32(x)',
  block32: 'decode(encode(blocks(32), f32(x)))',
  block8: 'decode(encode(blocks(8), f32(x)))',
};
const zeroText: Record<Case['zero'], string> = {
  none: 'i32(w)',
  constant: 'i32(w) - 3',
  row: 'i32(w) - reshape(zero, [b, k, 1]) + 1',
};
const files = new Map<string, string>();
function fileOf({ code, left, zero }: Case): string {
  const name = `${code}_${left}_${zero}.ts`;
  const path = join(folder, name);
  if (files.has(name)) return path;
  const right = left === 'i32' ? zeroText[zero] : `f32(${zeroText[zero]})`;
  writeFileSync(
    path,
    `${imports}export function kernel<B extends Dim, M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<i8, [B, M, K]>, w: Tensor<${code}, [B, K, N]>, zero: Tensor<${code}, [B, K]>) {
  const [b, m, k] = shape(x);
  return matmul(${leftText[left]}, ${right}) * 2;
}\n`,
  );
  files.set(name, path);
  return path;
}

const random = (seed: number): (() => number) => {
  let s = seed;
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s >>> 8) / 2 ** 24;
  };
};
function inputsOf({ code }: Case, [b, m, n, k]: readonly number[], seed: number): HostArray[] {
  const next = random(seed);
  const { min, max } = dtypes[code];
  const ints = (shape: number[]): HostArray => ({
    dtype: code,
    shape,
    data: Int32Array.from({ length: shape.reduce((x, y) => x * y, 1) }, () =>
      Math.floor(min! + next() * (max! - min! + 1)),
    ),
  });
  const x = Int32Array.from({ length: b! * m! * k! }, () => Math.round(next() * 254 - 127));
  return [{ dtype: 'i8', shape: [b!, m!, k!], data: x }, ints([b!, k!, n!]), ints([b!, k!])];
}

/** Sums of whole numbers are exact; where a scale is taken out of a sum, a few units in the last place of its size. */
function agree(c: Case, got: HostArray, want: HostArray, k: number): void {
  assert.equal([...got.shape], [...want.shape]);
  const exact = c.left === 'i32' || c.left === 'f32';
  const size = Math.max(1, ...Array.from(want.data, Math.abs)) + 127 * 16 * Math.sqrt(k);
  const close = exact ? 0 : size * 2e-6;
  want.data.forEach((w, i) => {
    const g = got.data[i]!;
    assert.ok(Math.abs(g - w) <= close, `element ${i} is ${g}, the interpreter has ${w}`);
  });
}

const variants = [
  { name: 'plain', limits: { relaxed: false, unsignedDot: false } },
  { name: 'relaxed', limits: { relaxed: true, unsignedDot: false } },
  { name: 'relaxed with unsigned bytes', limits: { relaxed: true, unsignedDot: true } },
] as const;

/** What a case asks of the depth, and whether the schedule takes it. */
const depthOf = (c: Case, k: number): number =>
  c.left === 'block32' ? Math.ceil(k / 32) * 32 : c.left === 'block8' ? Math.ceil(k / 8) * 8 : k;

/** Columns that are left over by whole strips hold what zero points make of codes, in a byte. */
const isRefused = ({ code, zero }: Case): boolean =>
  zero === 'row' && (code === 'u8' || code === 'i8');

const anyCase = fc.record({
  code: fc.constantFrom(...codes),
  left: fc.constantFrom(...lefts),
  zero: fc.constantFrom(...zeros),
});
const anySizes = fc.tuple(
  fc.integer({ min: 1, max: 3 }),
  fc.integer({ min: 1, max: 7 }),
  fc.integer({ min: 1, max: 100 }),
  fc.integer({ min: 1, max: 150 }),
);

test('the evaluator stays in its buffers and agrees, for any case and size', async () => {
  await fc.assert(
    fc.asyncProperty(anyCase, anySizes, fc.nat(1000), async (c, [b, m, n, depth], seed) => {
      const request = { file: fileOf(c), name: 'kernel' };
      const k = depthOf(c, depth);
      const inputs = inputsOf(c, [b, m, n, k], seed);
      const want = (await interpret(request, inputs)).results[0]!;
      for (const { limits } of variants) {
        const kernel = residentKernel(request, limits, 'none');
        const reasons = kernel.notes.filter((x) => x.includes('no columns'));
        assert.equal(reasons.length > 0, isRefused(c), reasons.join('; '));
        agree(c, kernel.run(inputs), want, k);
      }
    }),
    { numRuns: 12 },
  );
});

const here = new WasmDevice({ threads: 1 }).target.limits;
for (const { name, limits } of variants) {
  const title = `one thread and two give the same bits on wasm, ${name}, and agree`;
  const lacks =
    (limits.relaxed && !here?.relaxed && 'this host does not compute relaxed SIMD') ||
    (limits.unsignedDot && !here?.unsignedDot && 'its dot product takes no unsigned bytes');
  if (lacks) {
    skip(title, lacks);
    continue;
  }
  test(title, async () => {
    const device = new WasmDevice({ threads: 1, ...limits });
    const isUsual = limits.relaxed === here?.relaxed && limits.unsignedDot === here?.unsignedDot;
    const two = isUsual ? await threaded(2) : undefined;
    const run = async (on: WasmDevice, c: Case, inputs: readonly HostArray[]) => {
      const tensors = inputs.map((x) =>
        DeviceTensor.fromBytes(on, pack(x.dtype, x.shape, x.data), x.dtype, x.shape),
      );
      const { kernel } = (await load(fileOf(c), { device: on, cache: false })) as unknown as {
        readonly kernel: (...args: readonly unknown[]) => Promise<DeviceTensor>;
      };
      const y = await kernel(...tensors);
      const data = (await y.data()) as Float32Array;
      for (const t of [y, ...tensors]) t.dispose();
      return { dtype: y.dtype, shape: y.shape, data } as HostArray;
    };
    await fc.assert(
      fc.asyncProperty(anyCase, anySizes, fc.nat(1000), async (c, [b, m, n, depth], seed) => {
        const k = depthOf(c, depth);
        const inputs = inputsOf(c, [b, m, n, k], seed);
        const want = (await interpret({ file: fileOf(c), name: 'kernel' }, inputs)).results[0]!;
        const got = await run(device, c, inputs);
        agree(c, got, want, k);
        if (two) assert.equal([...(await run(two, c, inputs)).data], [...got.data]);
      }),
      { numRuns: 12 },
    );
    device.close();
    two?.close();
  });
}

const one = (signature: string, body: string) =>
  compiledText(`export function kernel<M extends Dim, N extends Dim, K extends Dim, B extends Dim>(
    ${signature}) { return ${body}; }`);

test('batches broadcast, and several of their axes go together', async () => {
  const text = `${imports}
export function kernel<A extends Dim, N extends Dim>(x: Tensor<i8, [3, 1, 5, 24]>, w: Tensor<u4, [A, 24, N]>) {
  return i32(matmul(i32(x), i32(w))) + 1;
}
export function fixed(x: Tensor<i8, [2, 19, 2, 40]>, w: Tensor<u2, [40, 2, 19, 32]>) {
  return matmul(f32(x), f32(i32(transpose(w, [1, 2, 0, 3])) - 1));
}
/** Zero points side by side for the indices of a batch, and for groups of columns. */
export function many<A extends Dim>(x: Tensor<i8, [A, 3, 12]>, w: Tensor<u4, [12, A, 32]>, zero: Tensor<u4, [12, A]>) {
  const [a] = shape(x);
  return matmul(f32(x), f32(transpose(w - reshape(zero, [12, a, 1]), [1, 0, 2])));
}
export function groups<A extends Dim>(x: Tensor<i8, [3, 12]>, w: Tensor<u2, [12, A, 32]>, zero: Tensor<u2, [12, A]>) {
  const a = shape(w)[1];
  return matmul(f32(x), f32(reshape(w - reshape(zero, [12, a, 1]), [12, a * 32])));
}
/** One scale for the whole depth. */
export function whole<N extends Dim>(x: Tensor<i8, [5, 64]>, w: Tensor<u4, [64, N]>) {
  return matmul(decode(encode(blocks(64), f32(x))), f32(w));
}`;
  const file = join(folder, 'batches.ts');
  writeFileSync(file, text.replace('shape }', 'shape, transpose }'));
  const next = random(3);
  const ints = (dtype: 'i8' | 'u4' | 'u2', shape: number[]): HostArray => {
    const { min, max } = dtypes[dtype];
    const data = Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
      Math.floor(min! + next() * (max! - min! + 1)),
    );
    return { dtype, shape, data };
  };
  for (const [name, inputs] of [
    ['kernel', [ints('i8', [3, 1, 5, 24]), ints('u4', [4, 24, 40])]],
    ['kernel', [ints('i8', [3, 1, 5, 24]), ints('u4', [1, 24, 33])]],
    ['many', [ints('i8', [131, 3, 12]), ints('u4', [12, 131, 32]), ints('u4', [12, 131])]],
    ['groups', [ints('i8', [3, 12]), ints('u2', [12, 131, 32]), ints('u2', [12, 131])]],
    ['whole', [ints('i8', [5, 64]), ints('u4', [64, 70])]],
    ['fixed', [ints('i8', [2, 19, 2, 40]), ints('u2', [40, 2, 19, 32])]],
  ] as const) {
    const want = (await interpret({ file, name }, inputs)).results[0]!;
    for (const { limits } of variants) {
      const kernel = residentKernel({ file, name }, limits, 'none');
      assert.ok(kernel.program.kernels.some((k) => k.schedule === 'columns'));
      const left = name === 'whole' ? 'block32' : 'i32';
      agree({ code: 'u4', zero: 'none', left }, kernel.run(inputs), want, 64);
    }
  }
});

test('what does not suit it is said, and goes another way', async () => {
  const x = 'x: Tensor<i8, [M, K]>';
  for (const [signature, body, reason] of [
    [
      `${x}, w: Tensor<u4, [N, K]>`,
      'matmul(f32(x), transpose(f32(w)))',
      'does not lie along its columns',
    ],
    [`${x}, w: Tensor<f32, [K, N]>`, 'matmul(f32(x), w)', 'right side is no small integers'],
    [
      `${x}, w: Tensor<u4, [K, N]>, s: Tensor<f32, [K, 1]>`,
      'matmul(f32(x), f32(w) * s)',
      'has a scale: it belongs to the left side',
    ],
    [`x: Tensor<f32, [M, K]>, w: Tensor<u4, [K, N]>`, 'matmul(x, f32(w))', 'left side is no small'],
    [`x: Tensor<i16, [M, K]>, w: Tensor<u4, [K, N]>`, 'matmul(f32(x), f32(w))', 'more than 8 bits'],
    [`${x}, w: Tensor<i16, [K, N]>`, 'matmul(f32(x), f32(w))', 'right side has more than 8 bits'],
    [`${x}, w: Tensor<u4, [K, 5]>`, 'matmul(f32(x), f32(w))', 'fewer than 8 columns'],
  ] as const) {
    const c = await one(signature, body);
    const text = c.stage('schedule');
    assert.not.ok(
      c.manifest.kernels.some((k) => k.schedule === 'columns'),
      body,
    );
    assert.ok(
      text.includes(`no columns of small integers: `) && text.includes(reason),
      text.slice(0, 400),
    );
  }
});

test.run();
