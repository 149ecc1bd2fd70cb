// Kernels on resident weights, in the bounds-checked evaluator and on wasm, against the interpreter: every format that
// ships, and formats of the test's own with fields of all widths.
import fc from 'fast-check';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FormatRef, Json } from '../../compiler/artifact.ts';
import type { PackedSource } from '../../compiler/loops/loops.ts';
import { floatOfBits } from '../../compiler/ir/dtype.ts';
import { type HostArray, interpret } from '../../compiler/index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { load } from '../../runtime/load.ts';
import { array, DeviceTensor, EncodedTensor } from '../../runtime/tensor.ts';
import { pack } from '../../runtime/pack.ts';
import { skip } from '../support/skip.ts';
import { residentKernel } from './evaluated.ts';

const test = suite('resident weights');
const file = fileURLToPath(new URL('./kernel.ts', import.meta.url));
const own = (name: string, ...args: Json[]): FormatRef =>
  args.length ? { file, name, args } : { file, name };
const shipped = (name: string, ...args: Json[]): FormatRef => ({
  ...own(name, ...args),
  file: 'quern/formats',
});

/** Formats, the multiple of depth that each asks for, and the error of its tables, relative to the largest entry. */
const formats: readonly { ref: FormatRef; block: number; table?: number }[] = [
  ...['q4_0', 'q4_1', 'q8_0', 'iq4_nl', 'mxfp4'].map((n) => ({ ref: shipped(n), block: 32 })),
  ...['q5_0', 'nvfp4_modelopt'].map((n) => ({ ref: shipped(n), block: 32 })),
  ...['q3_K', 'q4_K', 'q6_K', 'tq2_0'].map((n) => ({ ref: shipped(n), block: 256 })),
  { ref: shipped('nf4'), block: 64, table: 1 / 254 },
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((bits) => ({ ref: own('grid', { bits, block: 32 }), block: 32 })),
  { ref: own('signed5'), block: 64 },
  { ref: own('signed3'), block: 16 },
  { ref: own('rowScaled'), block: 32 },
  { ref: own('nested'), block: 64 },
  { ref: own('eighths'), block: 32 },
  { ref: own('twoLevels'), block: 128 },
  { ref: own('quarters'), block: 64 },
  { ref: own('codebook'), block: 32, table: 1 / 254 },
];
const titleOf = ({ name, args }: FormatRef): string =>
  args ? `${name}(${JSON.stringify(args[0])})` : name;

const floats = (n: number, seed: number): Float32Array => {
  let s = seed;
  return Float32Array.from({ length: n }, () => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s / 2 ** 31) * (1 + ((s >>> 8) % 5));
  });
};
const host = (shape: readonly number[], seed: number): HostArray => ({
  dtype: 'f32',
  shape,
  data: floats(
    shape.reduce((a, b) => a * b, 1),
    seed,
  ),
});

async function encoded(ref: FormatRef, n: number, k: number, seed: number) {
  const { file: from, name, args } = ref;
  const request = { file: from, name: `${name}.encode`, ...(args ? { formatArgs: args } : {}) };
  return (await interpret(request, [host([n, k], seed)])).results;
}

/** Largest error of `got`, relative to the sum of magnitudes that went into each element. */
function worst(got: HostArray, want: HostArray, magnitude: HostArray): number {
  assert.equal(got.shape, want.shape);
  let most = 0;
  for (let i = 0; i < want.data.length; i += 1) {
    const error = Math.abs(got.data[i]! - want.data[i]!);
    assert.ok(!Number.isNaN(got.data[i]!), `element ${i} is NaN`);
    most = Math.max(most, error / Math.max(magnitude.data[i]!, 1e-30));
  }
  return most;
}

/** Sums of magnitudes are at most those of the sides: a bound that needs no second kernel. */
function magnitudes(want: HostArray, x: HostArray, w: HostArray): HostArray {
  const [m, n] = want.shape as [number, number];
  const k = x.shape[1]!;
  const data = new Float32Array(m * n);
  for (let i = 0; i < m; i += 1)
    for (let j = 0; j < n; j += 1) {
      let sum = 1e-6;
      for (let l = 0; l < k; l += 1) sum += Math.abs(x.data[i * k + l]! * w.data[j * k + l]!);
      data[i * n + j] = sum + 1;
    }
  return { dtype: 'f32', shape: want.shape, data };
}

