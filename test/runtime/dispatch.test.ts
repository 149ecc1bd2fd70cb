// Calls of kernels through load(), with a fake compiler: results, specialisation, memory, and every error.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ReferenceDevice } from '../../runtime/devices/reference.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { device } from '../../runtime/devices/index.ts';
import { QuernError } from '../../runtime/errors.ts';
import { formatFromRef, load } from '../../runtime/load.ts';
import { DeviceTensor, EncodedTensor, array } from '../../runtime/tensor.ts';
import { fakeCompiler } from './fake-compiler.ts';

const test = suite('dispatch');
const FILE = 'quern/fake';

interface Kernels {
  add(x: number, y: number): number;
  broken(x: number, y: number): number;
  scale(x: number, s: number, times?: number): number;
  both(x: number): { first: number; second: number };
  trap(x: number): number;
  codes(w: object, v: object): number;
  readonly q: { readonly kind: 'format' };
  readonly wide: { readonly kind: 'format' };
}

const compiler = fakeCompiler();
const wasm = new WasmDevice();
const open = (options: Parameters<typeof load>[1] = {}) =>
  load<Kernels>(FILE, { device: wasm, cache: false, compiler: async () => compiler, ...options });

async function errorOf(f: () => Promise<unknown>): Promise<string> {
  try {
    await f();
  } catch (e) {
    assert.instance(e, QuernError, String(e));
    return (e as QuernError).message;
  }
  throw new Error('nothing was thrown');
}
const f32 = (...xs: number[]) => ({ data: new Float32Array(xs), shape: [xs.length] });
const matrix = (rows: number, columns: number) =>
  array(
    Float32Array.from({ length: rows * columns }, (_, i) => (i % 200) - 100),
    [rows, columns],
  );

test('a kernel takes arrays with a shape and gives a tensor', async () => {
  const { add } = await open();
  const y = await add(f32(1, 2, 3), f32(10, 20, 30));
  assert.equal([...(await y.data())], [11.5, 22.5, 33.5]);
  assert.equal([y.dtype, y.shape, y.bytes, y.device.kind], ['f32', [3], 12, 'wasm']);
  const again = await add(y, y);
  assert.equal([...(await again.data())], [23.5, 45.5, 67.5]);
});

test('the reference device runs the same kernel through the interpreter', async () => {
  const reference = new ReferenceDevice();
  const { add, q } = await open({ device: reference });
  const y = await add(f32(1, 2), f32(3, 4));
  assert.equal([...(await y.data())], [4.5, 6.5]);
  y.dispose();
  const w = await q.encode(matrix(2, 64));
  assert.equal([...(await (await q.decode(w)).data())], [...matrix(2, 64).data]);
  w.dispose();
  assert.ok(compiler.log.includes('interpret add'));
});

test('temporaries, uploads and results are freed: memory stays as it was', async () => {
  const own = new WasmDevice();
  const { add } = await open({ device: own });
  (await add(f32(1), f32(2))).dispose();
  const constants = own.blocks;
  assert.is(constants, 1);
  for (let i = 0; i < 50; i++) (await add(f32(1, i), f32(2, i))).dispose();
  assert.is(own.blocks, constants);
});

test('several results come as a record by name', async () => {
  const { both } = await open();
  const { first, second } = await both(f32(5, 6));
  assert.equal([...(await first.data())], [5, 6]);
  assert.equal(await second.data(), new Int32Array([0, 1]));
});

test('numbers fill scalars, constants specialise, and each specialisation is compiled once', async () => {
  const own = fakeCompiler();
  const { scale } = await open({ compiler: async () => own });
  const run = async (...args: Parameters<typeof scale>) => [
    ...(await (await scale(...args)).data()),
  ];
  assert.equal(await run(f32(1, 2), 3), [3, 6]);
  assert.equal(await run(f32(1, 2), 3, 10), [30, 60]);
  assert.equal(await run(f32(1, 2), f32scalar(4), 10), [40, 80]);
  await Promise.all([run(f32(1), 1, 7), run(f32(1), 1, 7)]);
  assert.equal(own.log, ['describe', 'compile scale', 'compile scale', 'compile scale']);
});
const f32scalar = (x: number) => ({ data: new Float32Array([x]), shape: [] });

test('an encoded argument decides the specialisation', async () => {
  const own = fakeCompiler();
  const { q, codes } = await open({ compiler: async () => own });
  const w = await q.encode(matrix(2, 64));
  assert.equal(Object.keys(w.fields), ['d', 'q']);
  assert.is(w.bitsPerWeight, 9);
  assert.is(await q.bitsPerWeight([2, 64]), 9);
  const out = await codes(w, w);
  assert.equal([...(await out.data())], [...matrix(2, 64).data]);
  await codes(w, w);
  assert.equal(own.log, ['describe', 'compile q.encode', 'compile codes']);
});

