// The CUDA backend: plain CUDA C, a kernel a launch, and the table of launches. Operations that CUDA lacks are expanded
// first; the text needs nothing but the headers that it names, and compiles for the host with a shim (test/cuda).
import type { LaunchInfo } from '../../compiler/artifact.ts';
import { expand } from '../../compiler/loops/expand.ts';
import { type Geometry, type Launch, launchesOf } from '../../compiler/loops/launches.ts';
import type { Program } from '../../compiler/loops/loops.ts';
import type { Backend, EmitOptions, Emitted, Limits } from '../backend.ts';
import { sourceText } from './source.ts';
import { cudaNative } from './tables.ts';

const base: Limits = {
  target: 'cuda',
  vectorBits: 128,
  vectorRegisters: 32,
  scratchBytes: 48 * 1024,
  maxBuffers: 1000,
  gpu: { warp: 32, threads: 256, tileBytes: 48 * 1024, busyGroups: 128, products: true },
};

const geometry: Geometry = {
  grid: { threads: 128, iterations: 128 },
  groups: { threads: 256, iterations: 1 },
  warps: { threads: 128, iterations: 4 },
};

/** What a block may use of shared memory, by architecture. */
export const cudaPresets: { readonly [arch: string]: Limits } = {
  // Its tensor cores have other shapes than those of the products that are emitted, and there are no copies past registers.
  sm_75: { ...base, scratchBytes: 64 * 1024, gpu: { ...base.gpu!, products: false } },
  sm_80: { ...base, scratchBytes: 163 * 1024 },
  sm_90: { ...base, scratchBytes: 227 * 1024 },
};

function infoOf(program: Program, l: Launch): LaunchInfo {
  return {
    name: l.name,
    grid: [l.grid, [1], [1]],
    block: [l.threads, 1, 1],
    shared: [0],
    when: l.when,
    buffers: l.buffers.map((b) => program.buffers.findIndex((x) => x.id === b.id)),
    dims: l.dims,
  };
}

function emit(program: Program, _: Limits, options: EmitOptions = {}): Promise<Emitted> {
  const ready = expand(program, cudaNative);
  const launches = launchesOf(ready, geometry);
  const text = sourceText(ready, launches, options.line);
  return Promise.resolve({
    code: new TextEncoder().encode(text),
    text: () => text,
    launches: launches.map((l) => infoOf(ready, l)),
  });
}

export const cudaBackend: Backend = { name: 'cuda', limits: base, presets: cudaPresets, emit };
