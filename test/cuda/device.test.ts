// The CUDA device against stand-ins for libcuda, NVRTC and nvcc, whose kernels run on the CPU: tensors, kernels, formats and a
// model, the memory pool, the cache of images, and what is said when something goes wrong.
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Artifact } from '../../compiler/artifact.ts';
import { array, load } from '../../index.ts';
import type { Foreign } from '../../runtime/devices/cuda/foreign.ts';
import { classOf } from '../../runtime/devices/cuda/memory.ts';
import { CudaDevice } from '../../runtime/devices/cuda.ts';
import { DeviceTensor } from '../../runtime/tensor.ts';
import { randomValues, writeTinyModel } from '../models/tiny.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler } from './host.ts';
import { buildStandin, type Standin } from './standin.ts';

const test = suite('CUDA device');
const kernels = new URL('../runtime/kernels.ts', import.meta.url);
const loader = new URL('../../scripts/typescript.js', import.meta.url).href;
const child = new URL('./standin/child.ts', import.meta.url).pathname;

let standin: Standin;
let folder: string;
let device: CudaDevice;
const made: CudaDevice[] = [];

const open = (more: ConstructorParameters<typeof CudaDevice>[0] = {}): CudaDevice => {
  const d = new CudaDevice({
    driver: standin.driver,
    nvcc: standin.nvcc,
    compiler: 'nvcc',
    cache: join(folder, 'cache'),
    ...more,
  });
  made.push(d);
  return d;
};
/** Functions of the stand-in driver that a driver has not. */
const standinDriver = () => {
  const koffi = createRequire(import.meta.url)('koffi') as Foreign;
  const library = koffi.load(standin.driver);
  return {
    fail: library.func('void standin_fail(int)') as (code: number) => void,
    count: library.func('size_t standin_count(int)') as (what: number) => number,
    queued: library.func('size_t standin_queued()') as () => number,
  };
};
const errorOf = async (body: () => unknown): Promise<string> => {
  try {
    await body();
  } catch (e) {
    return (e as Error).message;
  }
  return 'no error';
};
const text = (body: string, more = ''): Artifact => ({
  manifest: {
    version: 1,
    name: 'hand',
    target: 'cuda',
    compiler: '',
    dims: ['N'],
    constraints: [],
    returns: 'value',
    params: [],
    results: [],
    kernels: [],
    buffers: [
      { name: 'x', role: 'param', dtype: 'f32', bytes: ['N', 4, '*'] },
      { name: 'y', role: 'result', dtype: 'f32', bytes: ['N', 4, '*'] },
    ],
    launches: [
      {
        name: 'hand',
        grid: [['N'], [1], [1]],
        block: [32, 1, 1],
        shared: [0],
        when: [],
        buffers: [0, 1],
        dims: ['N'],
      },
    ],
  },
  code: new TextEncoder().encode(
    `${more}extern "C" __global__ void __launch_bounds__(32) hand(const float* x, float* y, int N) {\n${body}\n}\n`,
  ),
  constants: {},
});

async function inChild(...args: string[]): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', loader, child, ...args],
    {
      env: {
        ...process.env,
        LD_LIBRARY_PATH: standin.dir,
        PATH: `${standin.dir}:${process.env.PATH}`,
        CUDA_HOME: standin.dir,
        QUERN_CACHE: join(folder, 'cache'),
        QUERN_THREADS: '1',
      },
    },
  );
  return JSON.parse(stdout) as Record<string, unknown>;
}
const close = (a: readonly number[], b: readonly number[]): void => {
  assert.is(a.length, b.length);
  for (const [i, x] of a.entries())
    assert.ok(Math.abs(x - b[i]!) <= 1e-4 * Math.max(1, Math.abs(x)), `${i}: ${x} and ${b[i]}`);
};