test('formats pack, unpack, lay out and assemble', async () => {
  const { q } = await open();
  const w = await q.encode(matrix(1, 64));
  const bytes = await q.pack(w);
  assert.instance(bytes, Uint8Array);
  const back = await q.unpack(bytes, [1, 64]);
  assert.equal(await back.fields.q!.data(), await w.fields.q!.data());
  assert.equal(
    (await q.layout([3, 64])).map((f) => [f.name, f.shape, f.bytes]),
    [
      ['d', [3, 2], 24],
      ['q', [3, 2, 32], 192],
    ],
  );
  const raw = { d: await w.fields.d!.raw(), q: await w.fields.q!.raw() };
  const made = await q.assemble([1, 64], raw);
  assert.equal(await (await q.decode(made)).data(), await (await q.decode(w)).data());
  assert.match(
    await errorOf(() => q.assemble([1, 64], { d: raw.d })),
    /Q5012: q: assemble\(\): field q does not fit[\s\S]*found: nothing[\s\S]*64 bytes of i8\[1, 2, 32\]/,
  );
  assert.match(
    await errorOf(() => q.layout([1, 33])),
    /Q5006: q.encode: K must be a multiple of 32/,
  );
});

test('factories and references give the same format', async () => {
  const loaded = await open();
  const made = loaded.format('uniform', [{ bits: 3 }]);
  const w = await made.encode(matrix(1, 32));
  assert.equal(w.format, { file: FILE, name: 'uniform', args: [{ bits: 3 }] });
  const options = { device: wasm, cache: false, compiler: async () => compiler };
  const again = await formatFromRef(w.format, options);
  assert.equal([...(await (await again.decode(w)).data())], [...matrix(1, 32).data]);
  assert.match(await errorOf(async () => loaded.format('nothing')), /Q5010: No format nothing in/);
});

test('wrong arguments are named, with what was found and expected', async () => {
  const { add, codes, scale, q, wide } = await open();
  const bad = add as unknown as (...args: unknown[]) => Promise<unknown>;
  assert.match(
    await errorOf(() => bad(f32(1))),
    /Q5001: add: wrong number[\s\S]*found: 1[\s\S]*add\(x: Tensor<f32, \[N\]>, y: Tensor<f32, \[N\]>\)/,
  );
  assert.match(await errorOf(() => bad(f32(1), f32(1), 3)), /Q5001/);
  assert.match(
    await errorOf(() => bad(f32(1), 'two')),
    /Q5002: add: argument y is of the wrong kind[\s\S]*found: the string two[\s\S]*expected: a tensor f32\[N\]/,
  );
  assert.match(await errorOf(() => bad(f32(1), null)), /found: null/);
  assert.match(await errorOf(() => bad(f32(1), undefined)), /found: undefined/);
  assert.match(
    await errorOf(() => bad(new Float32Array(3), f32(1))),
    /found: a Float32Array without a shape/,
  );
  assert.match(await errorOf(() => bad(f32(1), 3)), /found: the number 3/);
  assert.match(
    await errorOf(() => add(f32(1), { data: new Int32Array(1), shape: [1] })),
    /Q5003: add: argument y has the wrong dtype[\s\S]*found: i32[\s\S]*expected: f32/,
  );
  assert.match(await errorOf(() => add(f32(1), { ...f32(1), dtype: 'f16' })), /found: f16/);
  assert.match(
    await errorOf(() => add(f32(1), { data: new Float32Array(4), shape: [2, 2] })),
    /Q5004: add: argument y has the wrong number of axes[\s\S]*found: \[2, 2\][\s\S]*expected: \[N\]/,
  );
  assert.match(
    await errorOf(() => add(f32(1, 2), f32(1, 2, 3))),
    /Q5005: add: argument y: axis 0 is 3, but N = 2 from argument x/,
  );
  assert.match(
    await errorOf(() => add(f32(1), { data: new Float32Array(3), shape: [4] })),
    /Q5008: add: argument y: the data does not fill the shape \[4\][\s\S]*3 elements[\s\S]*4 elements/,
  );
  assert.match(
    await errorOf(() => add(f32(1), { data: [1], shape: [-1] })),
    /Q5009.*add: argument y/,
  );
  assert.match(
    await errorOf(() => q.encode(matrix(1, 100))),
    /Q5006: q.encode: K must be a multiple of 32 \(format q, argument w\), got 100/,
  );
  const w = await q.encode(matrix(1, 32));
  assert.match(
    await errorOf(() => codes(w, matrix(1, 32) as unknown as EncodedTensor)),
    /Q5002: codes: argument v .*[\s\S]*found: host data of shape \[1, 32\][\s\S]*expected: a tensor encoded as q/,
  );
  const other = new EncodedTensor(wide.ref, [1, 32], w.fields);
  assert.match(
    await errorOf(() => codes(w, other)),
    /Q5011: codes: argument v[\s\S]*found: wide[\s\S]*expected: q/,
  );
  const broken = new EncodedTensor(q.ref, [1, 32], { d: w.fields.q!, q: w.fields.q! });
  assert.match(
    await errorOf(() => codes(broken, w)),
    /Q5012: codes: argument w: field d[\s\S]*found: i8\[1, 1, 32\][\s\S]*expected: f32\[1, 1\]/,
  );
  const badScale = scale as unknown as (...args: unknown[]) => Promise<unknown>;
  assert.match(
    await errorOf(() => badScale(f32(1), 1, f32(1))),
    /Q5002: scale: argument times[\s\S]*host data of shape \[1\][\s\S]*a constant \(number\)/,
  );
});

