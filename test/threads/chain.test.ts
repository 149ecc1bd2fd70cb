// Chains of calls: the same bits as without one, whatever is called, written, read and freed in between, on any number of
// threads and where this thread may not wait; and what a kernel that stops leaves behind.
import fc from 'fast-check';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Artifact } from '../../compiler/artifact.ts';
import { compile } from '../../compiler/index.ts';
import { chain, give, scope } from '../../index.ts';
import type { DeviceBuffer } from '../../runtime/devices/device.ts';
import { ThreadPool } from '../../runtime/devices/pool.ts';
import { ReferenceDevice } from '../../runtime/devices/reference.ts';

import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { QuernError } from '../../runtime/errors.ts';
import { load } from '../../runtime/load.ts';
import { DeviceTensor } from '../../runtime/tensor.ts';
import { bitsOf, type Kernels, noise, open, threaded } from './harness.ts';

const test = suite('chains');
const kernels = fileURLToPath(new URL('kernels.ts', import.meta.url));
const one = new WasmDevice({ threads: 1 });
const devices = [one, await threaded(2), await threaded(4), await threaded(2, false)];

// ---- random programs over tensors of one shape ----

const shape = [6, 24];
const size = 6 * 24;
type Step =
  | { readonly do: 'call'; readonly name: string; readonly from: readonly number[] }
  | { readonly do: 'copy' | 'give'; readonly to: number; readonly from: readonly number[] }
  | { readonly do: 'write'; readonly to: number; readonly seed: number }
  | { readonly do: 'read' | 'drop'; readonly from: readonly number[] };

const slot = fc.nat(40);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('call' as const),
      name: fc.constantFrom('softmax', 'relax', 'elementwise', 'chain', 'total'),
      from: fc.tuple(slot, slot, slot),
    }),
  },
  fc.record({ do: fc.constantFrom('copy' as const, 'give'), to: slot, from: fc.tuple(slot) }),
  fc.record({ do: fc.constant('write' as const), to: slot, seed: fc.integer({ min: 1 }) }),
  fc.record({ do: fc.constantFrom('read' as const, 'drop'), from: fc.tuple(slot) }),
);

const call: {
  readonly [name: string]: (k: Kernels, x: DeviceTensor, y: DeviceTensor) => Promise<unknown>;
} = {
  softmax: (k, x) => k.softmax!(x),
  relax: (k, x) => k.relax!(x),
  total: (k, x) => k.total!(x),
  chain: (k, x, y) => k.chain!(x, y, y.reshape([24, 6])),
  elementwise: async (k, x, y) => {
    const made = await k.elementwise!(x.reshape([size]), y.reshape([size]));
    return made.reshape(shape);
  },
};

/** Everything that the program reads, and in the end every tensor there is. */
async function runProgram(
  device: WasmDevice,
  k: Kernels,
  steps: readonly Step[],
  around: <T>(body: () => Promise<T>) => Promise<T>,
): Promise<string[]> {
  const seen: string[] = [];
  const read = async (t: DeviceTensor): Promise<void> => {
    for (const [, bits] of await bitsOf(t)) seen.push(bits);
  };
  await scope(async () => {
    const made = [1, 2, 3].map((seed) => DeviceTensor.from(device, noise(shape, seed)));
    await around(async () => {
      for (const s of steps) {
        const at = (i: number): DeviceTensor => made[i % made.length]!;
        if (s.do === 'call') {
          const [x, y] = [at(s.from[0]!), at(s.from[1]!)];
          const result = await call[s.name]!(k, x, y);
          if (result instanceof DeviceTensor) made.push(result);
          else made.push((result as { scaled: DeviceTensor }).scaled);
        } else if (s.do === 'copy') at(s.to).write(2, at(s.from[0]!).view(3));
        else if (s.do === 'write') at(s.to).write(1, noise([2, 24], s.seed));
        else if (s.do === 'read') await read(at(s.from[0]!));
        else if (made.length > 1) {
          const [gone] = made.splice(s.from[0]! % made.length, 1);
          if (s.do === 'drop') gone!.dispose();
          else
            made.push((await k.decay!(gone!.shared ? gone! : give(gone!), at(1))) as DeviceTensor);
        }
      }
    });
    for (const t of made) await read(t);
  });
  return seen;
}

