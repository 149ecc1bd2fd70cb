// Tensors that are larger than a binding are bound in windows: the same kernels, compiled for it, agree with the interpreter.
// The largest binding is made small, so that small tensors do.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DeviceTensor, EncodedTensor as Encoded } from '../../runtime/tensor.ts';
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

const title = 'tensors larger than a binding';
withVulkan();
if (gpuMissing) skip(title, gpuMissing);
else {
  const { WebGpuDevice } = await import('../../runtime/devices/webgpu.ts');
  const { load } = await import('../../runtime/load.ts');
  const { DeviceTensor: Tensors, EncodedTensor } = await import('../../runtime/tensor.ts');
  const { compile } = await import('../../compiler/index.ts');
  const { wgslRunner } = await import('../conformance/wgsl-runner.ts');
  const { unit } = await import('../conformance/arrays.ts');
  const limit = 4096;
  const gpu = await WebGpuDevice.open({ defaults: true, bindingBytes: limit });
  const root = mkdtempSync(join(tmpdir(), 'quern-windows-'));
  const file = join(root, 'kernels.ts');
  const letters = [...'abcdefghijkl'];
  writeFileSync(
    file,
    `import { abs, decode, gather, i3, matmul, round, set, sum, transpose } from 'quern';
import type { Dim, Encoded, Format, Tensor, f32, i32 } from 'quern';
export function plain<M extends Dim, N extends Dim>(x: Tensor<f32, [M, N]>, y: Tensor<f32, [M, N]>) {
  return { sums: x + y, codes: i3(round(x * 3)), rows: sum(abs(x), 1), turned: transpose(x) };
}
export function picked<N extends Dim, K extends Dim, M extends Dim>(x: Tensor<f32, [N, K]>, i: Tensor<i32, [M]>) {
  return gather(x, i);
}
export function changed<N extends Dim, K extends Dim>(x: Tensor<f32, [N, K]>) {
  return set(set(x, 7, 1), 5, -1, 0);
}
export function product<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
export function many<N extends Dim>(${letters.map((x) => `${x}: Tensor<f32, [N]>`).join(', ')}) {
  return ${letters.join(' + ')};
}
export function apart<N extends Dim>(x: Tensor<f32, [N]>) {
  return { ${letters.map((x, i) => `${x}: x * ${i + 1}`).join(', ')}, codes: i3(round(x * 3)) };
}
`,
  );
  type Tensor = DeviceTensor;
  type Made = Tensor | Readonly<Record<string, Tensor>>;
  type Call = (...args: readonly unknown[]) => Promise<Made>;
  const test = suite(title);

  /** Calls a kernel on both devices; gives the largest difference. */
  async function both(name: string, args: readonly unknown[]): Promise<number> {
    const on = async (device: 'reference' | typeof gpu): Promise<ArrayLike<number>[]> => {
      const kernels = (await load(file, { device })) as unknown as Readonly<Record<string, Call>>;
      const made = await kernels[name]!(...args);
      const list = made instanceof Tensors ? [made] : Object.values(made as object);
      return Promise.all(list.map((t: Tensor) => t.data()));
    };
    const [want, got] = [await on('reference'), await on(gpu)];
    let worst = 0;
    want.forEach((w, r) => {
      assert.is(got[r]!.length, w.length);
      for (let i = 0; i < w.length; i += 1)
        worst = Math.max(worst, Math.abs(w[i]! - got[r]![i]!) / Math.max(1, Math.abs(w[i]!)));
    });
    return worst;
  }

  for (const [m, n] of [
    [24, 77],
    [3, 600],
    [2, 8],
  ] as const)
    test(`elements, codes of three bits, sums and transposes of ${m} x ${n}`, async () => {
      assert.ok((await both('plain', [unit([m, n], 1), unit([m, n], 2)])) < 1e-5);
    });

  test('rows that are looked up, and updates in place', async () => {
    const rows = { data: Int32Array.of(39, 0, -3, 31, 200), shape: [5] };
    assert.is(await both('picked', [unit([40, 50], 3), rows]), 0);
    assert.is(await both('changed', [unit([40, 50], 4)]), 0);
  });

  test('compressed weights, for few rows and for many', async () => {
    type Encoder = { readonly q4_0: { encode(x: unknown): Promise<Encoded> } };
    const formats = (await load('quern/formats', { device: 'reference' })) as unknown as Encoder;
    const there = await formats.q4_0.encode(unit([90, 256], 5));
    const parts: Record<string, Tensor> = {};
    for (const [name, t] of Object.entries(there.fields))
      parts[name] = Tensors.from(gpu, { data: await t.data(), shape: t.shape }, t.dtype);
    const here = new EncodedTensor(there.format, [90, 256], parts);
    const run = async (device: 'reference' | typeof gpu, weights: Encoded, m: number) => {
      const kernels = (await load(file, { device })) as unknown as Readonly<Record<string, Call>>;
      return ((await kernels.product!(unit([m, 256], 6), weights)) as Tensor).data();
    };
    for (const m of [1, 7]) {
      const [want, got] = [await run('reference', there, m), await run(gpu, here, m)];
      want.forEach((x, i) => assert.ok(Math.abs(x - got[i]!) < 2e-3, `${i}: ${x}, ${got[i]}`));
    }
  });

  test('more tensors than bindings, together larger than one, share several', async () => {
    for (const n of [500, 501, 3]) {
      const args = letters.map((_, i) => unit([n], i));
      assert.ok((await both('many', args)) < 1e-5);
    }
  });

  test('more results than bindings, together larger than one, share several', async () => {
    for (const n of [300, 301, 2]) assert.ok((await both('apart', [unit([n], 1)])) < 1e-5);
  });

  test('memory in parts is written, copied and read at any byte', async () => {
    const small = await WebGpuDevice.open({ defaults: true, bindingBytes: 256 });
    const size = 1101;
    const place = fc.nat(size);
    const step = fc.record({ kind: fc.nat(2), from: place, to: place, bytes: place });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
        const want = [0, 1].map((k) => Uint8Array.from({ length: size }, (_, i) => i * 7 + k));
        const made = want.map((w) => {
          const b = small.allocate(size);
          small.write(b, 0, w);
          return b;
        });
        for (const { kind, from, to, bytes: most } of steps) {
          const bytes = Math.min(most, size - from, size - to);
          if (kind < 2) {
            small.copy(made[kind]!, from, made[1]!, to, bytes);
            want[1]!.set(want[kind]!.slice(from, from + bytes), to);
          } else {
            const data = new Uint8Array(bytes).fill(most);
            small.write(made[1]!, to, data);
            want[1]!.set(data, to);
          }
        }
        assert.equal([...(await small.read(made[1]!, 0, size))], [...want[1]!]);
        const { from } = steps[0]!;
        const part = await small.read(made[1]!, from, size - from);
        assert.equal([...part], [...want[1]!.subarray(from)]);
        for (const b of made) small.free(b);
      }),
      { numRuns: 20 },
    );
    small.close();
  });

  test('a tensor may be larger than any buffer that the GPU allows', async () => {
    const own = await WebGpuDevice.open({ defaults: true });
    const b = own.allocate(300 * 2 ** 20);
    const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    for (const at of [128 * 2 ** 20 - 3, 256 * 2 ** 20 - 4]) {
      own.write(b, at, bytes);
      assert.equal([...(await own.read(b, at, 8))], [...bytes]);
    }
    own.close();
  });

  test('the text says which window an element is in', async () => {
    const { artifact } = await compile({
      file,
      name: 'picked',
      target: 'wgsl',
      limits: { windows: { bytes: 4096, of: { 0: 40 } } },
    });
    const text = new TextDecoder().decode(artifact.code);
    assert.match(text, /var<storage, read> x_2: array</);
    assert.match(
      text,
      /fn x_get\(i: i32\) -> f32 \{\n {2}if \(i < 1024\) \{ return x_0\[i\]; \}\n/,
    );
    const windows = artifact.manifest.launches![0]!.bindings!.flatMap((b) => b.window ?? []);
    assert.equal(
      windows.map((w) => w.from),
      [0, 4096, 8192],
    );
  });

  test('a kernel that was compiled without windows refuses', async () => {
    const { artifact } = await compile({ file, name: 'changed', target: 'wgsl' });
    let message = '';
    try {
      await wgslRunner(gpu).run(artifact, [unit([40, 50], 1)]);
    } catch (e) {
      message = (e as Error).message;
    }
    assert.match(message, /^Q5124: changed: .*8000 bytes.*at most 4080 bytes/s);
  });

  test('more windows than there are bindings are an error that says so', async () => {
    const x = unit([200, 100], 7);
    const { changed } = (await load(file, { device: gpu })) as unknown as { changed: Call };
    let message = '';
    try {
      await changed(x);
    } catch (e) {
      message = (e as Error).message;
    }
    assert.match(message, /^Q4002.*bindings of .* MiB .*the largest is x, .* MiB.*offers 8/s);
  });

  test.after(() => rmSync(root, { recursive: true, force: true }));
  test.run();
}
