// Artifacts made runnable on WebGPU: what a call allocates, what each of its launches binds, and whether the kernel was compiled
// for tensors of that size.
import type { Artifact, BindingInfo, Manifest } from '../../compiler/artifact.ts';
import type { Limits } from '../../compiler/limits.ts';
import { raise } from '../errors.ts';
import { compilePoly, type PolyFunction } from '../poly.ts';
import type { DeviceBuffer, Executable } from './device.ts';
import { Executables } from './executables.ts';
import type { GpuChain } from './webgpu-chain.ts';
import { type GpuLaunch, launchesOf } from './webgpu-kernel.ts';
import { type Block, type GpuBuffer, type GpuMemory, PADDING } from './webgpu-memory.ts';
import { type GpuMerged, spaceOf } from './webgpu-merged.ts';
import { type GpuTransfers, MOST_GROUPS } from './webgpu-transfers.ts';
import type { GpuUniforms, Uniform } from './webgpu-uniforms.ts';

/** Bind groups that are kept for a launch. */
const KEPT_GROUPS = 256;

/** The parts of a device that calls go through. */
export interface GpuParts {
  readonly device: GPUDevice;
  readonly memory: GpuMemory;
  readonly chain: GpuChain;
  readonly uniforms: GpuUniforms;
  readonly transfers: GpuTransfers;
  readonly merged: GpuMerged;
  /** Raises where the GPU is gone or has reported an error. */
  readonly alive: () => void;
  readonly free: (b: GpuBuffer) => void;
}

interface Ready {
  readonly manifest: Manifest;
  readonly launches: readonly GpuLaunch[];
  readonly sizes: readonly PolyFunction[];
  /** Buffers of the consts, by their place in the manifest. */
  readonly fixed: ReadonlyMap<number, GpuBuffer>;
  readonly spans: readonly Span[];
}

/** What shares bindings: one buffer or several, in one binding or in windows. */
interface Span {
  readonly buffers: readonly number[];
  readonly windows: number;
}

/** Windows of other sizes than the device's parts count for nothing: the kernel is for another device. */
function spansOf(launches: readonly GpuLaunch[], partBytes: number): readonly Span[] {
  const all = new Map(launches.flatMap((l) => l.bindings.map((b) => [b.number, b] as const)));
  const spans = new Map<string, Span>();
  for (const b of [...all.values()].sort((x, y) => x.number - y.number)) {
    const key = b.buffers.join(' ');
    const { buffers } = b;
    const windows =
      (spans.get(key)?.windows ?? 0) + Number((b.window?.bytes ?? partBytes) === partBytes);
    spans.set(key, { buffers, windows });
  }
  return [...spans.values()];
}

export class GpuCalls {
  readonly #gpu: GpuParts;
  readonly #executables = new Executables((artifact) => this.#prepare(artifact));
  /** Bound where a tensor has fewer parts than the kernel has windows. */
  readonly #spare: GpuBuffer[] = [];

  constructor(parts: GpuParts) {
    this.#gpu = parts;
  }

  load(artifact: Artifact): Promise<Executable> {
    return this.#executables.of(artifact);
  }

