// In place of memory.ts where kernels run on a GPU: an address is the number of a buffer there. Writing is enqueued, reading
// waits. The device is opened once a package, by init(). Calls are recorded into one chain of commands, which is submitted when
// somebody reads, when a buffer that it uses is written, when the host comes to rest, or when it is long.
import { releaseLater } from './calls.ts';
import { raise } from './errors.ts';

export interface GpuOptions {
  /** Where WebGPU comes from; `navigator.gpu` by default. In Node: `create([])` of the npm package `webgpu`. */
  readonly gpu?: GPU;
  /** A device of yours, to share buffers or limits with. */
  readonly device?: GPUDevice;
}

interface Opened {
  readonly device: GPUDevice;
  /** Where it comes from: in Node a device dies with that. */
  readonly gpu: GPU | undefined;
  /** What WGSL may say beyond the first version. */
  readonly features: { has(name: string): boolean };
  /** Why it is gone. */
  lost?: string;
  /** What it complained of, until that is raised. */
  fault?: string | undefined;
}

const bufferUsage = { mapRead: 1, copySrc: 4, copyDst: 8, uniform: 64, storage: 128 } as const;
const PADDED = 16;

let opening: Promise<Opened> | undefined;
let opened: Opened | undefined;
const buffers = new Map<number, { readonly raw: GPUBuffer; readonly size: number }>();
let nextAddress = 1;
let used = 0;

/** Opens the device, the first time; an error says what is missing. */
export async function openGpu(options: GpuOptions = {}): Promise<void> {
  opening ??= open(options);
  opening.catch(() => {
    opening = undefined;
  });
  opened = await opening;
}

async function open({ gpu, device }: GpuOptions): Promise<Opened> {
  const host = globalThis as { navigator?: { gpu?: GPU }; process?: object };
  const own = gpu ?? host.navigator?.gpu;
  if (!own && !device) {
    const what = host.process
      ? 'Node has no WebGPU of its own: init({ gpu: create([]) }) with `create` of the npm package webgpu'
      : 'this browser has no navigator.gpu, or the page is not secure';
    raise('Q5106', what);
  }
  const made: Opened = {
    device: device ?? (await request(own!)),
    gpu: own,
    features: own?.wgslLanguageFeatures ?? new Set<string>(),
  };
  made.device.addEventListener('uncapturederror', (e) => {
    made.fault ??= (e as GPUUncapturedErrorEvent).error.message;
  });
  void made.device.lost.then((why) => {
    made.lost = why.message || why.reason || 'no reason given';
  });
  return made;
}

async function request(gpu: GPU): Promise<GPUDevice> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return raise('Q5106', 'WebGPU finds no adapter: no GPU, or no driver for it');
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  return adapter.requestDevice({ requiredLimits: { maxBufferSize, maxStorageBufferBindingSize } });
}

/** The device; an error if there is none or it is gone. */
export function gpuDevice(): Opened {
  if (!opened) return raise('Q5108', 'the GPU is not open; await init() or a ready() first');
  if (opened.lost !== undefined) raise('Q5122', `the GPU was lost: ${opened.lost}`);
  const { fault } = opened;
  opened.fault = undefined;
  if (fault !== undefined) raise('Q5123', `the GPU refused a command: ${fault}`);
  return opened;
}

/** Bytes of the buffer under a tensor: kernels read whole words and vectors of them. */
export const roomOf = (size: number): number => Math.ceil((size + PADDED) / PADDED) * PADDED;

export function rawBuffer(size: number, usage: number): GPUBuffer {
  const { device } = gpuDevice();
  const most = device.limits.maxBufferSize;
  if (size > most)
    raise('Q5102', `out of memory: ${size} bytes asked for; this GPU has buffers of up to ${most}`);
  return device.createBuffer({ size, usage });
}

