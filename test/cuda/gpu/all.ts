// Everything that wants a real GPU, in one go: conformance of every case, the loss of the sample model, and timings of
// contractions and encoders as shares of the bandwidth of a copy measured in the same run. Needs Node, koffi, the driver,
// and NVRTC or nvcc; gives 1 when something is wrong. (run.cu, which make.ts prepares, has cuBLAS beside the contractions.)
//   node --import ./scripts/typescript.js test/cuda/gpu/all.ts [--quick]
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ArgInfo, Artifact, TensorInfo } from '../../../compiler/artifact.ts';
import { compile, type HostArray } from '../../../compiler/index.ts';
import { CudaDevice } from '../../../runtime/devices/cuda.ts';
import type { DeviceBuffer } from '../../../runtime/devices/device.ts';
import { device as named } from '../../../runtime/devices/index.ts';
import { evaluateText } from '../../../runtime/models/evaluate.ts';
import { loadLlama } from '../../../runtime/models/llama.ts';
import { pack, unpack } from '../../../runtime/pack.ts';
import { compilePoly, DimSolver } from '../../../runtime/poly.ts';
import { type Case, hostOf, requestOf, sourceOf } from '../../conformance/case.ts';
import { controlCases } from '../../conformance/control.ts';
import { elementwiseCases } from '../../conformance/elementwise.ts';
import { matmulCases, reductionCases } from '../../conformance/reductions.ts';
import { compareCalls } from '../../conformance/suite.ts';
import { viewCases } from '../../conformance/views.ts';
import { sampleModel } from '../../models/tiny.ts';

const quick = process.argv.includes('--quick');
const opened = await named('cuda');
if (!(opened instanceof CudaDevice)) throw new Error('device("cuda") is something else');
const gpu = opened;
const target = {
  target: 'cuda',
  ...(gpu.target.preset ? { preset: gpu.target.preset } : {}),
} as const;
console.log(gpu.name);

const tensors = (args: readonly ArgInfo[]): (TensorInfo & { kind: 'tensor' })[] =>
  args.flatMap((a) =>
    a.kind === 'tensor' ? [a] : a.fields.map((f) => ({ ...f, kind: 'tensor' as const })),
  );

/** A call with logical values. */
async function call(artifact: Artifact, inputs: readonly HostArray[]): Promise<HostArray[]> {
  const { manifest } = artifact;
  const dims: number[] = [];
  new DimSolver(manifest, tensors(manifest.params)).solve(
    inputs.map((x) => x.shape),
    dims,
  );
  const upload = ({ dtype, shape, data }: HostArray): DeviceBuffer => {
    const bytes = pack(dtype, shape, data);
    const b = gpu.allocate(bytes.length);
    gpu.write(b, 0, bytes);
    return b;
  };
  const params = inputs.map(upload);
  const made = await (await gpu.load(artifact)).run(params, dims);
  const results = tensors(manifest.results).map(async ({ dtype, shape }, i) => {
    const size = shape.map((code) => compilePoly(code, manifest.dims)(dims));
    const bytes = await gpu.read(made[i]!, 0, made[i]!.bytes);
    return { dtype, shape: size, data: unpack(dtype, size, bytes) as HostArray['data'] };
  });
  const all = await Promise.all(results);
  for (const b of [...params, ...made]) gpu.free(b);
  return all;
}

async function conformance(): Promise<number> {
  const lists = [elementwiseCases, reductionCases, matmulCases, viewCases, controlCases];
  const cases: readonly Case[] = lists.flatMap((l) => (quick ? l.slice(0, 2) : l));
  let wrong = 0;
  for (const c of cases) {
    try {
      const { artifact } = await compile(
        { ...requestOf('kernel'), ...target },
        hostOf(sourceOf(c)),
      );
      let next = 0;
      await compareCalls(c, sourceOf(c), () => call(artifact, c.calls[next++]!));
    } catch (e) {
      wrong += 1;
      console.log(`WRONG ${c.name}: ${(e as Error).message}`);
    }
  }
  console.log(
    `conformance: ${cases.length - wrong} of ${cases.length} cases agree with the interpreter`,
  );
  return wrong;
}

async function evaluation(): Promise<number> {
  const model = await loadLlama(sampleModel, { device: 'cuda' });
  const text = readFileSync(join(sampleModel, 'kjv.txt'), 'utf8');
  const { loss, windows } = await evaluateText(model, text, quick ? { limit: 1 } : {});
  model.dispose();
  // 2.743 over all windows, 3.0437 in the first one: what its authors recorded.
  const want = quick ? 3.0437 : 2.743;
  console.log(`eval: loss ${loss.toFixed(4)} over ${windows} windows, recorded ${want}`);
  return Math.abs(loss - want) < 0.001 ? 0 : 1;
}