/** What the instructions of the target are taken to do. */
const variants = [
  { name: 'plain', limits: { relaxed: false, unsignedDot: false } },
  { name: 'relaxed with 7 bits', limits: { relaxed: true, unsignedDot: false } },
  { name: 'relaxed with unsigned bytes', limits: { relaxed: true, unsignedDot: true } },
] as const;
const [, sevenBits] = variants;

/** Rounding of sums of f32: a few units in the last place of the sum of magnitudes. */
const rounding = 4e-6;

for (const { ref, block, table = 0 } of formats)
  test(`linear over ${titleOf(ref)} stays in its buffers and within rounding`, async () => {
    const made = variants.map(({ limits }) => {
      const kernel = residentKernel({ file, name: 'linear', formats: [ref] }, limits);
      assert.ok(
        kernel.program.kernels.some((k) => k.schedule === 'resident'),
        kernel.notes.join('\n'),
      );
      return kernel;
    });
    for (const [m, n, blocks] of [
      [1, 19, 1],
      [3, 4, 2],
      [5, 9, 1],
    ] as const) {
      const k = blocks * Math.max(block, 32);
      const x = host([m, k], m + n);
      const bias = host([n], 5);
      const fields = await encoded(ref, n, k, n);
      const inputs = [x, ...fields, bias];
      const want = (await interpret({ file, name: 'linear', formats: [ref] }, inputs)).results[0]!;
      const bounds = magnitudes(want, x, host([n, k], n));
      for (const kernel of made)
        assert.ok(worst(kernel.run(inputs), want, bounds) < rounding + 4 * table);
    }
  });

const here = new WasmDevice({ threads: 1 }).target.limits;
const missing = {
  relaxed: !here?.relaxed && 'this host does not compute relaxed SIMD',
  unsignedDot: !here?.unsignedDot && 'the dot product of this host takes no unsigned bytes',
};
for (const { name, limits } of variants) {
  const reason = (limits.relaxed && missing.relaxed) || (limits.unsignedDot && missing.unsignedDot);
  if (reason) {
    skip(`resident weights on wasm, ${name}`, reason);
    continue;
  }
  for (const { ref, block, table = 0 } of formats)
    test(`linear over ${titleOf(ref)} on wasm, ${name}`, async () => {
      const device = new WasmDevice({ threads: 1, ...limits });
      const kernels = (await load(file, { device, cache: false })) as unknown as Kernels;
      for (const [m, n, blocks] of [
        [1, 37, 2],
        [2, 6, 1],
        [11, 23, 1],
      ] as const) {
        const k = blocks * Math.max(block, 32);
        const x = host([m, k], 3 * m + n);
        const bias = host([n], 5);
        const fields = await encoded(ref, n, k, n);
        const want = (
          await interpret({ file, name: 'linear', formats: [ref] }, [x, ...fields, bias])
        ).results[0]!;
        const names = (await formatOf(ref, device)).fields;
        const w = new EncodedTensor(
          ref,
          [n, k],
          Object.fromEntries(
            fields.map((f, i) => [
              names[i]!,
              DeviceTensor.fromBytes(device, pack(f.dtype, f.shape, f.data), f.dtype, f.shape),
            ]),
          ),
        );
        const y = await kernels.linear(
          array(x.data as Float32Array, [m, k]),
          w,
          array(bias.data as Float32Array, [n]),
        );
        const got: HostArray = {
          dtype: 'f32',
          shape: [m, n],
          data: (await y.data()) as Float32Array,
        };
        assert.ok(worst(got, want, magnitudes(want, x, host([n, k], n))) < rounding + 4 * table);
        // A second call reads the copies that the first made.
        const again = await kernels.linear(
          array(x.data as Float32Array, [m, k]),
          w,
          array(bias.data as Float32Array, [n]),
        );
        assert.equal([...(await again.data())], [...(got.data as Float32Array)]);
        w.dispose();
        y.dispose();
        again.dispose();
      }
      device.close();
    });
}

interface Kernels {
  readonly linear: (...args: unknown[]) => Promise<DeviceTensor>;
}
async function formatOf(ref: FormatRef, _: WasmDevice): Promise<{ fields: readonly string[] }> {
  const request = {
    file: ref.file,
    name: `${ref.name}.encode`,
    ...(ref.args ? { formatArgs: ref.args } : {}),
  };
  const { manifest } = await interpret(request, [host([1, 256], 1)]);
  const [info] = manifest.results;
  return { fields: info?.kind === 'encoded' ? info.fields.map((f) => f.name) : [] };
}

