// WGSL against the interpreter, on a software adapter: few random programs, because it is slow.
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

withVulkan();
if (gpuMissing) skip('conformance of wgsl', gpuMissing);
else {
  const { WebGpuDevice } = await import('../../runtime/devices/webgpu.ts');
  const { conformance } = await import('./suite.ts');
  const { wgslRunner } = await import('./wgsl-runner.ts');
  const device = await WebGpuDevice.open({ defaults: true });
  conformance(wgslRunner(device), { chains: 15, bodies: 10, contractions: 10, programs: 25 });
}