export function reserve(size: number): number {
  const { storage, copySrc, copyDst } = bufferUsage;
  const raw = rawBuffer(roomOf(size), storage | copySrc | copyDst);
  const address = nextAddress++;
  buffers.set(address, { raw, size });
  used += size;
  return address;
}

export function release(address: number): void {
  releaseLater(() => {
    const b = buffers.get(address);
    buffers.delete(address);
    used -= b?.size ?? 0;
    if (b) destroy(b.raw);
  });
}

export const bufferAt = (address: number): { readonly raw: GPUBuffer; readonly size: number } =>
  buffers.get(address)!;

/** Commands that wait to be submitted. */
interface Chain {
  readonly encoder: GPUCommandEncoder;
  /** Buffers that it reads or writes. */
  readonly uses: Set<GPUBuffer>;
  /** Those that nobody needs afterwards. */
  readonly passing: GPUBuffer[];
  /** Launches in it. */
  length: number;
}
let chain: Chain | undefined;
const LONGEST = 64;

/** The chain that takes `launches` more. */
export function chained(launches: number): Chain {
  if (chain && chain.length + launches > LONGEST) submitChain();
  if (!chain) {
    const encoder = gpuDevice().device.createCommandEncoder();
    chain = { encoder, uses: new Set(), passing: [], length: 0 };
    setTimeout(submitChain, 0);
  }
  chain.length += launches;
  return chain;
}

export function submitChain(): void {
  const whole = chain;
  if (!whole) return;
  chain = undefined;
  opened!.device.queue.submit([whole.encoder.finish()]);
  for (const b of whole.passing) b.destroy();
}

/** Commands that were submitted keep what they use; those that wait do not. */
function destroy(raw: GPUBuffer): void {
  if (chain) chain.passing.push(raw);
  else raw.destroy();
}

export const bytesAt = (): Uint8Array =>
  raise('Q5003', "view(): memory of a GPU is not the host's; use data() or raw()");

export function writeAt(address: number, size: number, into: (out: Uint8Array) => void): void {
  const words = new Uint8Array(Math.ceil(size / 4) * 4);
  into(words.subarray(0, size));
  if (!size) return;
  const { raw } = bufferAt(address);
  if (chain?.uses.has(raw)) submitChain();
  gpuDevice().device.queue.writeBuffer(raw, 0, words);
}

export type Read<T> = Promise<T>;
/** What `use` makes of the bytes of a buffer, once everything before has run. */
export async function readAt<T>(
  address: number,
  size: number,
  use: (bytes: Uint8Array) => T,
): Promise<T> {
  const bytes = Math.max(16, Math.ceil(size / 4) * 4);
  const staging = rawBuffer(bytes, bufferUsage.copyDst | bufferUsage.mapRead);
  chained(0).encoder.copyBufferToBuffer(bufferAt(address).raw, 0, staging, 0, bytes);
  submitChain();
  try {
    await staging.mapAsync(bufferUsage.mapRead);
  } catch (e) {
    // The loss is told by a promise of its own.
    await new Promise((done) => setTimeout(done, 0));
    gpuDevice();
    throw e;
  }
  const result = use(new Uint8Array(staging.getMappedRange()).subarray(0, size));
  staging.destroy();
  gpuDevice();
  return result;
}

/** Bytes in live tensors. */
export const memoryUsed = (): number => used;

/** A buffer of these words, for one submission. */
export function uniformOf(words: readonly number[]): GPUBuffer {
  const size = Math.max(16, Math.ceil(words.length / 4) * 16);
  const raw = gpuDevice().device.createBuffer({
    size,
    usage: bufferUsage.uniform,
    mappedAtCreation: true,
  });
  new Int32Array(raw.getMappedRange()).set(words);
  raw.unmap();
  return raw;
}

/** Memory for one submission: storage that is copied into and out of. */
export const between = (size: number): GPUBuffer =>
  rawBuffer(size, bufferUsage.storage | bufferUsage.copySrc | bufferUsage.copyDst);