for (const name of ['gated', 'twice'])
  test(`${name} is right where weights have two readers or two weights one`, async () => {
    const ref = shipped('q4_0');
    const kernel = residentKernel({ file, name, formats: [ref] }, sevenBits.limits);
    assert.ok(
      kernel.program.kernels.some((k) => k.schedule === 'resident'),
      kernel.notes.join('\n'),
    );
    for (const [m, n] of [
      [1, 18],
      [4, 7],
    ] as const) {
      const x = host([m, 64], 1);
      const inputs = [x, ...(await encoded(ref, n, 64, 2))];
      if (name === 'gated') inputs.push(...(await encoded(ref, n, 64, 3)));
      const want = (await interpret({ file, name, formats: [ref] }, inputs)).results[0]!;
      const got = kernel.run(inputs);
      for (let i = 0; i < want.data.length; i += 1)
        assert.ok(Math.abs(got.data[i]! - want.data[i]!) <= 1e-3 * (1 + Math.abs(want.data[i]!)));
    }
  });

test('panels for many rows of activations hold words where bytes have no dot product', () => {
  for (const { name, limits } of variants) {
    const { notes } = residentKernel({ file, name: 'linear', formats: [formats[0]!.ref] }, limits);
    const found = notes.some((n) => n.includes('panels of words'));
    assert.is(found, name === 'plain', notes.join('\n'));
  }
});

test('block constants of small fields are repacked, as short as they can be, and explained', () => {
  const notes = (ref: FormatRef): string =>
    residentKernel({ file, name: 'linear', formats: [ref] }, sevenBits.limits).notes.join('\n');
  assert.match(notes(shipped('mxfp4')), 'w.e is repacked into what it means: the upper 16 bits of');
  assert.match(notes(shipped('q4_K')), 'w.mins is repacked into what it means: the upper 16 bits');
  assert.match(notes(own('eighths')), 'w.e is repacked into what it means: f32');
  assert.match(notes(own('twoLevels')), 'w.d is repacked into what it means: the upper 16 bits of');
  assert.match(
    notes(shipped('q4_K')),
    'records of 656 bytes for 256 x 4 weights, each with 80 bytes for 32 x 4 weights',
  );
  // Half floats stay as they are: three instructions widen them.
  assert.not.match(notes(shipped('q4_0')), 'repacked into');
});

test('weights that are read one by one as well are right where their constants are repacked', async () => {
  const ref = shipped('mxfp4');
  const kernel = residentKernel({ file, name: 'twice', formats: [ref] }, sevenBits.limits);
  assert.match(kernel.notes.join('\n'), 'w.e is repacked');
  const x = host([2, 64], 1);
  const inputs = [x, ...(await encoded(ref, 7, 64, 2))];
  const want = (await interpret({ file, name: 'twice', formats: [ref] }, inputs)).results[0]!;
  const got = kernel.run(inputs);
  for (let i = 0; i < want.data.length; i += 1)
    assert.ok(Math.abs(got.data[i]! - want.data[i]!) <= 1e-3 * (1 + Math.abs(want.data[i]!)));
});

test('records are made anew when any field of theirs changes, or is another one', async () => {
  const ref = shipped('q4_0');
  const device = new WasmDevice({ threads: 1 });
  const { linear } = (await load(file, { device, cache: false })) as unknown as Kernels;
  const [n, k] = [9, 64];
  const [d, q] = (await encoded(ref, n, k, 3)) as [HostArray, HostArray];
  const tensor = (h: HostArray) =>
    DeviceTensor.fromBytes(device, pack(h.dtype, h.shape, h.data), h.dtype, h.shape);
  const doubled: HostArray = { ...d, data: Float32Array.from(d.data, (v) => v * 2) };
  const codes = tensor(q);
  const scales = tensor(d);
  const run = async (s: DeviceTensor): Promise<number[]> => {
    const w = new EncodedTensor(ref, [n, k], { d: s, q: codes });
    const x = array(floats(k, 5), [1, k]);
    const y = await linear(x, w, array(new Float32Array(n), [n]));
    return [...((await y.data()) as Float32Array)];
  };
  const first = await run(scales);
  const twice = first.map((v) => v * 2);
  assert.equal(await run(tensor(doubled)), twice);
  assert.equal(await run(scales), first);
  scales.write(0, doubled.data as Float32Array);
  assert.equal(await run(scales), twice);
  device.close();
});

