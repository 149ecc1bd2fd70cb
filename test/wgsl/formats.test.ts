// Every format of the library on WGSL, whatever bits its fields hold: decoding agrees with the interpreter bit by bit, and a
// product with its weights to the rounding of its sums.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostArray } from '../../compiler/index.ts';
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

const title = 'WGSL: every format';
withVulkan();
if (gpuMissing) skip(title, gpuMissing);
else {
  const { WebGpuDevice } = await import('../../runtime/devices/webgpu.ts');
  const { compilePoly } = await import('../../runtime/poly.ts');
  const { compile, describe, interpret } = await import('../../compiler/index.ts');
  const { dtypes, isFloat } = await import('../../compiler/ir/dtype.ts');
  const { array, integers, unit } = await import('../conformance/arrays.ts');
  const { formatNames } = await import('../cuda/library.ts');
  const { wgslRunner } = await import('../conformance/wgsl-runner.ts');
  const device = await WebGpuDevice.open({ defaults: true });
  const runner = wgslRunner(device);
  const layers = new URL('../../ops/llama.ts', import.meta.url).pathname;
  const [rows, columns] = [3, 512];
  const test = suite(title);

  /** Fields full of any whole numbers, and of floats that every type has. */
  const fieldsOf = (artifact: Awaited<ReturnType<typeof compile>>['artifact']): HostArray[] => {
    const { params, dims } = artifact.manifest;
    const sizes = dims.map((d) => ({ N: rows, K: columns })[d] ?? assert.unreachable(d));
    return params.flatMap((p) =>
      (p.kind === 'encoded' ? p.fields : [p]).map(({ dtype, shape }, i) => {
        const next = integers(i + 3);
        const list = shape.map((s) => compilePoly(s, dims)(sizes as number[]));
        const { bits, kind } = dtypes[dtype];
        const whole = (): number =>
          kind === 'int' ? (next() | 0) >> (32 - bits) : next() >>> (32 - bits);
        const value = isFloat(dtype) ? () => 2 ** ((next() % 4) - 1) : whole;
        return array(dtype, list, value);
      }),
    );
  };
  const run = async (request: Parameters<typeof interpret>[0], inputs: readonly HostArray[]) => {
    const { artifact } = await compile({ ...request, target: 'wgsl' });
    return {
      got: (await runner.run(artifact, inputs))[0]!.data,
      want: (await interpret(request, inputs)).results[0]!.data,
    };
  };

  for (const { name } of describe('quern/formats').exports.filter((e) => e.kind === 'format'))
    test(`${name} is decoded and multiplied`, async () => {
      const request = { file: 'quern/formats', name: `${name}.decode` };
      const fields = fieldsOf((await compile({ ...request, target: 'wgsl' })).artifact);
      const weights = await run(request, fields);
      weights.want.forEach((v, i) => {
        // A scale that is subnormal may be 0.
        const isFlushed = Math.abs(v) < 2 ** -120 && weights.got[i] === 0;
        assert.ok(isFlushed || Object.is(v, weights.got[i]), `${i}: ${v}, ${weights.got[i]}`);
      });
      // Those that the library's test has are multiplied there.
      if (formatNames.includes(name as (typeof formatNames)[number])) return;
      const x = unit([1, columns], 7);
      const formats = [{ file: 'quern/formats', name }];
      const y = await run({ file: layers, name: 'linear', formats }, [x, ...fields]);
      y.want.forEach((v, r) => {
        const terms = [...x.data].reduce(
          (n, a, k) => n + Math.abs(a * weights.want[r * columns + k]!),
          0,
        );
        assert.ok(Math.abs(v - y.got[r]!) <= 1e-5 * terms, `${r}: ${v}, ${y.got[r]}`);
      });
    });

  test.after(() => device.close());
  test.run();
}
