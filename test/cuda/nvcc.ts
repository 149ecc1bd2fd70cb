// Texts through nvcc, many as one file: what each kernel takes of a multiprocessor, from ptxas, and the sums of that by family.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Usage {
  readonly registers: number;
  /** Bytes that a thread stores in memory for want of registers. */
  readonly spills: number;
  /** Bytes of shared memory. */
  readonly shared: number;
  /** What the text says it is: `gemv`, `gemm`, `map`. */
  readonly schedule: string;
  /** The number of its text. */
  readonly text: number;
}
export interface Source {
  /** What messages of nvcc call it. */
  readonly name: string;
  readonly text: string;
}

/** Compiles texts as one file, each in a namespace; usage by kernel. Any warning throws. */
export async function cubin(sources: readonly Source[], arch: string): Promise<Map<string, Usage>> {
  const dir = mkdtempSync(join(tmpdir(), 'quern-nvcc-'));
  try {
    const file = join(dir, 'all.cu');
    const schedules = new Map<string, { readonly schedule: string; readonly text: number }>();
    const unique = sources.map(({ text: t }, text) =>
      t.replace(
        /^\/\/ ([^\n:]+):[^\n]*\n(extern "C" [^(]*\([\d, ]+\)) (\w+)\(/gm,
        (_, schedule: string, head: string, name: string) => {
          schedules.set(`c${text}_${name}`, { schedule, text });
          return `${head} c${text}_${name}(`;
        },
      ),
    );
    const parts = unique.map(
      (t, i) => `namespace n${i} {\n#line 1 "${sources[i]!.name.replace(/["\\]/g, '')}"\n${t}}`,
    );
    writeFileSync(file, `#include <cuda_fp16.h>\n${parts.join('\n')}`);
    const warnings = ['-Werror', 'all-warnings'];
    const flags = ['-std=c++17', '-cubin', `-arch=${arch}`, '-Xptxas', '-v', ...warnings];
    const { stderr } = await run('nvcc', [...flags, '-o', join(dir, 'all.cubin'), file], {
      maxBuffer: 1 << 26,
    });
    const usage = new Map<string, Usage>();
    for (const [, name, spills, registers, rest] of stderr.matchAll(
      /Compiling entry function '(\w+)'[\s\S]*?(\d+) bytes spill stores[\s\S]*?Used (\d+) registers(.*)/g,
    )) {
      const shared = Number(/(\d+) bytes smem/.exec(rest!)?.[1] ?? 0);
      const own = schedules.get(name!);
      if (!own) throw new Error(`${name} is not known by a comment in front of it`);
      usage.set(name!, { registers: Number(registers), spills: Number(spills), shared, ...own });
    }
    const lost = [...schedules.keys()].filter((name) => !usage.has(name));
    if (lost.length) throw new Error(`ptxas says nothing of ${lost.join(', ')}`);
    return usage;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What the kernels of a family come to. */
export interface Sums {
  readonly kernels: number;
  /** The most of a kernel. */
  readonly registers: number;
  readonly shared: number;
  /** Kernels that keep values in memory, and all of their bytes. */
  readonly spilling: readonly string[];
  readonly spilled: number;
}

const nothing: Sums = { kernels: 0, registers: 0, shared: 0, spilling: [], spilled: 0 };
const plus = (s: Sums, u: Usage, name: string): Sums => ({
  kernels: s.kernels + 1,
  registers: Math.max(s.registers, u.registers),
  shared: Math.max(s.shared, u.shared),
  spilling: u.spills ? [...s.spilling, name] : s.spilling,
  spilled: s.spilled + u.spills,
});

/** Texts of an nvcc run: more of them make the front end slower, fewer start it more often. */
const batchLength = 1e6;
export function batchesOf<T extends Source>(texts: readonly T[]): T[][] {
  const out: T[][] = [];
  let length = Number.POSITIVE_INFINITY;
  for (const t of texts) {
    if (length + t.text.length > batchLength) {
      out.push([]);
      length = 0;
    }
    out.at(-1)!.push(t);
    length += t.text.length;
  }
  return out;
}

/** Sums by family of all texts. Throws at a warning, and at a contraction that does not keep its values in registers. */
export async function usageOf(
  texts: readonly (Source & { readonly family: string })[],
  arch: string,
): Promise<ReadonlyMap<string, Sums>> {
  const sums = new Map<string, Sums>();
  const failing: string[] = [];
  for (const batch of batchesOf(texts))
    for (const [kernel, u] of await cubin(batch, arch)) {
      const { family, name } = batch[u.text]!;
      const full = `${name}: ${kernel.replace(/^c\d+_/, '')}`;
      sums.set(family, plus(sums.get(family) ?? nothing, u, full));
      if (u.spills && isContraction(u)) failing.push(`${full}, ${u.schedule}: ${u.spills} bytes`);
    }
  if (failing.length) throw new Error(`spills in contractions for ${arch}: ${failing.join('; ')}`);
  return sums;
}

/** Contractions keep their sums in registers, or they are not worth their name. */
const isContraction = (u: Usage): boolean => u.schedule === 'gemv' || u.schedule === 'gemm';