test('extreme codes meet extreme activations', async () => {
  // -128 is a code that no encoder of q8_0 makes, and that a file may hold.
  const ref = shipped('q8_0');
  const k = 64;
  const x: HostArray = {
    dtype: 'f32',
    shape: [2, k],
    data: floats(2 * k, 7).map((v) => Math.sign(v) * 127),
  };
  const d: HostArray = { dtype: 'f16', shape: [5, 2], data: new Float32Array(10).fill(1) };
  const q: HostArray = { dtype: 'i8', shape: [5, 2, 32], data: new Int32Array(5 * k).fill(-128) };
  const bias = host([5], 1);
  const inputs = [x, d, q, bias];
  const want = (await interpret({ file, name: 'linear', formats: [ref] }, inputs)).results[0]!;
  for (const { limits } of variants) {
    const got = residentKernel({ file, name: 'linear', formats: [ref] }, limits).run(inputs);
    assert.ok(worst(got, want, magnitudes(want, x, host([5, k], 1))) < rounding);
  }
});

test('extreme codes below a byte meet extreme activations', async () => {
  const [n, k] = [21, 64];
  const x: HostArray = {
    dtype: 'f32',
    shape: [1, k],
    data: floats(k, 7).map((v, i) => (i < 32 ? 127 : Math.sign(v) * 127)),
  };
  const zeros: HostArray = { dtype: 'f32', shape: [n], data: new Float32Array(n) };
  const device = new WasmDevice({ threads: 1 });
  const kernels = (await load(file, { device, cache: false })) as unknown as Kernels;
  for (let bits = 1; bits < 8; bits += 1) {
    const ref = own('grid', { bits, block: 32 });
    const [d, m, q] = (await encoded(ref, n, k, 3)) as [HostArray, HostArray, HostArray];
    const fields: HostArray[] = [
      { ...d, data: new Float32Array(d.data.length).fill(1) },
      { ...m, data: new Float32Array(m.data.length) },
      { ...q, data: new Int32Array(q.data.length).fill(2 ** bits - 1) },
    ];
    const inputs = [x, ...fields, zeros];
    const want = (await interpret({ file, name: 'linear', formats: [ref] }, inputs)).results[0]!;
    for (const { limits } of variants)
      assert.equal(
        [...residentKernel({ file, name: 'linear', formats: [ref] }, limits).run(inputs).data],
        [...want.data],
      );
    // Whatever this host's dot product is.
    const tensor = (h: HostArray) =>
      DeviceTensor.fromBytes(device, pack(h.dtype, h.shape, h.data), h.dtype, h.shape);
    const [td, tm, tq] = fields.map(tensor);
    const w = new EncodedTensor(ref, [n, k], { d: td!, m: tm!, q: tq! });
    const y = await kernels.linear(
      array(x.data as Float32Array, [1, k]),
      w,
      array(zeros.data as Float32Array, [n]),
    );
    assert.equal([...((await y.data()) as Float32Array)], [...want.data]);
  }
  device.close();
});

test('what all scales have in common multiplies those of the activations, where they can take it', async () => {
  const notes = (name: string, ref: FormatRef): string =>
    residentKernel({ file, name, formats: [ref] }, sevenBits.limits).notes.join('\n');
  const taken = /scales of activations are multiplied by/;
  assert.match(
    notes('linear', shipped('q4_0')),
    'are multiplied by 2^112, in place of the weights',
  );
  assert.match(notes('linear', shipped('nvfp4_modelopt')), 'by 2^-1 and w.tensor_scale, in place');
  // A minimum meets a sum of activations first; that of a super-block waits for the sum of its blocks.
  assert.not.match(notes('linear', shipped('q4_1')), taken);
  assert.not.match(notes('linear', shipped('tq2_0')), taken);
  // Scales of f32 may be too large for it.
  const ref = shipped('q4_0');
  assert.not.match(notes('wide', ref), taken);
  const x: HostArray = { dtype: 'f32', shape: [1, 64], data: floats(64, 3).map((v) => v * 1e12) };
  const fields = await encoded(ref, 9, 64, 4);
  const want = (await interpret({ file, name: 'wide', formats: [ref] }, [x, ...fields]))
    .results[0]!;
  const got = residentKernel({ file, name: 'wide', formats: [ref] }, sevenBits.limits).run([
    x,
    ...fields,
  ]);
  want.data.forEach((v, i) => assert.ok(Math.abs(got.data[i]! - v) <= 1e-4 * Math.abs(v) + 1e9));
});