test('random chains give what their calls give one by one', async () => {
  const all = await Promise.all(devices.map((d) => open(d)));
  // Kernels that are loaded keep their constants.
  const once = Object.keys(call).map((name): Step => ({ do: 'call', name, from: [0, 0, 0] }));
  once.push({ do: 'give', to: 0, from: [0] });
  for (const [i, d] of devices.entries()) await runProgram(d, all[i]!, once, (body) => body());
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const want = await runProgram(one, all[0]!, steps, (body) => body());
      for (const [i, d] of devices.entries()) {
        const before = d.blocks;
        assert.equal(await runProgram(d, all[i]!, steps, chain), want, d.name);
        assert.is(d.blocks, before);
      }
    }),
    { numRuns: 40 },
  );
});

// ---- when a chain runs ----

/** Calls of the pool while something runs. */
async function wakes(body: () => Promise<unknown>): Promise<number> {
  let count = 0;
  const original = ThreadPool.prototype.run;
  ThreadPool.prototype.run = function (...args) {
    count += 1;
    original.apply(this, args);
  };
  try {
    await body();
  } finally {
    ThreadPool.prototype.run = original;
  }
  return count;
}

test('the workers are woken once for a chain, and earlier only when something is read', async () => {
  const d = devices[1]!;
  const k = await open(d);
  const x = DeviceTensor.from(d, noise(shape));
  const calls = async (): Promise<DeviceTensor> => {
    let y = x;
    for (let i = 0; i < 10; i++) y = await k.softmax!(y);
    return y;
  };
  await calls();
  assert.is(await wakes(calls), 10);
  assert.is(await wakes(() => chain(calls)), 1);
  assert.is(await wakes(() => chain(async () => (await calls()).data())), 1);
  const twice = async () => {
    await (await calls()).data();
    await calls();
  };
  assert.is(await wakes(() => chain(twice)), 2);
  // What the chain does not write is read at once, and small writes wait with the rest.
  const rest = async () => {
    const y = await calls();
    await x.data();
    y.write(0, noise([1, 24]));
    return k.softmax!(y);
  };
  assert.is(await wakes(() => chain(rest)), 1);
});

test('a chain may be longer than what is recorded at once', async () => {
  for (const d of devices) {
    const k = await open(d);
    const calls = async (): Promise<[string, string][]> => {
      let y = await k.softmax!(noise(shape));
      for (let i = 0; i < 1500; i++) {
        const next = await k.softmax!(y);
        y.dispose();
        y = next;
      }
      return bitsOf(y);
    };
    const want = await calls();
    assert.equal(await chain(calls), want, d.name);
  }
});

test('where memory is short, a chain runs before it is full', async () => {
  const d = new WasmDevice({ threads: 1, limit: 4 * 2 ** 20 });
  const k = await open(d);
  const x = DeviceTensor.from(d, noise([100_000]));
  const calls = async (): Promise<[string, string][]> => {
    let y = x.view(100_000);
    for (let i = 0; i < 30; i++) {
      const next = await k.elementwise!(y, x);
      y.dispose();
      y = next;
    }
    return bitsOf(y);
  };
  assert.equal(await chain(calls), await calls());
});

test('chains side by side and calls beside them keep their results', async () => {
  for (const d of devices) {
    const k = await open(d);
    const work = async (seed: number): Promise<[string, string][]> => {
      const y = await k.softmax!(noise(shape, seed));
      await new Promise((done) => setTimeout(done, seed % 3));
      return bitsOf(await k.relax!(y));
    };
    const seeds = [1, 2, 3, 4, 5, 6];
    const want = await Promise.all(seeds.map(work));
    const got = seeds.map((s) => (s % 2 ? chain(() => work(s)) : work(s)));
    assert.equal(await Promise.all(got), want, d.name);
  }
});

test('weights that are encoded in a chain are repacked when they are there', async () => {
  for (const d of devices) {
    const k = await open(d);
    const product = async (): Promise<[string, string][]> => {
      const w = await k.narrowed!.encode(noise([12, 32]));
      return bitsOf(await k.linear!(noise([2, 32]), w));
    };
    assert.equal(await chain(product), await product(), d.name);
  }
});

test('checked calls are compared in a chain as well', async () => {
  const checked = (await load(kernels, { device: one, cache: false, check: true })) as unknown;
  const k = checked as Kernels;
  const calls = async () => bitsOf(await k.relax!(await k.softmax!(noise(shape))));
  assert.equal(await chain(calls), await calls());
});

