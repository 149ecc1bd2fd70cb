// The WGSL backend: one text a program with an entry point a launch, and the table of launches. Operations that WGSL
// lacks are expanded first. Everything keeps to the limits that it is given, WebGPU's defaults unless a device offers more.
import type { LaunchInfo } from '../../compiler/artifact.ts';
import { expand } from '../../compiler/loops/expand.ts';
import { type Geometry, type Launch, launchesOf } from '../../compiler/loops/launches.ts';
import type { Program } from '../../compiler/loops/loops.ts';
import type { Backend, EmitOptions, Emitted, Limits } from '../backend.ts';
import type { Layout } from './layout.ts';
import { sourceText } from './source.ts';
import { wgslNative } from './tables.ts';
import { fault } from './writer.ts';

/** Workgroup memory that combining values of 256 threads takes, and what goes with it. */
const combining = 5 * 1024;

/** WebGPU's default limits. */
const base: Limits = {
  target: 'wgsl',
  vectorBits: 128,
  vectorRegisters: 32,
  scratchBytes: 16 * 1024 - combining,
  maxBuffers: 8,
  gpu: { warp: 32, threads: 256, tileBytes: 16 * 1024 },
  // 'packed': dot products of four bytes in a word. Not every device has 'f16', the type, and 'subgroups', with their numbers.
  features: ['packed'],
};

/** A warp is a group of its own: WGSL knows of nothing between a thread and a group that all devices have. */
const geometry: Geometry = {
  grid: { threads: 64, iterations: 64 },
  groups: { threads: 256, iterations: 1 },
  warps: { threads: 32, iterations: 1 },
};

function infoOf(program: Program, l: Launch, layout: Layout, shared: number): LaunchInfo {
  const own = new Set(l.buffers.map((b) => b.id));
  const bindings = layout.bindings.filter((b) => b.buffers.some((x) => own.has(x.id)));
  const index = (id: number): number => program.buffers.findIndex((x) => x.id === id);
  return {
    name: l.name,
    grid: [l.grid, [1], [1]],
    block: [l.threads, 1, 1],
    shared: [shared],
    when: l.when,
    buffers: l.buffers.map((b) => index(b.id)),
    dims: layout.sizes.flatMap((s) => (s.dim === undefined ? [] : [s.dim])),
    bindings: bindings.map((b) => ({
      number: b.number,
      buffers: b.buffers.map((x) => index(x.id)),
      written: b.written,
      ...(b.window ? { window: b.window } : {}),
    })),
  };
}

function emit(program: Program, limits: Limits, options: EmitOptions = {}): Promise<Emitted> {
  const ready = expand(program, wgslNative);
  const launches = launchesOf(ready, geometry);
  const { text, layout, shared } = sourceText(ready, launches, limits, options.line);
  for (const [i, bytes] of shared.entries())
    if (bytes > limits.scratchBytes + combining)
      throw fault(`${launches[i]!.name} takes ${bytes} bytes of workgroup memory`);
  return Promise.resolve({
    code: new TextEncoder().encode(text),
    text: () => text,
    launches: launches.map((l, i) => infoOf(ready, l, layout, shared[i]!)),
  });
}

export const wgslBackend: Backend = { name: 'wgsl', limits: base, emit };