  async #prepare(artifact: Artifact): Promise<Executable> {
    const { device, memory, transfers, alive } = this.#gpu;
    alive();
    const { manifest } = artifact;
    const launches = await launchesOf(device, artifact);
    alive();
    const fixed = new Map<number, GpuBuffer>();
    manifest.buffers.forEach((b, i) => {
      if (b.role !== 'const') return;
      const bytes = artifact.constants[b.name];
      if (!bytes)
        raise('Q5106', { kind: 'webgpu', detail: `the artifact lacks the constant ${b.name}` });
      const made = memory.allocate(bytes.length);
      transfers.write(made, 0, bytes);
      fixed.set(i, made);
    });
    const sizes = manifest.buffers.map((b) => compilePoly(b.bytes, manifest.dims));
    const ready: Ready = {
      manifest,
      launches,
      sizes,
      fixed,
      spans: spansOf(launches, memory.partBytes),
    };
    return {
      lacks: (dims) => this.#lacks(ready, dims),
      run: (given, dims) => {
        alive();
        const params = given as readonly GpuBuffer[];
        const wanted = launches.filter(
          (l) => l.when.every((c) => c(dims) > 0) && l.groups(dims) > 0,
        );
        const missing = wanted.filter((l) => !l.pipeline);
        if (missing.length === 0) return this.#run(ready, wanted, params, dims);
        return this.#later(missing, params, () => this.#run(ready, wanted, params, dims));
      },
    };
  }

  /** The windows that tensors of these sizes need, where those that the kernel has are too few. */
  #lacks({ sizes, spans }: Ready, dims: readonly number[]): Partial<Limits> | undefined {
    const { partBytes } = this.#gpu.memory;
    const space = sizes.map((size) => spaceOf(size(dims)));
    const sum = (list: readonly number[]): number => list.reduce((n, x) => n + x, 0);
    if (spans.every((s) => sum(s.buffers.map((i) => space[i]!)) <= s.windows * partBytes))
      return undefined;
    // Small buffers have room together in a sixteenth of a window.
    const of: Record<number, number> = {};
    let small = 0;
    for (const [i, bytes] of [...space.entries()].sort((a, b) => a[1] - b[1])) {
      small += bytes;
      if (small * 16 > partBytes) of[i] = Math.ceil((bytes * 16) / partBytes);
    }
    return { windows: { bytes: partBytes, of } };
  }

  /** Runs a call once its launches are compiled; its buffers stay until then. */
  async #later<T>(
    missing: readonly GpuLaunch[],
    params: readonly GpuBuffer[],
    run: () => T,
  ): Promise<T> {
    for (const b of params) b.pins += 1;
    try {
      await Promise.all(missing.map((l) => l.compile()));
      return run();
    } finally {
      for (const b of params) {
        b.pins -= 1;
        if (b.pins > 0 || b.live) continue;
        b.live = true;
        this.#gpu.free(b);
      }
    }
  }

  /** Records the launches of a call. */
  #run(
    ready: Ready,
    launches: readonly GpuLaunch[],
    params: readonly GpuBuffer[],
    dims: readonly number[],
  ): readonly DeviceBuffer[] {
    const { memory, uniforms, alive, free } = this.#gpu;
    alive();
    const { manifest, sizes, fixed } = ready;
    const results: GpuBuffer[] = [];
    const temps: GpuBuffer[] = [];
    try {
      let param = 0;
      const buffers = manifest.buffers.map((b, i): GpuBuffer => {
        if (b.role === 'param') return params[param++]!;
        if (b.role === 'const') return fixed.get(i)!;
        const made = memory.allocate(sizes[i]!(dims));
        (b.role === 'result' ? results : temps).push(made);
        return made;
      });
      const starts: number[] = [];
      for (const s of ready.spans) {
        if (s.buffers.length === 1) continue;
        let at = 0;
        for (const i of s.buffers) {
          starts.push(at / 4);
          at += spaceOf(buffers[i]!.bytes);
        }
      }
      const uniform = uniforms.of([0, ...dims, ...starts]);
      for (const l of launches) this.#launch(ready, l, buffers, uniform, l.groups(dims));
      for (const t of temps) free(t);
      return results;
    } catch (e) {
      for (const b of [...results, ...temps]) free(b);
      throw e;
    }
  }

  #launch(
    ready: Ready,
    l: GpuLaunch,
    buffers: readonly GpuBuffer[],
    uniform: Uniform,
    count: number,
  ): void {
    const { device, chain, transfers } = this.#gpu;
    const after: (() => void)[] = [];
    const bound = this.#bound(ready, l, buffers, after);
    const key = `${uniform.id} ${bound.map((b) => b.id).join(' ')}`;
    let group = l.bound.get(key);
    if (!group) {
      if (l.bound.size >= KEPT_GROUPS) l.bound.clear();
      group = device.createBindGroup({
        layout: l.layout,
        entries: [
          { binding: 0, resource: { buffer: uniform.raw } },
          ...bound.map(({ raw, size }, i) => ({
            binding: l.bindings[i]!.number,
            resource: { buffer: raw, offset: 0, size },
          })),
        ],
      });
      l.bound.set(key, group);
    }
    const x = Math.min(count, MOST_GROUPS);
    transfers.touch(bound);
    chain.dispatch({
      kernel: l.info.name,
      pipeline: l.pipeline!,
      group,
      x,
      y: Math.ceil(count / x),
    });
    for (const f of after) f();
  }

  /** The memory of each binding of a launch. Raises Q5124 where the kernel was compiled for smaller tensors. */
  #bound(
    ready: Ready,
    { bindings }: GpuLaunch,
    buffers: readonly GpuBuffer[],
    after: (() => void)[],
  ): Block[] {
    const { memory } = this.#gpu;
    const held = new Map<string, GpuBuffer>();
    let spare = 0;
    return bindings.map((b) => {
      const key = b.buffers.join(' ');
      let whole = held.get(key);
      if (!whole) {
        whole = this.#whole(ready.manifest, b, buffers, after);
        held.set(key, whole);
        const span = ready.spans.find((s) => s.buffers.join(' ') === key)!;
        if (whole.parts.length > span.windows)
          raise('Q5124', {
            kernel: ready.manifest.name,
            found: whole.bytes,
            limit: Math.max(0, span.windows * memory.partBytes - PADDING),
          });
      }
      const part = whole.parts[(b.window?.from ?? 0) / memory.partBytes];
      if (part) return part;
      this.#spare[spare] ??= memory.allocate(0);
      return this.#spare[spare++]!.parts[0]!;
    });
  }

  /** The buffer of a binding, or of several that share it: those behind each other. */
  #whole(
    manifest: Manifest,
    b: BindingInfo,
    buffers: readonly GpuBuffer[],
    after: (() => void)[],
  ): GpuBuffer {
    const { merged } = this.#gpu;
    const list = b.buffers.map((i) => buffers[i]!);
    if (list.length === 1) return list[0]!;
    if (b.written) return merged.written(list, after);
    const outlives = (i: number): boolean => ['param', 'const'].includes(manifest.buffers[i]!.role);
    return merged.read(list, b.buffers.every(outlives), after);
  }
}