test('elsewhere a chain just calls', async () => {
  const d = new ReferenceDevice();
  const k = await open(d as unknown as WasmDevice);
  const y = await chain(() => k.softmax!(noise([2, 3])));
  assert.is((await y.data()).length, 6);
});

// ---- failure ----

const errorOf = async (body: () => unknown): Promise<string> => {
  try {
    await body();
  } catch (e) {
    assert.instance(e, QuernError, String(e));
    return (e as Error).message;
  }
  return 'none';
};

/** softmax under another name. */
async function named(name: string): Promise<Artifact> {
  const request = { file: kernels, name: 'softmax', target: 'wasm', threads: true } as const;
  const { artifact } = await compile(request);
  return { ...artifact, manifest: { ...artifact.manifest, name } };
}
/** A buffer beyond the memory, which no kernel can read. */
const beyond = (t: DeviceTensor): DeviceBuffer =>
  ({ ...t.buffer, address: 2 ** 32 - 2 ** 20 }) as DeviceBuffer;

test('a kernel that stops ends the chain, is named, and leaves no garbage', async () => {
  const artifact = await named('far');
  for (const d of devices) {
    const k = await open(d);
    const far = await d.load(artifact);
    const x = DeviceTensor.from(d, noise(shape));
    const cache = DeviceTensor.from(d, noise(shape));
    let before: DeviceTensor | undefined;
    const after: DeviceTensor[] = [];
    const failing = () =>
      chain(async () => {
        before = await k.softmax!(x);
        void far.run([beyond(x)], shape);
        after.push(await k.softmax!(x));
        cache.write(0, after.at(-1)!);
      });
    for (let i = 0; i < 2; i++)
      assert.match(await errorOf(failing), /^Q5015: far: the kernel stopped/, d.name);
    assert.equal(await bitsOf(before), await bitsOf(await k.softmax!(x)), d.name);
    for (const t of [...after, cache]) {
      assert.match(await errorOf(() => t.data()), /^Q5018: .*far stopped/);
      assert.match(await errorOf(() => t.raw()), /^Q5018/);
      assert.match(await errorOf(() => k.softmax!(t)), /^Q5018/);
      assert.match(await errorOf(() => x.write(0, t)), /^Q5018/);
    }
    // Memory that is written as a whole holds something again.
    cache.write(0, noise(shape));
    assert.equal(await bitsOf(await k.softmax!(cache)), await bitsOf(before));
    for (const t of after) t.dispose();
    assert.equal(await bitsOf(await chain(() => k.softmax!(x))), await bitsOf(before));
  }
});

test('what was recorded while a failing chain was on its way is lost with it', async () => {
  const d = devices[3]!;
  const k = await open(d);
  const x = DeviceTensor.from(d, noise(shape));
  const far = await d.load(await named('far'));
  let late: DeviceTensor | undefined;
  const failing = chain(async () => {
    const [buffer] = (await far.run([beyond(x)], shape)) as readonly DeviceBuffer[];
    const y = DeviceTensor.own(d, buffer!, 'f32', shape);
    // Sends the first call to the workers.
    const read = errorOf(() => y.data());
    late = await k.softmax!(y);
    assert.match(await read, /^Q5015: far/);
  });
  assert.match(await errorOf(() => failing), /^Q5015: far/);
  assert.match(await errorOf(() => late!.data()), /^Q5018: .*far stopped/);
});

test('an error of the body is the error of the chain, and what was called still runs', async () => {
  for (const d of devices) {
    const k = await open(d);
    let y: DeviceTensor | undefined;
    const failing = chain(async () => {
      y = await k.softmax!(noise(shape));
      throw new TypeError('mine');
    });
    assert.match(await failing.catch(String), /TypeError: mine/);
    assert.equal(await bitsOf(y), await bitsOf(await k.softmax!(noise(shape))));
  }
});

test('a thread that may not wait does not look at memory that others still write', async () => {
  const d = devices[3]!;
  const k = await open(d);
  await chain(async () => {
    const y = await k.softmax!(noise(shape));
    assert.match(await errorOf(() => d.view(y.buffer, 0, 4)), /^Q5019.*576 bytes/);
    await y.data();
    assert.is(d.view(y.buffer, 0, 4).length, 4);
  });
});

test('nothing is left behind', () => {
  for (const d of devices.slice(1)) d.close();
});

test.run();
