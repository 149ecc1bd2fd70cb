// What a program sees that asks for devices by name: run by device.test.ts in an environment where the stand-ins are
// found as the real libraries are. Prints JSON.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { array, device, load } from '../../../index.ts';
import { evaluateText } from '../../../runtime/models/evaluate.ts';
import { loadLlama } from '../../../runtime/models/llama.ts';
import { sampleModel } from '../../models/tiny.ts';

const [what, folder] = process.argv.slice(2) as [string, string];
const koffi = (): boolean =>
  existsSync('/proc/self/maps') && readFileSync('/proc/self/maps', 'utf8').includes('koffi');

async function linear(kind: 'wasm' | 'cuda'): Promise<readonly number[]> {
  const options = { device: kind };
  const { linear: f } = (await load(
    new URL('../../runtime/kernels.ts', import.meta.url),
    options,
  )) as unknown as { linear: (...args: unknown[]) => Promise<{ data(): Promise<Float32Array> }> };
  const { q4_0 } = (await load('quern/formats', options)) as unknown as {
    q4_0: { encode(x: unknown): Promise<unknown> };
  };
  const values = (n: number): Float32Array =>
    Float32Array.from({ length: n }, (_, i) => (i % 7) - 3);
  const w = await q4_0.encode(array(values(5 * 64), [5, 64]));
  return [...(await (await f(array(values(2 * 64), [2, 64]), w)).data())];
}

async function losses(kind: 'wasm' | 'cuda'): Promise<readonly number[]> {
  const model = await loadLlama(folder, { device: kind });
  try {
    const text = readFileSync(join(sampleModel, 'kjv.txt'), 'utf8');
    return (await evaluateText(model, text, { limit: 2 })).windowLosses;
  } finally {
    model.dispose();
  }
}

if (what === 'linear') {
  const auto = await device();
  const wasm = await linear('wasm');
  const untouched = !koffi();
  const cuda = await device('cuda');
  console.log(
    JSON.stringify({
      untouched,
      auto: auto.kind,
      declined: auto.declined,
      name: cuda.name,
      same: cuda === (await device('cuda')),
      wasm,
      cuda: await linear('cuda'),
    }),
  );
} else console.log(JSON.stringify({ wasm: await losses('wasm'), cuda: await losses('cuda') }));
process.exit(0);
