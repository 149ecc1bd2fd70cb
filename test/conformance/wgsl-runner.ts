// Runs artifacts of the wgsl target on the WebGPU device. The memory that results get was full of junk before, so what is
// never written shows.
import { wgslBackend } from '../../backends/wgsl/index.ts';
import type { ArgInfo, TensorInfo } from '../../compiler/artifact.ts';
import type { HostArray } from '../../compiler/index.ts';
import type { WebGpuDevice } from '../../runtime/devices/webgpu.ts';
import { pack, unpack } from '../../runtime/pack.ts';
import { DimSolver, compilePoly } from '../../runtime/poly.ts';
import type { Runner } from './case.ts';

const tensorsOf = (args: readonly ArgInfo[]): (TensorInfo & { kind: 'tensor' })[] =>
  args.flatMap((a) =>
    a.kind === 'tensor' ? [a] : a.fields.map((f) => ({ ...f, kind: 'tensor' as const })),
  );

/** Leaves junk where buffers of these sizes will be. */
function poison(device: WebGpuDevice, sizes: readonly number[]): void {
  const made = sizes.map((bytes) => device.allocate(bytes));
  for (const b of made) device.write(b, 0, new Uint8Array(b.bytes).fill(0xa5));
  for (const b of made) device.free(b);
}

export const wgslRunner = (device: WebGpuDevice): Runner => ({
  name: `wgsl on ${device.name}`,
  target: 'wgsl',
  backend: wgslBackend,
  flushes: true,
  async run(artifact, inputs) {
    const { manifest } = artifact;
    const dims: number[] = [];
    new DimSolver(manifest, tensorsOf(manifest.params)).solve(
      inputs.map((x) => x.shape),
      dims,
    );
    const executable = await device.load(artifact);
    const sizes = manifest.buffers
      .filter((b) => b.role === 'result' || b.role === 'temp')
      .map((b) => compilePoly(b.bytes, manifest.dims)(dims));
    const params = inputs.map(({ dtype, shape, data }) => {
      const bytes = pack(dtype, shape, data);
      const b = device.allocate(bytes.length);
      device.write(b, 0, bytes);
      return b;
    });
    poison(device, sizes);
    const made = await executable.run(params, dims);
    const results = tensorsOf(manifest.results);
    const out = await Promise.all(
      made.map(async (b, i): Promise<HostArray> => {
        const { dtype, shape } = results[i]!;
        const size = shape.map((s) => compilePoly(s, manifest.dims)(dims));
        const bytes = await device.read(b, 0, b.bytes);
        return { dtype, shape: size, data: unpack(dtype, size, bytes) as HostArray['data'] };
      }),
    );
    for (const b of [...params, ...made]) device.free(b);
    return out;
  },
});
