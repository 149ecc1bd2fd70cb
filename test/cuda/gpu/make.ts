// Writes what a machine with a GPU and nvcc needs to check and to time the kernels, without Node:
//   node --import ./scripts/typescript.js test/cuda/gpu/make.ts <folder>
//   there: cd <folder> && nvcc -std=c++17 -O3 -arch=native -o run run.cu -lcublas && ./run
// The first part runs the library's kernels on inputs whose results the interpreter gave; the second times contractions
// of few rows and encoders against the bandwidth of a copy, and those of many rows, with f16 activations, against cuBLAS
// on f16, all measured in the same run. Without cuBLAS: -DNO_VENDOR in place of -lcublas.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Artifact } from '../../../compiler/artifact.ts';
import { type CompileRequest, compile, interpret } from '../../../compiler/index.ts';
import { pack } from '../../../runtime/pack.ts';
import { compilePoly } from '../../../runtime/poly.ts';
import { planOf, words } from '../host.ts';
import { formatCalls, formatNames, layerCalls } from '../library.ts';

const folder = process.argv[2] ?? '.cuda-gpu';
const layers = new URL('../../../ops/llama.ts', import.meta.url).pathname;
const artifacts: Artifact[] = [];
const numberOf = (a: Artifact, kernel: string): number => {
  if (!artifacts.includes(a)) artifacts.push(a);
  let n = 0;
  for (const x of artifacts) {
    if (x === a) return n + a.manifest.launches!.findIndex((l) => l.name === kernel);
    n += x.manifest.launches!.length;
  }
  throw new Error(`no kernel ${kernel}`);
};

// ---- checks: a job as for the shim, then the expected bytes and the tolerance in millionths ----

const checks: Buffer[] = [];
const calls = [...(await Promise.all(formatNames.map(formatCalls))).flat(), ...layerCalls()];
for (const c of calls) {
  const { artifact } = await compile({ ...c.request, target: 'cuda' });
  const plan = planOf({ name: c.name, artifact, inputs: c.inputs }, (k) => numberOf(artifact, k));
  const want = (await interpret(c.request, c.inputs)).results;
  checks.push(plan.bytes, words([want.length]));
  for (const w of want) {
    const bytes = pack(w.dtype, w.shape, w.data);
    checks.push(
      words([bytes.length, w.dtype === 'f32' ? 1 : 0, Math.round(c.tolerance * 1e6)]),
      Buffer.from(bytes),
    );
  }
}

// ---- timings: sizes only; the driver fills the buffers ----

const timings: Buffer[] = [];
let count = 0;
const own = '/gpu/kernels.ts';
const halves = `import { decode, matmul, transpose } from 'quern';
export function halves<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f16, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
`;
const host = {
  readFile: (path: string): string => (path === own ? halves : readFileSync(path, 'utf8')),
};

/** Writes down a call; `shape` is that of a contraction, zeros for anything else. */
async function timing(
  label: string,
  request: Omit<CompileRequest, 'target'>,
  size: (dim: string) => number,
  shape: readonly number[],
): Promise<void> {
  const { artifact } = await compile({ ...request, target: 'cuda' }, host);
  const { manifest } = artifact;
  const dims = manifest.dims.map(size);
  const value = (code: Parameters<typeof compilePoly>[0]): number =>
    compilePoly(code, manifest.dims)(dims);
  const textOf = (a: Artifact): string => new TextDecoder().decode(a.code);
  const known = artifacts.find((a) => textOf(a) === textOf(artifact)) ?? artifact;
  const name = Buffer.from(label);
  const launches = manifest.launches!.filter((l) => l.when.every((w) => value(w) > 0));
  timings.push(words([name.length]), name, words(shape), words([manifest.buffers.length]));
  for (const b of manifest.buffers) {
    const given = b.role === 'const' ? Buffer.from(artifact.constants[b.name]!) : undefined;
    const kind = b.dtype === 'f32' ? 1 : b.dtype === 'f16' ? 2 : 0;
    timings.push(words([value(b.bytes), kind, given ? 1 : 0, b.role === 'temp' ? 1 : 0]));
    if (given) timings.push(given);
  }
  timings.push(words([launches.length]));
  for (const l of launches)
    timings.push(
      words([
        numberOf(known, l.name),
        value(l.grid[0]),
        l.block[0],
        l.buffers.length,
        ...l.buffers,
        l.dims.length,
        ...l.dims.map(size),
      ]),
    );
  count += 1;
}

for (const format of ['q4_0', 'q8_0', 'nf4', 'mxfp4']) {
  const formats = [{ file: 'quern/formats', name: format }];
  for (const [N, K] of [
    [4096, 4096],
    [14336, 4096],
    [8192, 28672],
  ] as const) {
    const of = (M: number) => (dim: string) => ({ M, N, K })[dim]!;
    for (const M of [1, 4, 8]) {
      const label = `${format} M=${M} ${N}x${K}`;
      await timing(label, { file: layers, name: 'linear', formats }, of(M), [M, N, K]);
    }
    for (const M of [1, 8, 16, 64, 512, 4096]) {
      const label = `${format} f16 M=${M} ${N}x${K}`;
      await timing(label, { file: own, name: 'halves', formats }, of(M), [M, N, K]);
    }
  }
  const encode = { file: 'quern/formats', name: `${format}.encode` };
  await timing(`${format}.encode`, encode, () => 8192, [0, 0, 0]);
}

mkdirSync(folder, { recursive: true });
const texts = artifacts.map((a, i) => {
  let text = new TextDecoder().decode(a.code);
  for (const l of a.manifest.launches!) text = text.replace(` ${l.name}(\n`, ` c${i}_${l.name}(\n`);
  return `namespace n${i} {\n${text}}`;
});
const rows = artifacts.flatMap((a, i) =>
  a.manifest.launches!.map((l) => `  (const void*)n${i}::c${i}_${l.name},`),
);
writeFileSync(
  join(folder, 'kernels.inc'),
  `${texts.join('\n')}\nstatic const void* const table[] = {\n${rows.join('\n')}\n};\n`,
);
writeFileSync(join(folder, 'checks.bin'), Buffer.concat([words([calls.length]), ...checks]));
writeFileSync(join(folder, 'timings.bin'), Buffer.concat([words([count]), ...timings]));
copyFileSync(new URL('./run.cu', import.meta.url).pathname, join(folder, 'run.cu'));
console.log(`${folder}: ${calls.length} checks, ${count} timings, ${rows.length} kernels`);
