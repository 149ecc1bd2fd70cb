// Runs artifacts of the wgsl target on the WebGPU device. The memory that results get was full of junk before, so what is
// never written shows.
import { wgslBackend } from '../../backends/wgsl/index.ts';
import type { WebGpuDevice } from '../../runtime/devices/webgpu.ts';
import type { Runner } from './case.ts';
import { runOn } from './device-runner.ts';

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
  ...(device.target.limits ? { limits: device.target.limits } : {}),
  flushes: true,
  run: (artifact, inputs) => runOn(device, artifact, inputs, (sizes) => poison(device, sizes)),
});
