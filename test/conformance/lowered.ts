// Functions of tensor IR as loop IR programs: the artifact of one for a runner, and its results by the evaluator,
// which throws at any access outside of a buffer.
import type { Backend } from '../../backends/backend.ts';
import type { Artifact, BufferInfo } from '../../compiler/artifact.ts';
import { encodeConstant } from '../../compiler/constants.ts';
import type { HostArray } from '../../compiler/index.ts';
import { type Dim, shapeText } from '../../compiler/ir/algebra.ts';
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Func, Value } from '../../compiler/ir/ir.ts';
import { polyCode } from '../../compiler/ir/poly-code.ts';
import type { Limits } from '../../compiler/limits.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import type { Buffer, Program } from '../../compiler/loops/loops.ts';
import { verifyProgram } from '../../compiler/loops/verifier.ts';
import { Trace, optimize } from '../../compiler/pipeline.ts';
import { lower } from '../../compiler/schedule/lower.ts';
import { solveDims } from '../../compiler/interpreter/interpret.ts';
import { pack, unpack } from '../../runtime/pack.ts';

export interface Lowered {
  readonly func: Func;
  readonly program: Program;
}

/** Runs the passes and the lowering; the loop IR must be well formed. */
export function lowered(source: Func, limits: Limits): Lowered {
  const func = optimize(source, new Trace(false), limits);
  const program = lower(func, limits);
  const problems = verifyProgram(program);
  if (problems.length > 0) throw new Error(`malformed loop IR: ${problems.join('; ')}`);
  return { func, program };
}

/** As compile() makes it, with one plain tensor a value. */
export async function artifactOf(made: Lowered, backend: Backend): Promise<Artifact> {
  const { func } = made;
  const emitted = await backend.emit(made.program, backend.limits);
  const { code, launches, program = made.program } = emitted;
  const constants: Record<string, Uint8Array> = {};
  const tensor = (v: Value, i: number) => {
    const { dtype, shape } = v.type;
    return {
      kind: 'tensor' as const,
      name: `v${i}`,
      dtype,
      shape: shape.map(polyCode),
      text: shapeText(shape),
    };
  };
  const manifest = {
    version: 1 as const,
    name: func.name,
    target: backend.name,
    compiler: '',
    dims: func.dims,
    params: func.body.params.map(tensor),
    results: func.body.yields.map(tensor),
    constraints: [],
    buffers: program.buffers.filter(isCallers).map((b) => {
      if (b.role === 'const') constants[`b${b.id}`] = encodeConstant(b.dtype, b.data!);
      return {
        name: `b${b.id}`,
        role: b.role as BufferInfo['role'],
        dtype: b.dtype,
        bytes: polyCode(bytesOf(b.size, dtypes[b.dtype].bits)),
      };
    }),
    kernels: [],
    returns: 'tuple' as const,
    ...(launches ? { launches } : {}),
  };
  return { manifest, code, constants };
}

/** Memory within a kernel is none of the caller's. */
const isCallers = (b: Buffer): boolean => b.role !== 'group' && b.role !== 'thread';

const bytesOf = (size: Dim, bits: number): Dim => size.mul(bits).over(8)!;

export function evaluated({ func, program }: Lowered, inputs: readonly HostArray[]): HostArray[] {
  const known = solveDims(
    func,
    inputs.map((x) => x.shape),
  );
  const dims = Object.fromEntries(known);
  const size = (d: Dim): number => d.evaluate((a) => dims[a.key]!);
  let param = 0;
  const buffers = program.buffers.map((b) => {
    if (b.role === 'const') return encodeConstant(b.dtype, b.data!);
    if (b.role !== 'param')
      return new Uint8Array((size(b.size) * dtypes[b.dtype].bits) / 8).fill(0xa5);
    const { dtype, shape, data } = inputs[param++]!;
    return pack(dtype, shape, data);
  });
  evaluate(program, dims, buffers);
  return program.buffers.flatMap((b, i) => {
    if (b.role !== 'result') return [];
    const { dtype, shape } = func.body.yields[i - inputs.length]!.type;
    const sizes = shape.map(size);
    return [{ dtype, shape: sizes, data: unpack(dtype, sizes, buffers[i]!) as HostArray['data'] }];
  });
}
