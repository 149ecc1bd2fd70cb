// Runs CUDA artifacts on the CPU: the same text, compiled by g++ with the shim. Compiling takes most of the time, so
// jobs are gathered first: many kernels make one program.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ArgInfo, Artifact, TensorInfo } from '../../compiler/artifact.ts';
import type { HostArray } from '../../compiler/index.ts';
import { pack, unpack } from '../../runtime/pack.ts';
import { DimSolver, compilePoly } from '../../runtime/poly.ts';

export const hasCompiler = (name: 'g++' | 'nvcc'): boolean =>
  spawnSync(name, ['--version']).status === 0;

const tensorsOf = (args: readonly ArgInfo[]): (TensorInfo & { kind: 'tensor' })[] =>
  args.flatMap((a) =>
    a.kind === 'tensor' ? [a] : a.fields.map((f) => ({ ...f, kind: 'tensor' as const })),
  );

/** Limits for sizes that take no tiles: their kernels, which no call would run, are left out, and g++ has less to do. */
export const withoutTiles = { gpu: { warp: 32, threads: 256 } } as const;
/** Rows from which there are tiles. */
const tileRows = 16;
export const limitsFor = (calls: readonly (readonly HostArray[])[]) =>
  calls.some((inputs) => inputs.some((x) => x.shape.slice(0, -1).some((d) => d >= tileRows)))
    ? {}
    : { limits: withoutTiles };

/** One call of an artifact. */
export interface Job {
  readonly name: string;
  readonly artifact: Artifact;
  readonly inputs: readonly HostArray[];
}

const run = promisify(execFile);
const shim = new URL('./shim/', import.meta.url).pathname;

/** Results of the jobs, in order. `seed`: of the order in which threads run. */
export async function runOnHost(
  jobs: readonly Job[],
  seed = 1,
  parallel = 2,
): Promise<HostArray[][]> {
  const artifacts = [...new Set(jobs.map((j) => j.artifact))];
  const parts = Array.from({ length: Math.min(parallel, artifacts.length) }, (_, i) =>
    jobs.filter((j) => artifacts.indexOf(j.artifact) % parallel === i),
  );
  const results = new Map<Job, HostArray[]>();
  const done = await Promise.all(parts.map((part) => runPart(part, seed)));
  parts.forEach((part, p) => part.forEach((j, i) => results.set(j, done[p]![i]!)));
  return jobs.map((j) => results.get(j)!);
}

async function runPart(jobs: readonly Job[], seed: number): Promise<HostArray[][]> {
  const dir = mkdtempSync(join(tmpdir(), 'quern-cuda-'));
  try {
    const artifacts = [...new Set(jobs.map((j) => j.artifact))];
    const kernels = artifacts.flatMap((a, i) =>
      a.manifest.launches!.map((l) => ({ a, symbol: `c${i}_${l.name}`, name: l.name })),
    );
    const texts = artifacts.map((a, i) => {
      let text = new TextDecoder().decode(a.code);
      for (const l of a.manifest.launches!)
        text = text.replace(` ${l.name}(\n`, ` c${i}_${l.name}(\n`);
      return `namespace n${i} {\n${text}}`;
    });
    const rows = kernels.map((k) => {
      const at = artifacts.indexOf(k.a);
      return `  [](const shim::Launch& l) { shim::run("${k.symbol}", n${at}::${k.symbol}, l); },`;
    });
    const source = [
      '#include "cuda_host.h"',
      '#include "cuda_fp16.h"',
      ...texts,
      `static void (*const table[])(const shim::Launch&) = {\n${rows.join('\n')}\n};`,
      '#include "main.inc"',
    ];
    writeFileSync(join(dir, 'all.cpp'), source.join('\n\n'));
    const flags = [
      '-std=c++20',
      '-O0',
      '-w',
      '-fwrapv',
      '-fno-strict-aliasing',
      '-ffp-contract=off',
      `-I${shim}`,
    ];
    await run('g++', [...flags, '-o', join(dir, 'all'), join(dir, 'all.cpp')], {
      maxBuffer: 1 << 24,
    });
    const index = new Map(kernels.map((k, i) => [`${artifacts.indexOf(k.a)} ${k.name}`, i]));
    const plans = jobs.map((j) =>
      planOf(j, (name) => index.get(`${artifacts.indexOf(j.artifact)} ${name}`)!),
    );
    writeFileSync(
      join(dir, 'jobs'),
      Buffer.concat([words([jobs.length]), ...plans.map((p) => p.bytes)]),
    );
    await run(join(dir, 'all'), [join(dir, 'jobs'), join(dir, 'out'), `${seed}`], {
      maxBuffer: 1 << 24,
    });
    const out = new Uint8Array(readFileSync(join(dir, 'out')));
    let at = 0;
    return plans.map((p) =>
      p.results.map((r) => {
        const bytes = out.slice(at, at + r.bytes);
        at += r.bytes;
        return {
          dtype: r.dtype,
          shape: r.shape,
          data: unpack(r.dtype, r.shape, bytes) as HostArray['data'],
        };
      }),
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export const words = (list: readonly number[]): Buffer => Buffer.from(Int32Array.from(list).buffer);

export interface Plan {
  readonly bytes: Buffer;
  readonly results: readonly {
    readonly dtype: HostArray['dtype'];
    readonly shape: readonly number[];
    readonly bytes: number;
  }[];
}

export function planOf(job: Job, kernel: (name: string) => number): Plan {
  const { manifest, constants } = job.artifact;
  const dims: number[] = [];
  new DimSolver(manifest, tensorsOf(manifest.params)).solve(
    job.inputs.map((x) => x.shape),
    dims,
  );
  const value = (code: Parameters<typeof compilePoly>[0]): number =>
    compilePoly(code, manifest.dims)(dims);
  const name = Buffer.from(job.name);
  const parts: Buffer[] = [words([name.length]), name, words([manifest.buffers.length])];
  let param = 0;
  const sizes = manifest.buffers.map((b) => value(b.bytes));
  manifest.buffers.forEach((b, i) => {
    const x = b.role === 'param' ? job.inputs[param++]! : undefined;
    const given = x
      ? pack(x.dtype, x.shape, x.data)
      : b.role === 'const'
        ? constants[b.name]!
        : undefined;
    parts.push(words([sizes[i]!, given ? 1 : 0, b.role === 'result' ? 1 : 0]));
    if (given) parts.push(Buffer.from(given.buffer, given.byteOffset, sizes[i]!));
  });
  const launches = manifest.launches!.filter((l) => l.when.every((c) => value(c) > 0));
  parts.push(words([launches.length]));
  for (const l of launches)
    parts.push(
      words([
        kernel(l.name),
        Math.max(0, value(l.grid[0])),
        l.block[0],
        l.buffers.length,
        ...l.buffers,
        l.dims.length,
        ...l.dims.map((d) => dims[manifest.dims.indexOf(d)]!),
      ]),
    );
  const made = tensorsOf(manifest.results);
  let next = 0;
  const results = manifest.buffers.flatMap((b, i) => {
    if (b.role !== 'result') return [];
    const { dtype, shape } = made[next++]!;
    return [{ dtype, shape: shape.map(value), bytes: sizes[i]! }];
  });
  return { bytes: Buffer.concat(parts), results };
}
