// WGSL against the interpreter, on a software adapter. Several files share the cases, and there are few random programs:
// QUERN_WGSL=all runs more of them.
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

/** The cases of a test file. */
export async function wgslPart(url: string): Promise<void> {
  withVulkan();
  const { casesOf } = await import('./coverage.ts');
  const { part, parts } = casesOf(url);
  if (gpuMissing) return skip(`conformance of wgsl, ${part + 1} of ${parts}`, gpuMissing);
  const { WebGpuDevice } = await import('../../runtime/devices/webgpu.ts');
  const { conformance } = await import('./suite.ts');
  const { wgslRunner } = await import('./wgsl-runner.ts');
  const device = await WebGpuDevice.open({ defaults: true });
  const all = process.env.QUERN_WGSL === 'all';
  conformance(wgslRunner(device), url, {
    chains: all ? 60 : 6,
    bodies: all ? 40 : 5,
    contractions: all ? 40 : 5,
    programs: all ? 100 : 12,
  });
}
