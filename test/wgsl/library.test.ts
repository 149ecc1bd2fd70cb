// The library's kernels as WGSL agree with the interpreter: linear, encode and decode of every format, decoding bit by bit,
// and the layers of a model.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

const title = 'WGSL: the library';
withVulkan();
if (gpuMissing) skip(title, gpuMissing);
else {
  const { WebGpuDevice } = await import('../../runtime/devices/webgpu.ts');
  const { compile, interpret } = await import('../../compiler/index.ts');
  const { formatCalls, formatNames, layerCalls } = await import('../cuda/library.ts');
  const { wgslRunner } = await import('../conformance/wgsl-runner.ts');
  const device = await WebGpuDevice.open({ defaults: true });
  const runner = wgslRunner(device);

  const check = async (calls: Awaited<ReturnType<typeof formatCalls>>): Promise<void> => {
    for (const c of calls) {
      // Of several layers over a format one is enough here: what they differ in is the same for all formats.
      if (/^(linearAdd|swiglu|linear of 2 rows)/.test(c.name)) continue;
      const { limits } = device.target;
      const { artifact } = await compile({ ...c.request, target: 'wgsl', limits });
      const got = await runner.run(artifact, c.inputs);
      const want = (await interpret(c.request, c.inputs)).results;
      want.forEach((w, r) => {
        assert.equal([...got[r]!.shape], [...w.shape], c.name);
        w.data.forEach((x, j) => {
          const y = got[r]!.data[j]!;
          // A scale that is a mean is rounded by the order of its sum; codes are exact.
          if (c.name.endsWith('.encode') && w.dtype === 'f32' && Math.abs(x - y) <= 2e-7 * x)
            return;
          if (Object.is(x, y) || Math.abs(x - y) <= c.tolerance * Math.max(1, Math.abs(x))) return;
          assert.unreachable(`${c.name}: result ${r}[${j}] is ${y}, the interpreter has ${x}`);
        });
      });
    }
  };

  const test = suite(title);
  for (const name of formatNames)
    test(`linear, encode and decode of ${name} agree`, async () => check(await formatCalls(name)));
  test('the layers of a model agree', () => check(layerCalls()));
  test.run();
}
