// A kernel on resident weights in the bounds-checked evaluator of loop IR: fields are repacked as the runtime does it,
// then the kernel reads the layouts that it asked for.
import { wasmBackend } from '../../backends/wasm/index.ts';
import { encodeConstant } from '../../compiler/constants.ts';
import { stage } from '../../compiler/frontend/entry.ts';
import { nodeHost, SourceFiles, type SourceHost } from '../../compiler/frontend/modules.ts';
import type { HostArray } from '../../compiler/index.ts';
import { solveDims } from '../../compiler/interpreter/interpret.ts';
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Dim } from '../../compiler/ir/algebra.ts';
import type { Limits } from '../../compiler/limits.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import type { Program } from '../../compiler/loops/loops.ts';
import { verifyProgram } from '../../compiler/loops/verifier.ts';
import { optimize, Trace } from '../../compiler/pipeline.ts';
import { lower, type Residence } from '../../compiler/schedule/lower.ts';
import { repackProgram } from '../../compiler/schedule/repack.ts';
import { pack, unpack } from '../../runtime/pack.ts';

export interface ResidentKernel {
  readonly program: Program;
  readonly notes: readonly string[];
  /** Inputs are logical values, encoded params as their fields. */
  run(inputs: readonly HostArray[]): HostArray;
  /** All results of the kernel. */
  results(inputs: readonly HostArray[]): readonly HostArray[];
  /** Inputs in storage, as the kernel reads them: those it asked for are repacked. */
  storage(inputs: readonly HostArray[]): readonly Uint8Array[];
}

export function residentKernel(
  request: Parameters<typeof stage>[1],
  simd: Pick<Limits, 'relaxed' | 'unsignedDot'>,
  residence: Residence = 'compact',
  host: SourceHost = nodeHost,
): ResidentKernel {
  const func = optimize(stage(new SourceFiles(host), request).func, new Trace(false));
  const notes: string[] = [];
  const limits = { ...wasmBackend.limits, ...simd };
  const program = lower(func, limits, (text) => notes.push(text), residence);
  const problems = verifyProgram(program);
  if (problems.length > 0) throw new Error(`malformed loop IR: ${problems.join('; ')}`);

  const dimsOf = (inputs: readonly HostArray[]): Record<string, number> =>
    Object.fromEntries(
      solveDims(
        func,
        inputs.map((x) => x.shape),
      ),
    );
  const sizeOf =
    (dims: Record<string, number>) =>
    (d: Dim): number =>
      d.evaluate((a) => dims[a.key]!);
  const storage = (inputs: readonly HostArray[]): readonly Uint8Array[] => {
    const dims = dimsOf(inputs);
    const size = sizeOf(dims);
    return program.buffers.map((b, i) => {
      if (b.role === 'const') return encodeConstant(b.dtype, b.data!);
      const bytes = (size(b.size) * dtypes[b.dtype].bits) / 8;
      if (b.role !== 'param') return new Uint8Array(bytes).fill(0xa5);
      const logical = (at: number): Uint8Array => {
        const { dtype, shape, data } = inputs[at]!;
        return pack(dtype, shape, data);
      };
      if (!b.packed) return logical(i);
      const p = repackProgram('repack', program.dims, b.packed);
      const wrong = verifyProgram(p);
      if (wrong.length > 0) throw new Error(`malformed loop IR: ${wrong.join('; ')}`);
      const out = new Uint8Array(bytes).fill(0xa5);
      const sources = b.packed.map((f) => logical(program.buffers.indexOf(f.buffer)));
      evaluate(p, dims, [...sources, out]);
      return out;
    });
  };
  const results = (inputs: readonly HostArray[]): readonly HostArray[] => {
    const dims = dimsOf(inputs);
    const buffers = storage(inputs);
    evaluate(program, dims, buffers);
    const at = program.buffers.flatMap((b, i) => (b.role === 'result' ? [i] : []));
    return at.map((i, r) => {
      const { dtype, shape } = func.body.yields[r]!.type;
      const sizes = shape.map(sizeOf(dims));
      return { dtype, shape: sizes, data: unpack(dtype, sizes, buffers[i]!) as HostArray['data'] };
    });
  };
  return { program, notes, storage, results, run: (inputs) => results(inputs)[0]! };
}
