// What warm calls leave to the garbage collector: the tensors that they give, and little else. Counted in bytes of the heap,
// which the machine's load does not change; the bounds leave room for what other versions of V8 need.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, chain, load } from '../../index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { DeviceTensor, type EncodedTensor } from '../../runtime/tensor.ts';
import { noise, open } from '../threads/harness.ts';

const test = suite('garbage');
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as (options?: { readonly type: 'minor' }) => void;

type Call = () => unknown;

async function repeat(call: Call, times: number): Promise<void> {
  for (let i = 0; i < times; i += 1) {
    const made = call();
    if (made instanceof Promise) await made;
  }
}

/** Bytes of the heap that a call takes: the median of runs short enough for no collection to fall into most. */
async function medianBytes(call: Call, calls: number): Promise<number> {
  const found: number[] = [];
  for (let s = 0; s < 31; s += 1) {
    gc({ type: 'minor' });
    const before = process.memoryUsage().heapUsed;
    await repeat(call, 100 / calls);
    found.push((process.memoryUsage().heapUsed - before) / 100);
  }
  return found.sort((a, b) => a - b)[15]!;
}

/**
 * Bytes of the heap that a warm call takes. Code that is not optimised yet makes more (numbers in boxes), and a busy machine
 * optimises late: the least of a few rounds is what calls come down to.
 */
async function bytesPer(call: Call, calls = 1): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round += 1) {
    await repeat(call, 8000 / calls);
    // Optimised code that was made beside takes its place between tasks.
    await new Promise((resolve) => setTimeout(resolve, 20));
    least = Math.min(least, await medianBytes(call, calls));
  }
  return least;
}

const device = new WasmDevice({ threads: 1 });
const kernels = await open(device);
const x = DeviceTensor.from(device, noise([64]));
const tensor = await bytesPer(() => DeviceTensor.empty(device, 'f32', [64]).dispose());

test('a call on tensors of the device makes little more than its result', async () => {
  const plan = await kernels.elementwise!.prepare(x, x);
  const args = [x, x];
  const call = await bytesPer(() => (plan.run(args) as DeviceTensor).dispose());
  assert.ok(call < tensor + 600, `${call} bytes a call, ${tensor} of them the tensor`);
});

test('so does one on weights in a layout of the kernel', async () => {
  const { q4_0 } = await load<typeof import('../../ops/formats/index.ts')>('quern/formats', {
    device,
  });
  const llama = await load('quern/llama', { device });
  const w = (await q4_0.encode(noise([64, 64]))) as EncodedTensor;
  const row = DeviceTensor.from(device, noise([1, 64]));
  const plan = await llama.linear!.prepare(row, w, 'q8');
  const args = [row, w];
  const call = await bytesPer(() => (plan.run(args) as DeviceTensor).dispose());
  assert.ok(call < tensor + 900, `${call} bytes a call, ${tensor} of them the tensor`);
});

test('numbers and arrays of the host cost no tensor', async () => {
  const plan = await kernels.elementwise!.prepare(x, x);
  const args = [x, array(new Float32Array(64))];
  const call = await bytesPer(() => (plan.run(args) as DeviceTensor).dispose());
  assert.ok(call < tensor + 1300, `${call} bytes a call, ${tensor} of them the tensor`);
});

test('calls in a chain make no more than calls alone', async () => {
  const plan = await kernels.elementwise!.prepare(x, x);
  const args = [x, x];
  const body = (): void => {
    for (let i = 0; i < 25; i += 1) (plan.run(args) as DeviceTensor).dispose();
  };
  const call = await bytesPer(() => chain(body), 25);
  assert.ok(call < tensor + 800, `${call} bytes a call, ${tensor} of them the tensor`);
});

test.run();