test('a missing export lists those that there are', async () => {
  const loaded = (await open()) as unknown as Record<string, unknown>;
  assert.throws(
    () => loaded.ad,
    /Q5010: No kernel or format ad in quern\/fake[\s\S]*add, broken, scale/,
  );
  assert.is(loaded.then, undefined);
});

test('tensors of another device and disposed tensors are refused', async () => {
  const { add } = await open();
  const there = DeviceTensor.from(new ReferenceDevice(), f32(1));
  assert.match(
    await errorOf(() => add(f32(1), there)),
    /Q5104: add: argument y lives on another device[\s\S]*reference[\s\S]*wasm/,
  );
  const elsewhere = DeviceTensor.from(new WasmDevice(), f32(1));
  assert.match(await errorOf(() => add(elsewhere, f32(1))), /another instance of the wasm device/);
  const gone = DeviceTensor.from(wasm, f32(1));
  gone.dispose();
  gone.dispose();
  const before = wasm.blocks;
  assert.match(
    await errorOf(() => add(f32(1), gone)),
    /Q5101: a tensor f32\[1\] was disposed, and a kernel needs it/,
  );
  assert.is(wasm.blocks, before);
});

test('check: true compares with the interpreter and shows the worst element', async () => {
  const { add, broken, q } = await open({ check: true });
  assert.equal([...(await (await add(f32(1, 2), f32(1, 2))).data())], [2.5, 4.5]);
  const before = wasm.blocks;
  assert.match(
    await errorOf(() => broken(f32(1, 2), f32(1, 2))),
    /Q5013: broken: .* in result\[1\][\s\S]*found: 9 \(differs by 4.5, tolerance 0.00045.*\)[\s\S]*expected: 4.5/,
  );
  // One more: the constant of this instance.
  assert.is(wasm.blocks, before + 1);
  (await q.encode(matrix(1, 32))).dispose();
});

test('a kernel that traps is an error with its name, and leaks nothing', async () => {
  const { trap } = await open();
  const before = wasm.blocks;
  assert.match(await errorOf(() => trap(f32(1))), /Q5015: trap: the kernel stopped: unreachable/);
  assert.is(wasm.blocks, before);
});

test('out of memory says how much was asked for and how much there is, and leaves the device usable', async () => {
  const small = new WasmDevice({ limit: 2 ** 20 });
  const { add } = await open({ device: small });
  const big = { data: new Float32Array(100_000), shape: [100_000] };
  const before = small.blocks;
  assert.match(
    await errorOf(() => add(big, big)),
    /Q5102: Out of device memory[\s\S]*400000 bytes asked for/,
  );
  assert.is(small.blocks, before + 1);
  assert.equal([...(await (await add(f32(1), f32(1))).data())], [2.5]);
});

test('tensors keep their values when the memory grows', async () => {
  const own = new WasmDevice();
  const made: DeviceTensor[] = [];
  for (let i = 0; i < 40; i++)
    made.push(DeviceTensor.from(own, { data: new Float32Array(50_000).fill(i), shape: [50_000] }));
  for (let i = 0; i < 40; i++) {
    const data = await made[i]!.data();
    assert.ok(data.every((x) => x === i));
  }
  for (const t of made) t.dispose();
  assert.is(own.blocks, 0);
});

test('kernels reach memory above 2 GiB', async () => {
  const own = new WasmDevice();
  const { add } = await open({ device: own });
  const ballast = own.allocate(2 ** 31);
  const y = await add(f32(1, 2), f32(3, 4));
  assert.equal([...(await y.data())], [4.5, 6.5]);
  own.free(ballast);
});

test('devices report what they are, and auto what it passed over', async () => {
  const made = await device('wasm');
  assert.is(made, await device('wasm'));
  assert.equal([made.kind, typeof made.name, typeof made.reason], ['wasm', 'string', 'string']);
  const best = await device();
  assert.ok(best.kind === 'wasm' || !best.software, best.name);
  for (const d of best.declined ?? []) assert.ok(best.reason.includes(d.why));
  assert.match(await errorOf(() => device('tpu' as 'cuda')), /Q5106.*tpu.*there are 'auto'/);
});

test.run();