// ---- timings ----

/** Best milliseconds of one of `count` calls. */
async function best(count: number, body: (i: number) => void): Promise<number> {
  let least = Infinity;
  for (let round = 0; round < 4; round += 1) {
    const { milliseconds } = await gpu.time(() => {
      for (let i = 0; i < count; i += 1) body(i);
    });
    least = Math.min(least, milliseconds / count);
  }
  return least;
}

async function copyBandwidth(): Promise<number> {
  const bytes = quick ? 2 ** 16 : 2 ** 29;
  const [from, to] = [gpu.allocate(bytes), gpu.allocate(bytes)];
  const ms = await best(10, () => gpu.copy(from, 0, to, 0, bytes));
  for (const b of [from, to]) gpu.free(b);
  return (2 * bytes) / ms / 1e6;
}

/** Times a kernel on buffers of any content, in copies enough that none is found in the cache. */
async function time(
  name: string,
  request: Parameters<typeof compile>[0],
  sizes: Readonly<Record<string, number>>,
  copy: number,
  flops: number,
): Promise<void> {
  const { artifact } = await compile(request, halvesHost);
  const { manifest } = artifact;
  const dims = manifest.dims.map((d) => sizes[d]!);
  const bytes = manifest.buffers.map((b) => compilePoly(b.bytes, manifest.dims)(dims));
  const moved = manifest.buffers.reduce(
    (sum, b, i) => sum + (b.role === 'param' || b.role === 'result' ? bytes[i]! : 0),
    0,
  );
  const run = await gpu.load(artifact);
  const copies = quick ? 1 : Math.ceil(2 ** 28 / moved) + 1;
  const zeros = new Uint8Array(2 ** 20);
  const sets = Array.from({ length: copies }, () =>
    manifest.buffers.flatMap((b, i) => {
      if (b.role !== 'param') return [];
      const made = gpu.allocate(bytes[i]!);
      for (let at = 0; at < bytes[i]!; at += zeros.length)
        gpu.write(made, at, zeros.subarray(0, Math.min(zeros.length, bytes[i]! - at)));
      return [made];
    }),
  );
  const ms = await best(2 * copies, (i) => {
    const made = run.run(sets[i % copies]!, dims) as readonly DeviceBuffer[];
    for (const b of made) gpu.free(b);
  });
  for (const b of sets.flat()) gpu.free(b);
  const rate = moved / ms / 1e6;
  const work = flops ? `${(flops / ms / 1e9).toFixed(2).padStart(8)} TFLOP/s` : '';
  const share = `${((100 * rate) / copy).toFixed(1).padStart(6)} % of copy`;
  console.log(`${name.padEnd(30)} ${(1e3 * ms).toFixed(1).padStart(9)} us ${share} ${work}`);
}

const halvesFile = '/gpu/kernels.ts';
const halves = `import { decode, matmul, transpose } from 'quern';
export function halves<F extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Tensor<f16, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(x, transpose(decode(w)));
}
`;
const halvesHost = {
  readFile: (path: string): string => (path === halvesFile ? halves : readFileSync(path, 'utf8')),
};

async function timings(): Promise<void> {
  const copy = await copyBandwidth();
  console.log(`copy: ${copy.toFixed(0)} GB/s`);
  const layers = new URL('../../../ops/llama.ts', import.meta.url).pathname;
  const shapes: readonly (readonly [number, number])[] = quick
    ? [[64, 64]]
    : [
        [4096, 4096],
        [14336, 4096],
        [8192, 28672],
      ];
  const rows = quick ? [1, 16] : [1, 4, 8, 16, 64, 512, 4096];
  for (const format of quick ? ['q4_0'] : ['q4_0', 'q8_0', 'nf4', 'mxfp4']) {
    const ref = { file: 'quern/formats', name: format };
    for (const [N, K] of shapes)
      for (const M of rows) {
        const request = { file: layers, name: 'linear', formats: [ref], ...target };
        const flops = 2 * M * N * K;
        await time(`${format} M=${M} ${N}x${K}`, request, { M, N, K }, copy, flops);
        const own = { file: halvesFile, name: 'halves', formats: [ref], ...target };
        await time(`${format} f16 M=${M} ${N}x${K}`, own, { M, N, K }, copy, flops);
      }
    const encode = { file: 'quern/formats', name: `${format}.encode`, ...target };
    const { artifact } = await compile(encode);
    const size = quick ? 64 : 8192;
    const sizes = Object.fromEntries(artifact.manifest.dims.map((d) => [d, size]));
    await time(`${format}.encode`, encode, sizes, copy, 0);
  }
}

const wrong = (await conformance()) + (await evaluation());
await timings();
process.exit(wrong ? 1 : 0);
