// give(): state that a caller hands to a call comes back in the same memory, with the numbers of a call that copies;
// what was given cannot be used again, and whatever could be read twice is an error.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, type DeviceTensor, type Results, give, load } from '../../index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { DeviceTensor as Tensors } from '../../runtime/tensor.ts';

const test = suite('give()');
const file = '/given/kernel.ts';
const text = `
import { amax, at, dim, exp, i32, matmul, range, set, setSlice, sum, transpose } from 'quern';
import type { Dim, Scalar, Tensor, f32 } from 'quern';
export function append<S extends Dim, E extends Dim>(cache: Tensor<f32, [S, E]>, row: Tensor<f32, [E]>, n: Tensor<i32, []>) {
  return set(cache, row, n);
}
export function decay<N extends Dim>(m: Tensor<f32, [N]>, g: Tensor<f32, [N]>) {
  return m * 0.5 + g;
}
export function turned<N extends Dim>(m: Tensor<f32, [N, N]>) {
  return transpose(m) + 1;
}
export function both<N extends Dim>(ring: Tensor<f32, [N]>, count: Tensor<i32, []>, x: Scalar) {
  return { before: ring + 1, ring: set(ring, x, count % dim(ring, 0)), count: count + 1 };
}
export function swap<N extends Dim>(a: Tensor<f32, [N]>, b: Tensor<f32, [N]>) {
  let [x, y] = [a, b];
  for (const i of range(dim(a, 0))) {
    x = set(x, at(b, i) + 1, i);
    y = set(y, at(a, i) + 2, i);
  }
  return { a: x, b: y };
}
export function loop<N extends Dim>(m: Tensor<f32, [N]>, steps: Tensor<i32, []>) {
  let x = m;
  for (const i of range(steps)) x = setSlice(x, x * 2, i);
  return { m: x, total: sum(m) };
}
export function softmax<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>) {
  const e = exp(x - amax(x, 1, { keepdims: true }));
  return e / sum(e, 1, { keepdims: true });
}
export function share<N extends Dim>(m: Tensor<f32, [N]>) {
  return m / sum(m);
}
export function other<N extends Dim>(m: Tensor<f32, [N]>) {
  return sum(m);
}
`
  .replace('Tensor, f32 }', 'Tensor, f32, i32 }')
  .replace('dim, i32,', 'dim,');

const device = new WasmDevice({ threads: 1 });
type Kernels = { readonly [name: string]: (...args: unknown[]) => Promise<Results> };
const kernels = (await load(file, {
  device,
  host: { readFile: () => text },
})) as unknown as Kernels;
const f32s = (values: readonly number[], shape = [values.length]): DeviceTensor =>
  Tensors.from(device, array(Float32Array.from(values), shape));
const i32 = (x: number): DeviceTensor => Tensors.from(device, array(Int32Array.of(x), []));
const address = (t: DeviceTensor): number => (t.buffer as unknown as { address: number }).address;
const values = async (t: unknown): Promise<number[]> => [...(await (t as DeviceTensor).data())];

/** Results of a call without and with give() for some of its arguments, which must be the same. */
async function compared(
  name: string,
  make: () => DeviceTensor[],
  given: readonly number[],
): Promise<{ readonly made: Results; readonly at: readonly number[] }> {
  const plain = await kernels[name]!(...make());
  const args = make();
  const at = args.map(address);
  const made = await kernels[name]!(...args.map((a, i) => (given.includes(i) ? give(a) : a)));
  for (const i of given) assert.ok(args[i]!.disposed);
  const parts = (r: Results): [string, DeviceTensor][] =>
    r instanceof Tensors ? [['', r]] : (Object.entries(r) as [string, DeviceTensor][]);
  for (const [k, t] of parts(plain)) {
    const other = parts(made).find(([name]) => name === k)![1];
    assert.equal(await values(other), await values(t), `${name} ${k}`);
  }
  return { made, at };
}
const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => (i * 7) % 5);

test('a cache is appended to where it lies', async () => {
  const make = () => [f32s(numbers(40), [8, 5]), f32s([1, 2, 3, 4, 5]), i32(3)];
  const { made, at } = await compared('append', make, [0]);
  assert.is(address(made as DeviceTensor), at[0]);
});

