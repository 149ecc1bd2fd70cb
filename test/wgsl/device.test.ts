// The WebGPU device, over a driver that computes on the processor: memory at any byte, chains of calls, merged bindings,
// refused text, timings, limits, and what happens when the GPU is gone.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Device } from '../../runtime/devices/device.ts';
import type { DeviceTensor } from '../../runtime/tensor.ts';
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

const title = 'the WebGPU device';
withVulkan();
if (gpuMissing) skip(title, gpuMissing);
else {
  const { WebGpuDevice } = await import('../../runtime/devices/webgpu.ts');
  const { device: named } = await import('../../runtime/devices/index.ts');
  const { compile, interpret } = await import('../../compiler/index.ts');
  const { load } = await import('../../runtime/load.ts');
  const { wgslRunner } = await import('../conformance/wgsl-runner.ts');
  const { unit } = await import('../conformance/arrays.ts');
  const { hostGpu, isSoftware, withoutGpu } = await import(
    '../../runtime/devices/webgpu-adapter.ts'
  );
  const { create } = await import('webgpu');
  const gpu = await WebGpuDevice.open({ defaults: true });
  const kernels = new URL('../../ops/llama.ts', import.meta.url).pathname;
  const errorOf = async (body: () => unknown): Promise<string> => {
    try {
      await body();
    } catch (e) {
      return (e as Error).message;
    }
    return 'no error';
  };
  type Call = (...args: readonly unknown[]) => Promise<DeviceTensor>;
  const open = async (device: Device): Promise<Readonly<Record<'gated' | 'lastRow', Call>>> =>
    (await load(kernels, { device })) as unknown as Readonly<Record<'gated' | 'lastRow', Call>>;
  /** A GPU whose devices are told to `tell`. */
  const seen = (host: GPU, tell: (device: GPUDevice) => void, named?: GPUAdapterInfo): GPU => {
    const adapterOf = async (options?: GPURequestAdapterOptions) => {
      const adapter = (await host.requestAdapter(options))!;
      const { features, limits, info } = adapter;
      const requestDevice = async (descriptor?: GPUDeviceDescriptor) => {
        const device = await adapter.requestDevice(descriptor);
        tell(device);
        return device;
      };
      return { features, limits, info: named ?? info, requestDevice };
    };
    const { wgslLanguageFeatures } = host;
    return { requestAdapter: adapterOf, wgslLanguageFeatures } as unknown as GPU;
  };
  const test = suite(title);

  test('memory is written, copied and read at any byte', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            copy: fc.boolean(),
            from: fc.nat(60),
            to: fc.nat(60),
            bytes: fc.nat(40),
            self: fc.boolean(),
            seed: fc.nat(255),
          }),
          { minLength: 1, maxLength: 8 },
        ),
        async (steps) => {
          const size = 101;
          const want = [0, 1].map((k) => Uint8Array.from({ length: size }, (_, i) => i * 7 + k));
          const made = want.map((w) => {
            const b = gpu.allocate(size);
            gpu.write(b, 0, w);
            return b;
          });
          for (const s of steps) {
            if (s.copy) {
              const source = s.self ? 1 : 0;
              gpu.copy(made[source]!, s.from, made[1]!, s.to, s.bytes);
              want[1]!.set(want[source]!.slice(s.from, s.from + s.bytes), s.to);
            } else {
              const data = new Uint8Array(s.bytes).fill(s.seed);
              gpu.write(made[1]!, s.to, data);
              want[1]!.set(data, s.to);
            }
          }
          assert.equal([...(await gpu.read(made[1]!, 0, size))], [...want[1]!]);
          const part = await gpu.read(made[1]!, steps[0]!.from, 9);
          assert.equal([...part], [...want[1]!.slice(steps[0]!.from, steps[0]!.from + 9)]);
          for (const b of made) gpu.free(b);
        },
      ),
      { numRuns: 25 },
    ));

  test('a chain of calls is submitted once, when somebody reads', async () => {
    const { gated, lastRow } = await open(gpu);
    const x = { data: new Float32Array(12).map((_, i) => i / 5), shape: [3, 4] };
    await (await lastRow(await gated(x, x))).data();
    const before = gpu.submits;
    const y = await gated(x, x);
    const z = await gated(y, y);
    const last = await lastRow(z);
    assert.is(gpu.submits, before);
    await last.data();
    assert.is(gpu.submits, before + 1);
  });

  test('what a tensor holds is as it was when the call was made', async () => {
    const { gated } = await open(gpu);
    const ones = { data: new Float32Array(4).fill(1), shape: [1, 4] };
    const first = await gated(ones, ones);
    const second = await gated(first, ones);
    first.write(0, new Float32Array(4).fill(100));
    const third = await gated(first, ones);
    const silu = 1 / (1 + Math.exp(-1));
    assert.ok(Math.abs((await second.data())[0]! - silu / (1 + Math.exp(-silu))) < 1e-6);
    assert.ok(Math.abs((await third.data())[0]! - 100) < 1e-4);
  });

  test('kernels with more buffers than the target binds share bindings', async () => {
    const formats = [
      { file: 'quern/formats', name: 'q4_K' },
      { file: 'quern/formats', name: 'q4_K' },
    ];
    const encode = { file: 'quern/formats', name: 'q4_K.encode' };
    const u = (await interpret(encode, [unit([6, 256], 3)])).results;
    const v = (await interpret(encode, [unit([6, 256], 4)])).results;
    const request = { file: kernels, name: 'swiglu', formats };
    const inputs = [unit([1, 256], 5), ...u, ...v];
    const want = (await interpret(request, inputs)).results[0]!;
    for (const maxBuffers of [8, 4]) {
      const { artifact } = await compile({ ...request, target: 'wgsl', limits: { maxBuffers } });
      const { launches } = artifact.manifest;
      assert.ok(launches!.some((l) => l.buffers.length > 8));
      assert.ok(launches!.every((l) => l.bindings!.length <= maxBuffers));
      const [got] = await wgslRunner(gpu).run(artifact, inputs);
      got!.data.forEach((x, i) => {
        assert.ok(Math.abs(x - want.data[i]!) < 1e-4, `${i}: ${x}, not ${want.data[i]}`);
      });
    }
    // An encoder writes more than it may bind.
    const { artifact } = await compile({ ...encode, target: 'wgsl', limits: { maxBuffers: 2 } });
    const got = await wgslRunner(gpu).run(artifact, [unit([6, 256], 3)]);
    got.forEach((r, i) => assert.equal([...r.data], [...u[i]!.data]));
  });

  test('text that the driver refuses is an error with its line and the line of the author', async () => {
    const { artifact } = await compile({ file: kernels, name: 'gated', target: 'wgsl' });
    const text = new TextDecoder().decode(artifact.code);
    const broken = text.replace(/(@compute[\s\S]*?\n {4}let \w+ = )/, '$1nothing + ');
    const code = new TextEncoder().encode(broken);
    const message = await errorOf(() => gpu.load({ ...artifact, code }));
    assert.match(message, /^Q5121: gated: .*nothing.*\(line \d+, column \d+ of the WGSL: let /s);
    assert.match(message, /from llama\.ts:\d+: return /);
  });

  test('with profile, launches are timed on the GPU', async () => {
    const own = await WebGpuDevice.open({ profile: true });
    const { gated } = await open(own);
    const x = { data: new Float32Array(64).fill(1), shape: [1, 64] };
    for (let i = 0; i < 3; i += 1) await (await gated(x, x)).data();
    const [first] = await own.timings();
    assert.match(first!.kernel, /^gated_/);
    assert.is(first!.calls, 3);
    assert.ok(first!.nanoseconds > 0);
    own.close();
    assert.equal(await gpu.timings(), []);
  });

  test('a GPU that is gone says so, and device() opens another', async () => {
    const first = await named('webgpu');
    assert.is(await named('webgpu'), first);
    const b = first.allocate(16);
    (first as Device & { close(): void }).close();
    assert.match(first.lost ?? '', /closed/);
    assert.match(await errorOf(() => first.read(b, 0, 16)), /^Q5122: The GPU \(.+\) was lost/);
    assert.match(await errorOf(() => first.allocate(16)), /device\('webgpu'\) gives a new one/);
    const second = await named('webgpu');
    assert.is.not(second, first);
    const c = second.allocate(4);
    second.write(c, 0, Uint8Array.of(1, 2, 3, 4));
    assert.equal([...(await second.read(c, 0, 4))], [1, 2, 3, 4]);
  });

  test('a GPU that goes away under a call is an error that says why', async () => {
    let raw: GPUDevice | undefined;
    const host = await hostGpu();
    const own = await WebGpuDevice.open({
      gpu: seen(host, (d) => {
        raw = d;
      }),
    });
    const { gated } = await open(own);
    const x = { data: new Float32Array(4).fill(1), shape: [1, 4] };
    const y = await gated(x, x);
    await y.data();
    raw!.destroy();
    assert.match(await errorOf(() => y.data()), /^Q5122: The GPU \(.+\) was lost: .*destroyed/s);
    assert.match(await errorOf(() => gated(x, x)), /^Q5122/);
    assert.match(own.lost ?? '', /destroyed/);
  });

  test('no adapter is an error that says so', async () => {
    const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
    const message = await errorOf(() => WebGpuDevice.open({ gpu: none }));
    assert.match(message, /^Q5106: The device webgpu is not available: WebGPU finds no adapter/);
  });

  test('memory that the GPU does not have is an error at the next use', async () => {
    // Dawn's device without a GPU has 512 MiB.
    const own = await WebGpuDevice.open({ gpu: create(['backend=null']) });
    const asking = async (): Promise<void> => {
      const small = own.allocate(16);
      for (let i = 0; i < 6; i += 1) own.allocate(100 * 2 ** 20);
      await own.read(small, 0, 16);
    };
    assert.match(await errorOf(asking), /^Q5123: .*Out of memory[\s\S]*dispose tensors/);
    own.close();
  });

  test('auto takes a GPU that is one', async () => {
    const before = await named('webgpu');
    (before as Device & { close(): void }).close();
    const info = { vendor: 'acme', architecture: '', device: '', description: 'Acme 9000' };
    const host = await hostGpu();
    const own = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
    const gpu = seen(host, () => {}, info as GPUAdapterInfo);
    Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
    try {
      const best = await named('auto');
      assert.is(best.kind, 'webgpu');
      assert.is(best.name, 'Acme 9000');
      assert.match(best.reason, /^auto: webgpu/);
      assert.equal(
        best.declined?.map((d) => d.kind),
        ['cuda'],
      );
      (best as Device & { close(): void }).close();
    } finally {
      if (own) Object.defineProperty(globalThis, 'navigator', own);
      else Reflect.deleteProperty(globalThis, 'navigator');
    }
  });

  test('which adapters compute on the processor is told by their names', () => {
    const info = (vendor: string, description: string, isFallbackAdapter = false) =>
      ({ vendor, architecture: '', device: '', description, isFallbackAdapter }) as GPUAdapterInfo;
    assert.is(isSoftware(info('nvidia', 'NVIDIA H100')), false);
    assert.is(isSoftware(info('apple', '')), false);
    assert.is(isSoftware(info('google', 'SwiftShader driver 5.0.0')), true);
    assert.is(isSoftware(info('mesa', 'llvmpipe (LLVM 15)')), true);
    assert.is(isSoftware(info('microsoft', 'Microsoft Basic Render Driver')), true);
    assert.is(isSoftware(info('unknown', 'GPU', true)), true);
  });

  test('auto does not take what computes on the processor, and says why', async () => {
    const best = await named('auto');
    assert.is.not(best.kind, 'webgpu');
    const why = best.declined?.find((d) => d.kind === 'webgpu')?.why ?? '';
    assert.match(why, withoutGpu() ? /no GPU in \/dev/ : /computes on the processor/);
    assert.ok(best.reason.includes(why));
    assert.is(gpu.software, true);
    assert.match(gpu.name, /SwiftShader/);
  });

  const adapter = await (await hostGpu()).requestAdapter();
  const halves = 'halves that are read as f16 are the same numbers';
  if (!adapter?.features.has('shader-f16'))
    skip(halves, `${gpu.name} has no shader-f16; Dawn accepts the text, see features.test.ts`);
  else
    test(halves, async () => {
      const own = await WebGpuDevice.open();
      const request = { file: 'quern/formats', name: 'q8_0.decode' };
      const encoded = { file: 'quern/formats', name: 'q8_0.encode' };
      const w = (await interpret(encoded, [unit([4, 64], 3)])).results;
      const { limits } = own.target;
      const { artifact } = await compile({ ...request, target: 'wgsl', limits: limits! });
      assert.match(new TextDecoder().decode(artifact.code), /enable f16;/);
      const [got] = await wgslRunner(own).run(artifact, w);
      const [want] = (await interpret(request, w)).results;
      assert.equal([...got!.data], [...want!.data]);
      own.close();
    });

  test('freed memory is used again', () => {
    const before = gpu.used;
    const a = gpu.allocate(1000);
    assert.is(gpu.used, before + 1000);
    gpu.free(a);
    gpu.free(a);
    assert.is(gpu.used, before);
  });

  test.run();
}
