// Where WebGPU comes from: the browser's navigator.gpu, or in Node the package `webgpu` (Dawn), an optional peer. Nothing
// of it is loaded before somebody asks for the device.
import { raise, reasonOf } from '../errors.ts';
import { nodeModule } from '../platform.ts';
import type { CompileTarget } from './device.ts';

/** The parts of Dawn's package that are used. */
interface DawnPackage {
  create(options: readonly string[]): GPU;
}

let dawn: Promise<GPU> | undefined;

/** The host's WebGPU. Raises Q5106 with what is missing. */
export async function hostGpu(): Promise<GPU> {
  const own = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  if (own) return own;
  if (!nodeModule('node:fs'))
    raise('Q5106', {
      kind: 'webgpu',
      detail: 'this browser has no navigator.gpu (or the page is not secure)',
    });
  dawn ??= loadDawn();
  dawn.catch(() => {
    dawn = undefined;
  });
  return dawn;
}

async function loadDawn(): Promise<GPU> {
  // Not a literal: bundlers must leave it alone.
  const name = 'webgpu';
  let found: DawnPackage;
  try {
    found = (await import(/* @vite-ignore */ name)) as DawnPackage;
  } catch (e) {
    const absent = (e as { code?: string }).code === 'ERR_MODULE_NOT_FOUND';
    const detail = absent
      ? 'Node has no WebGPU of its own; install the package webgpu beside quern'
      : `the package webgpu does not load: ${reasonOf(e)}`;
    return raise('Q5106', { kind: 'webgpu', detail }, e);
  }
  // Such as `backend=vulkan` or `adapter=NAME`: what the package's own page lists.
  return found.create((process.env.QUERN_WEBGPU ?? '').split(' ').filter(Boolean));
}

/**
 * Why there can be no GPU here, without loading anything: `auto` asks this first. Undefined where it takes an adapter to
 * know.
 */
export function withoutGpu(): string | undefined {
  const fs = nodeModule('node:fs');
  const own = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  if (own) return undefined;
  if (!fs) return 'this browser has no navigator.gpu';
  if (process.platform !== 'linux') return undefined;
  const nodes = ['/dev/dri', '/dev/nvidia0', '/dev/dxg', '/dev/kgsl-3d0', '/dev/mali0'];
  return nodes.some((n) => fs.existsSync(n)) ? undefined : 'there is no GPU in /dev';
}

/** Dawn's devices must not outlive what they came from. */
const hosts = new WeakMap<GPUDevice, GPU>();

/** A device, and what kernels for it may use: everything that the adapter offers and Quern has a use for. */
export async function openGpu(
  gpu: GPU,
  { defaults, profile }: { readonly defaults?: boolean; readonly profile?: boolean },
): Promise<{ device: GPUDevice; info: GPUAdapterInfo; target: CompileTarget }> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter)
    return raise('Q5106', {
      kind: 'webgpu',
      detail: 'WebGPU finds no adapter: no GPU, or no driver for it',
    });
  const has = (feature: string): boolean => !defaults && adapter.features.has(feature);
  const language = (feature: string): boolean => gpu.wgslLanguageFeatures?.has(feature) ?? false;
  const { maxBufferSize, maxStorageBufferBindingSize, maxStorageBuffersPerShaderStage } =
    adapter.limits;
  const halves = has('shader-f16');
  // Their numbers and count are a feature of the language.
  const subgroups = has('subgroups') && language('subgroup_id');
  const requiredFeatures: GPUFeatureName[] = [
    ...(profile && adapter.features.has('timestamp-query') ? (['timestamp-query'] as const) : []),
    ...(halves ? (['shader-f16'] as const) : []),
    ...(subgroups ? (['subgroups'] as const) : []),
  ];
  const device = await adapter.requestDevice({
    requiredFeatures,
    requiredLimits: defaults
      ? {}
      : {
          maxBufferSize,
          maxStorageBufferBindingSize,
          maxStorageBuffersPerShaderStage: Math.min(maxStorageBuffersPerShaderStage, 16),
        },
  });
  hosts.set(device, gpu);
  const features = [
    ...(language('packed_4x8_integer_dot_product') ? ['packed'] : []),
    ...(halves ? ['f16'] : []),
    ...(subgroups ? ['subgroups'] : []),
  ];
  const maxBuffers = device.limits.maxStorageBuffersPerShaderStage;
  const target: CompileTarget = { name: 'wgsl', limits: { maxBuffers, features } };
  return { device, info: adapter.info, target };
}

/** Adapters that compute on the processor: right, but no faster than the wasm device. */
const software = /swiftshader|llvmpipe|lavapipe|basic render|warp/i;

export const isSoftware = (info: GPUAdapterInfo): boolean =>
  (info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true ||
  software.test(`${info.vendor} ${info.architecture} ${info.device} ${info.description}`);

/** The adapter in words. */
export const adapterName = (info: GPUAdapterInfo): string =>
  info.description ||
  [info.vendor, info.architecture, info.device].filter(Boolean).join(' ') ||
  'unnamed adapter';
