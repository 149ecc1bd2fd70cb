// What not every device has: subgroups, on the driver's own and on any other size of them, and the type f16, which no driver at
// hand runs. Both are also shown to Dawn's device without a GPU, which has all features and checks the text of every kernel.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

const title = 'WGSL: features';
withVulkan();
if (gpuMissing) skip(title, gpuMissing);
else {
  const { WebGpuDevice } = await import('../../runtime/devices/webgpu.ts');
  const { compile, describe, interpret } = await import('../../compiler/index.ts');
  const { unit } = await import('../conformance/arrays.ts');
  const { cases } = await import('../conformance/coverage.ts');
  const { check } = await import('../conformance/suite.ts');
  const { wgslRunner } = await import('../conformance/wgsl-runner.ts');
  const { layerCalls } = await import('../cuda/library.ts');
  const { withSubgroupsOf } = await import('./subgroup-sizes.ts');
  const { openGpu } = await import('../../runtime/devices/webgpu-adapter.ts');
  const { launchesOf } = await import('../../runtime/devices/webgpu-kernel.ts');
  const { create } = await import('webgpu');
  const test = suite(title);

  const own = await WebGpuDevice.open();
  const features = own.target.limits!.features!;
  const combining = cases.filter((c) =>
    /^(reductions of bool over|sums, means|extremes and|matmul with prologues)/.test(c.name),
  );
  const native = 'values are combined by subgroups';
  if (!features.includes('subgroups')) skip(native, `${own.name} has none`);
  else
    for (const c of combining)
      test(`${native}: ${c.name}`, () => check(wgslRunner(own), { ...c, calls: few(c.calls) }));

  /** The first call, the last, and one between. */
  function few<T>(calls: readonly T[]): T[] {
    const middle = calls.length >> 1;
    return calls.filter((_, i) => i === 0 || i === middle || i === calls.length - 1);
  }

  const plain = await WebGpuDevice.open({ defaults: true });
  for (const size of [16, 128])
    test(`the same with ${size} threads in a subgroup`, async () => {
      const runner = wgslRunner(plain);
      for (const c of combining.filter((x) => !/^matmul/.test(x.name)))
        await check(
          {
            ...runner,
            limits: { ...plain.target.limits, features: ['packed', 'subgroups'] },
            run: (artifact, inputs) => {
              const text = new TextDecoder().decode(artifact.code);
              assert.match(text, /enable subgroups;/);
              const code = new TextEncoder().encode(withSubgroupsOf(size, text));
              return runner.run({ ...artifact, code }, inputs);
            },
          },
          { ...c, calls: few(c.calls) },
        );
    });

  test('bytes are multiplied four at a time as packed words, or as vectors where the language has no such words', async () => {
    const format = { file: 'quern/formats', name: 'q8_0' };
    const source = `import { decode, matmul, transpose } from 'quern';
export function product<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Encoded<F, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(decode(x), transpose(decode(w)));
}`;
    const file = '/features/product.ts';
    const host = {
      readFile: (path: string) => (path === file ? source : readFileSync(path, 'utf8')),
    };
    const request = { file, name: 'product', formats: [format, format] };
    const encode = { file: 'quern/formats', name: 'q8_0.encode' };
    const [x, w] = await Promise.all(
      [unit([3, 256], 1), unit([5, 256], 2)].map(
        async (a) => (await interpret(encode, [a])).results,
      ),
    );
    const inputs = [...x!, ...w!];
    const [want] = (await interpret(request, inputs, host)).results;
    for (const features of [['packed'], []]) {
      const { artifact } = await compile(
        { ...request, target: 'wgsl', limits: { features } },
        host,
      );
      const text = new TextDecoder().decode(artifact.code);
      assert.is(/dot4I8Packed/.test(text), features.length > 0);
      assert.ok(features.length > 0 || !/4xI8|4xU8/.test(text));
      const [got] = await wgslRunner(plain).run(artifact, inputs);
      want!.data.forEach((v, i) => assert.ok(Math.abs(v - got!.data[i]!) < 1e-4, `${i}: ${v}`));
    }
  });

  test('a device at its defaults has neither', () => {
    assert.equal(plain.target.limits!.features, ['packed']);
    assert.is(plain.target.limits!.maxBuffers, 8);
  });

  const { device: nothing, target } = await openGpu(create(['backend=null']), {});
  const limits = target.limits!;
  /** The text of a kernel that Dawn has checked; with `pipelines`, also what each launch binds. */
  const shown = async (
    request: Parameters<typeof compile>[0],
    pipelines = false,
  ): Promise<string> => {
    const { artifact } = await compile(request);
    const launches = await launchesOf(nothing, artifact);
    if (pipelines) for (const l of launches) await l.compile();
    return new TextDecoder().decode(artifact.code);
  };

  test('with f16 and subgroups, every format of the library is accepted', async () => {
    assert.equal(limits.features, ['packed', 'f16', 'subgroups']);
    const formats = describe('quern/formats').exports.filter((e) => e.kind === 'format');
    assert.ok(formats.length > 40);
    const file = new URL('../../ops/llama.ts', import.meta.url).pathname;
    let [halves, combined] = [0, 0];
    for (const { name } of formats) {
      const format = { file: 'quern/formats', name };
      const text = await shown({ file, name: 'linear', formats: [format], target: 'wgsl', limits });
      halves += Number(/^enable f16;$/m.test(text) && /bitcast<vec2h>/.test(text));
      combined += Number(/^enable subgroups;$/m.test(text) && /subgroupAdd/.test(text));
    }
    assert.ok(halves > 20, `${halves}`);
    assert.ok(combined > 40, `${combined}`);
  });

  test('with f16 and subgroups, the layers of a model are accepted', async () => {
    for (const { request } of await layerCalls())
      await shown({ ...request, target: 'wgsl', limits }, true);
  });

  test.after(() => {
    for (const d of [own, plain]) d.close();
    nothing.destroy();
  });
  test.run();
}