test('half floats are stored as f32 where operations on the codes bound a kernel', () => {
  const layouts = (ref: FormatRef): string[] => {
    const { program } = residentKernel({ file, name: 'linear', formats: [ref] }, sevenBits.limits);
    return program.buffers.flatMap((b) => b.packed ?? []).map((f) => f.layout);
  };
  assert.equal(layouts(own('grid', { bits: 2, block: 32 })), ['wide rows', 'wide rows', 'tile']);
  assert.equal(layouts(own('grid', { bits: 4, block: 32 })), ['rows', 'rows', 'tile']);
});

/**
 * Element (n, l) of the codes of a grid in the record that records.ts describes, read as the text there says: for 32
 * elements of four rows `head` bytes of scales, then the units of the codes, each as packing.ts says.
 */
function codeOf(
  bytes: Uint8Array,
  { vectors, steps, codes }: PackedSource['packing'],
  depth: number,
  n: number,
  l: number,
  head: number,
  flips: readonly [even: number, odd: number],
) {
  const size = head + (16 * vectors * 8) / steps;
  const record = Math.floor(n / 4) * (depth / 32) + Math.floor(l / 32);
  const step = Math.floor((l % 32) / 4);
  const unit = record * size + head + 16 * vectors * Math.floor(step / steps);
  return codes[step % steps]!.reduce((value, { vector, at, bits, shift }) => {
    const stored = bytes[unit + 16 * vector + 4 * (n % 4) + (l % 4)]!;
    return value | ((((stored ^ flips[l % 2]!) >> at) & (2 ** bits - 1)) << shift);
  }, 0);
}

test('repacked fields hold every element where the layout says', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1, 2, 3, 4, 5, 6, 7),
      fc.integer({ min: 1, max: 11 }),
      fc.integer({ min: 1, max: 3 }),
      fc.boolean(),
      async (bits, n, blocks, relaxed) => {
        const ref = own('grid', { bits, block: 32 });
        const k = 32 * blocks;
        const { limits } = variants[relaxed ? 1 : 0];
        const kernel = residentKernel({ file, name: 'linear', formats: [ref] }, limits);
        const fields = await encoded(ref, n, k, bits);
        const storage = kernel.storage([host([1, k], 1), ...fields, host([n], 1)]);
        const at = kernel.program.buffers.findIndex((b) => b.name.endsWith('.q'));
        const { packed } = kernel.program.buffers[at]!;
        // Without a dot product of bytes, scales are f32, and codes are words whose topmost bit is a sign.
        const halves = relaxed && packed![0]!.layout === 'rows';
        const [rows, head] = halves ? ['rows', 16] : ['wide rows', 32];
        const { packing } = packed!.at(-1)!;
        assert.equal(
          packed?.map((f) => `${f.buffer.name} ${f.layout}`),
          [`w.d ${rows}`, `w.m ${rows}`, `w.q ${relaxed ? 'tile' : 'word tile'}`],
        );
        const [scales, , codes] = fields.map((f) => f.data);
        const shorts = new Uint16Array(storage[at]!.buffer);
        const singles = new Float32Array(storage[at]!.buffer);
        for (let i = 0; i < n; i += 1)
          for (let l = 0; l < k; l += 1) {
            const code = codeOf(
              storage[at]!,
              packing,
              k,
              i,
              l,
              head as number,
              relaxed ? [0, 0] : [0, 128],
            );
            assert.is(code, codes![i * k + l]);
            const record = Math.floor(i / 4) * blocks + Math.floor(l / 32);
            const start = record * ((head as number) + (128 * packing.vectors) / packing.steps);
            const scale = halves
              ? floatOfBits('f16', shorts[start / 2 + (i % 4)]!)
              : singles[start / 4 + (i % 4)]!;
            assert.is(scale, scales![i * blocks + Math.floor(l / 32)]);
          }
      },
    ),
    { numRuns: 20 },
  );
});

test.run();