if (process.platform !== 'linux') skip('CUDA device', 'the stand-ins are for Linux');
else if (!hasCompiler('g++')) skip('CUDA device', 'no g++ at hand');
else {
  test.before(async () => {
    standin = await buildStandin();
    folder = mkdtempSync(join(tmpdir(), 'quern-cuda-device-'));
    device = open();
  });
  test.after(() => {
    for (const d of made) d.close();
    standin.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  test('it says what it is and what its kernels are compiled for', () => {
    assert.is(device.name, 'Stand-in GPU, compute capability 8.0, nvcc V13.0.0');
    assert.equal(device.target, { name: 'cuda', preset: 'sm_80' });
    assert.is(device.reason, 'asked for by name');
  });

  test('bytes come back as they were written, in order, whatever their number', async () => {
    for (const n of [0, 1, 63, 4096, 300_000, 1_300_000]) {
      const t = DeviceTensor.from(device, array(randomValues(n, n), [n]), 'f32');
      const first = t.data();
      if (n > 8) t.write(3, [7, 8, 9]);
      assert.equal(await first, randomValues(n, n));
      if (n > 8)
        assert.equal([...((await t.data()) as Float32Array)].slice(2, 7), [
          ...randomValues(n, n).slice(2, 3),
          7,
          8,
          9,
          ...randomValues(n, n).slice(6, 7),
        ]);
      t.dispose();
    }
    // More than the page-locked memory holds, in small pieces.
    const big = DeviceTensor.from(device, array(new Float32Array(2 ** 21), [2 ** 21]), 'f32');
    for (let i = 0; i < 64; i += 1) big.write(i * 2 ** 15, new Float32Array(2 ** 15).fill(i));
    const back = (await big.data()) as Float32Array;
    assert.ok(back.every((x, i) => x === Math.floor(i / 2 ** 15)));
    big.dispose();
  });

  test('copies within a tensor may overlap', async () => {
    const t = DeviceTensor.from(device, array([1, 2, 3, 4, 5, 6], [6]), 'f32');
    device.copy(t.buffer, 0, t.buffer, 8, 16);
    assert.equal([...(await t.data())], [1, 2, 1, 2, 3, 4]);
    t.dispose();
  });

  test('formats and kernels agree with the interpreter', async () => {
    const options = { device, check: true };
    const { linear, two, pair } = await load<typeof import('../runtime/kernels.ts')>(
      kernels,
      options,
    );
    const formats = await load<typeof import('../../ops/formats/index.ts')>(
      'quern/formats',
      options,
    );
    for (const format of [formats.q4_0, formats.mxfp4]) {
      const w = await format.encode(array(randomValues(6 * 96, 1), [6, 96]));
      for (const m of [0, 1, 5]) await linear(array(randomValues(m * 96, 2), [m, 96]), w);
    }
    await two(array(randomValues(33, 3), [33]), 2);
    await pair(array(randomValues(0, 3), [0]));
  });

  test('calls return before the GPU is done, and memory is given to the next', async () => {
    const { queued, count } = standinDriver();
    const { one } = await load<typeof import('../runtime/kernels.ts')>(kernels, { device });
    const round = async (): Promise<void> => {
      const y = await one(array(randomValues(5000, 1), [5000]));
      assert.ok(queued() > 0, 'nothing is waiting');
      close(
        [...(await y.only.data())],
        [...randomValues(5000, 1)].map((x) => x + 1),
      );
      y.only.dispose();
    };
    await round();
    const allocated = count(0);
    const used = device.used;
    for (let i = 0; i < 5; i += 1) await round();
    assert.is(count(0), allocated);
    assert.is(device.used, used);
    const freed = count(1);
    device.trim();
    assert.ok(count(1) > freed);
  });

  test('size classes waste an eighth at most', () => {
    for (let n = 1; n < 2 ** 26; n = Math.ceil(n * 1.07)) {
      const c = classOf(n);
      assert.ok(c >= n && c <= Math.max(512 + 511, n * 1.125 + 512), `${n}: ${c}`);
      assert.is(classOf(c), c);
    }
  });

  test('memory that is kept is given up before an allocation fails', async () => {
    process.env.STANDIN_MEMORY = String(64 * 2 ** 20);
    try {
      const own = open();
      const a = own.allocate(40 * 2 ** 20);
      own.free(a);
      const b = own.allocate(50 * 2 ** 20);
      assert.match(
        await errorOf(() => own.allocate(20 * 2 ** 20)),
        /Q5102: Out of device memory.*\n.*20971520 bytes asked for, 52428800 of 67108864 in use/,
      );
      own.free(b);
      own.trim();
    } finally {
      delete process.env.STANDIN_MEMORY;
    }
  });

  test('images are kept on disk, and one that is damaged is made again', async () => {
    const cache = join(folder, 'images');
    const artifact = text('if (threadIdx.x == 0) y[blockIdx.x] = x[blockIdx.x] * 2;');
    const run = async (more: object): Promise<readonly number[]> => {
      const d = open({ cache, ...more });
      const x = DeviceTensor.from(d, array([1, 2, 3], [3]), 'f32');
      const [y] = await (await d.load(artifact)).run([x.buffer], [3]);
      const bytes = await d.read(y!, 0, 12);
      d.free(y!);
      x.dispose();
      return [...new Float32Array(bytes.buffer)];
    };
    assert.equal(await run({}), [2, 4, 6]);
    assert.is(
      readdirSync(cache, { recursive: true }).filter((f) => String(f).endsWith('.quern')).length,
      1,
    );
    assert.equal(await run({}), [2, 4, 6]);
    assert.is(
      readdirSync(cache, { recursive: true }).filter((f) => String(f).endsWith('.quern')).length,
      1,
    );
    // Another compiler, another image.
    assert.equal(await run({ compiler: 'nvrtc', nvrtc: standin.nvrtc }), [2, 4, 6]);
    assert.is(
      readdirSync(cache, { recursive: true }).filter((f) => String(f).endsWith('.quern')).length,
      2,
    );
  });

  test('NVRTC compiles where it is found, and a newer GPU gets PTX', async () => {
    process.env.STANDIN_CAPABILITY = '120';
    try {
      const d = open({ compiler: 'nvrtc', nvrtc: standin.nvrtc, cache: false });
      assert.is(d.name, 'Stand-in GPU, compute capability 12.0, NVRTC 13.0');
      assert.equal(d.target, { name: 'cuda', preset: 'sm_90' });
      const e = await d.load(text('y[blockIdx.x] = (float)N;'));
      const x = d.allocate(8);
      const [y] = await e.run([x], [2]);
      assert.equal([...new Float32Array((await d.read(y!, 0, 8)).buffer)], [2, 2]);
    } finally {
      delete process.env.STANDIN_CAPABILITY;
    }
  });

  test('time is that between the events around the calls', async () => {
    const { value, milliseconds } = await device.time(() => 'made');
    assert.equal([value, milliseconds], ['made', 0.5]);
    await device.synchronize();
  });

  test('a text that the compiler refuses is an error with what it said', async () => {
    for (const more of [{}, { compiler: 'nvrtc', nvrtc: standin.nvrtc } as const])
      assert.match(
        await errorOf(() => open(more).load(text('', '#error nothing of the kind\n'))),
        /Q5109: hand: (nvcc V13|NVRTC 13).* refused the emitted CUDA C[\s\S]*nothing of the kind/,
      );
  });

  test('kernels that are missing, and GPUs, drivers and compilers, are named', async () => {
    const wrong = text('');
    const renamed = wrong.manifest.launches!.map((l) => ({ ...l, name: 'other' }));
    assert.match(
      await errorOf(() =>
        device.load({ ...wrong, manifest: { ...wrong.manifest, launches: renamed } }),
      ),
      /Q5108: .*cuModuleGetFunction: CUDA_ERROR_NOT_FOUND \(named symbol not found\)/,
    );
    assert.match(await errorOf(() => open({ index: 3 })), /Q5106.*no GPU 3: the driver has 1/);
    assert.match(
      await errorOf(() => open({ driver: 'libnot-there.so.1' })),
      /Q5106: The device cuda is not available: the driver libnot-there.so.1 cannot be loaded/,
    );
    assert.match(
      await errorOf(() => open({ driver: 'libc.so.6' })),
      /Q5106.*libc.so.6 is too old.*cuInit/,
    );
    assert.match(
      await errorOf(() => open({ nvcc: '/not/there' })),
      /Q5110: No CUDA compiler was found: .*\/not\/there does not run/,
    );
    process.env.STANDIN_CAPABILITY = '61';
    try {
      assert.match(await errorOf(() => open()), /Q5106.*older than compute capability 7.0/);
    } finally {
      delete process.env.STANDIN_CAPABILITY;
    }
  });

  test('device("cuda") by name runs kernels; until then nothing of CUDA is loaded', async () => {
    const said = await inChild('linear');
    assert.is(said.untouched, true);
    assert.is(said.auto, 'wasm');
    assert.match(JSON.stringify(said.declined), /"kind":"cuda","why":"it is taken only by name/);
    assert.match(String(said.name), /^Stand-in GPU/);
    assert.is(said.same, true);
    close(said.cuda as number[], said.wasm as number[]);
  });

  test('a model has the losses on it that it has on wasm', async () => {
    const model = await writeTinyModel(join(folder, 'model'));
    const said = await inChild('evaluate', model);
    assert.is((said.cuda as number[]).length, 2);
    close(said.cuda as number[], said.wasm as number[]);
  });

  // Last: a driver that has met a fault gives nothing else any more.
  test('a fault of a kernel is met by whoever reads next, with its name and text', async () => {
    const e = await device.load(text('y[blockIdx.x] = 1;'));
    const x = device.allocate(4);
    standinDriver().fail(700);
    const [y] = await e.run([x], [1]);
    assert.match(
      await errorOf(() => device.read(y!, 0, 4)),
      /Q5108: .*cuEventQuery: CUDA_ERROR_ILLEGAL_ADDRESS \(an illegal memory access was encountered\)/,
    );
    made.length = 0;
  });
}
test.run();