test('elementwise updates take the place of the first of their type', async () => {
  for (const n of [1, 33, 4000]) {
    const make = () => [f32s(numbers(n)), f32s(numbers(n))];
    const { made, at } = await compared('decay', make, [0]);
    assert.is(address(made as DeviceTensor), at[0]);
    await compared('decay', make, [1]);
    await compared('decay', make, [0, 1]);
  }
});

test('what needs sums or maxima of rows first comes out right', async () => {
  for (const shape of [
    [5, 7],
    [1, 33],
    [3, 1],
  ])
    await compared('softmax', () => [f32s(numbers(shape[0]! * shape[1]!), shape)], [0]);
  await compared('share', () => [f32s(numbers(50))], [0]);
});

test('what is read crosswise, or again, comes out right', async () => {
  await compared('turned', () => [f32s(numbers(36), [6, 6])], [0]);
  const ring = () => [f32s(numbers(6)), i32(8), f32s([9], [])];
  const { made, at } = await compared('both', ring, [0, 1]);
  assert.is(address((made as { ring: DeviceTensor }).ring), at[0]);
  await compared('swap', () => [f32s(numbers(7)), f32s([3, 1, 4, 1, 5, 9, 2])], [0, 1]);
  await compared('swap', () => [f32s(numbers(7)), f32s([3, 1, 4, 1, 5, 9, 2])], [1]);
  await compared('loop', () => [f32s(numbers(9)), i32(3)], [0]);
});

test('where no result is like it, what was given is freed', async () => {
  const x = f32s(numbers(1000));
  const before = device.used;
  await kernels.other!(give(x));
  assert.ok(x.disposed && device.used < before);
});

test('memory stays as it is over many updates', async () => {
  let cache = f32s(new Array<number>(4096).fill(0), [64, 64]);
  const row = f32s(new Array<number>(64).fill(1));
  const used = device.used;
  for (let i = 0; i < 20; i += 1) {
    const n = i32(i);
    cache = (await kernels.append!(give(cache), row, n)) as DeviceTensor;
    n.dispose();
  }
  assert.is(device.used, used);
  assert.is(
    (await values(cache)).reduce((a, b) => a + b),
    20 * 64,
  );
});

const errorOf = async (call: () => Promise<unknown>): Promise<string> => {
  try {
    await call();
  } catch (e) {
    return String(e);
  }
  return 'none';
};

test('use after giving, views, and tensors that are passed twice are errors', async () => {
  const x = f32s(numbers(8));
  await kernels.decay!(give(x), f32s(numbers(8)));
  assert.match(await errorOf(() => x.data()), /Q5101/);
  assert.match(await errorOf(() => kernels.other!(x)), /Q5101/);
  assert.match(await errorOf(() => kernels.other!(give(x))), /Q5101/);
  const y = f32s(numbers(8));
  assert.match(await errorOf(() => kernels.decay!(give(y), y)), /Q5017: .*argument m.*twice/s);
  const part = y.view(4);
  assert.match(await errorOf(() => kernels.other!(give(y))), /Q5017.*view/s);
  part.dispose();
  assert.is(
    (await values(await kernels.other!(give(y))))[0],
    numbers(8).reduce((a, b) => a + b),
  );
  // A call that is refused for another reason leaves the tensor alone.
  const z = f32s(numbers(8));
  assert.match(await errorOf(() => kernels.decay!(give(z), f32s([1]))), /Q50/);
  assert.not(z.disposed);
});

test('devices that cannot reuse memory give the same numbers', async () => {
  const reference = (await load(file, {
    device: 'reference',
    host: { readFile: () => text },
  })) as unknown as Kernels;
  const { device: namedDevice } = await import('../../index.ts');
  const on = await namedDevice('reference');
  const m = Tensors.from(on, array(Float32Array.of(2, 4), [2]));
  const made = await reference.decay!(give(m), array(Float32Array.of(1, 1), [2]));
  assert.equal(await values(made), [2, 3]);
  assert.ok(m.disposed);
});

test.run();
