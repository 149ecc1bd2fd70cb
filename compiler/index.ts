// The compiler's entry: what the runtime loads when a kernel is in no cache, and what the command line calls.
import type { Backend, Emitted } from '../backends/backend.ts';
import type {
  ArgInfo,
  Artifact,
  BufferInfo,
  FieldInfo,
  FormatRef,
  LaunchInfo,
  Manifest,
  PackedInfo,
  Target,
  TensorInfo,
  ThreadsInfo,
} from './artifact.ts';
import {
  CompileError,
  diagnostic,
  noSpan,
  RuleError,
  type Span,
} from './diagnostics/diagnostic.ts';
import { formatParams, readAnnotation } from './frontend/annotations.ts';
import { type StageRequest, stage } from './frontend/entry.ts';
import { type Field, fieldsOf, takesWeights } from './frontend/formats.ts';
import {
  type Dependency,
  nodeHost,
  resolveEntry,
  SourceFiles,
  type SourceHost,
} from './frontend/modules.ts';
import { ProgramFiles } from './frontend/program.ts';
import type { Staged } from './frontend/signatures.ts';
import { type FormatVal, is } from './frontend/values.ts';
import { interpret as run } from './interpreter/interpret.ts';
import type { Dim } from './ir/algebra.ts';
import { type Poly, shapeText } from './ir/algebra.ts';
import { type DType, dtypes } from './ir/dtype.ts';
import type { Signature } from './ir/ir.ts';
import { polyCode } from './ir/poly-code.ts';
import type { Limits } from './limits.ts';
import type { Figures } from './loops/figures.ts';
import { liveRanges } from './loops/live.ts';
import type { Buffer, PackedSource, Program } from './loops/loops.ts';
import { sharedWork } from './loops/work.ts';
import { generate, optimize, type Stage, Trace } from './pipeline.ts';
import type { Residence } from './schedule/lower.ts';
import { packingText } from './schedule/packing.ts';
import { repackProgram } from './schedule/repack.ts';
import { compilerVersion } from './version.ts';

export type { Dependency, SourceHost } from './frontend/modules.ts';
export { compilerVersion };

export interface CompileRequest extends StageRequest {
  readonly target: Target;
  /** Limits by a name of the backend's; its own by default. */
  readonly preset?: string;
  readonly limits?: Partial<Limits>;
  /** Make the variant for several threads too, where the target has one. */
  readonly threads?: boolean;
  /** Weights come in a layout of the kernel's own, where it has one for them: see Artifact.packed. */
  readonly resident?: Exclude<Residence, 'none'>;
  /** Params that callers give up, by position: results are made where they lie. See Manifest.reuses. */
  readonly gives?: readonly number[];
  /** Keep the text of every stage. */
  readonly trace?: boolean;
  /** Values of dims: figures of the kernels at these sizes, of targets that launch kernels one by one. */
  readonly sizes?: { readonly [dim: string]: number };
}

export interface CompileResult {
  readonly artifact: Artifact;
  readonly dependencies: readonly Dependency[];
  readonly stages: readonly Stage[];
  /** Where sizes were given. */
  readonly figures?: readonly Figures[];
}

/** Logical values: one entry an element. */
export interface HostArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint32Array | Uint8Array;
}

const backends: Readonly<Record<CompileRequest['target'], () => Promise<Backend>>> = {
  wasm: async () => (await import('../backends/wasm/index.ts')).wasmBackend,
  wgsl: async () => (await import('../backends/wgsl/index.ts')).wgslBackend,
  gpujs: async () => (await import('../backends/gpujs/index.ts')).gpujsBackend,
  cuda: async () => (await import('../backends/cuda/index.ts')).cudaBackend,
};

/** Whatever goes wrong inside of the compiler is reported as its fault, not the author's. */
function asFault(e: unknown, file: string): CompileError {
  if (e instanceof CompileError) return e;
  const place = { file: resolveEntry(file), start: 0, end: 0 };
  if (e instanceof RangeError && /call stack/i.test(e.message)) {
    const hint =
      'The kernel unrolls into a very long chain; `for (const i of range(n))` loops when it runs.';
    return new CompileError(
      [diagnostic('Q1006', place, { limit: 'the nesting depth', hint })],
      undefined,
      e,
    );
  }
  const detail = e instanceof RuleError ? `${e.code} ${JSON.stringify(e.facts)}` : String(e);
  return new CompileError([diagnostic('Q9001', place, { detail })], undefined, e);
}

function guarded<T>(file: string, body: () => T): T {
  try {
    return body();
  } catch (e) {
    throw asFault(e, file);
  }
}

/** Compiles an export of a kernel file. Throws CompileError with every problem found. */
export async function compile(
  request: CompileRequest,
  host: SourceHost = nodeHost,
): Promise<CompileResult> {
  try {
    return await compileUnguarded(request, host);
  } catch (e) {
    throw asFault(e, request.file);
  }
}

async function compileUnguarded(request: CompileRequest, host: SourceHost): Promise<CompileResult> {
  const files = new SourceFiles(host);
  const staged = stage(files, request);
  const backend = await backends[request.target]();
  const limits: Limits = { ...presetOf(backend, request.preset), ...request.limits };
  const trace = new Trace(request.trace ?? false);
  const func = optimize(staged.func, trace, limits);
  const { program, code, threads, launches } = await generate(
    func,
    backend,
    limits,
    trace,
    { threads: request.threads ?? false, line: (span) => lineOf(files, span) },
    request.resident ?? 'none',
    request.gives ?? [],
  );
  const kernels = program.kernels.map((k) => ({ name: k.name, schedule: k.schedule }));
  const sync = threads && { work: polyCode(sharedWork(program)), ...threads.sync };
  const manifest = manifestOf(
    { ...staged, func },
    request.target,
    buffersOf(program),
    kernels,
    sync,
  );
  const constants = await constantsOf(manifest, program);
  const variants = threads ? { variants: { threads: threads.code } } : {};
  const reused = program.reuses ? { ...manifest, reuses: program.reuses } : manifest;
  const launched = launches ? { ...reused, launches } : reused;
  const options = { threads: request.threads ?? false, isClosed: true };
  const packed = await packedOf(manifest, program, (p) => backend.emit(p, limits, options));
  const { sizes } = request;
  const figures = sizes && launches ? await figuresAt(program, launches, sizes, trace) : undefined;
  return {
    ...(figures ? { figures } : {}),
    artifact: {
      manifest: launched,
      code,
      constants,
      ...variants,
      ...(packed.length ? { packed } : {}),
    },
    dependencies: files.dependencies(),
    stages: trace.stages,
  };
}

/** What buffers of constants hold, as it is stored. */
async function constantsOf(manifest: Manifest, program: Program): Promise<Artifact['constants']> {
  const { encodeConstant } = await import('./constants.ts');
  const out: Record<string, Uint8Array> = {};
  manifest.buffers.forEach((b, i) => {
    if (b.role === 'const') out[b.name] = encodeConstant(b.dtype, program.buffers[i]!.data ?? []);
  });
  return out;
}

async function figuresAt(
  program: Program,
  launches: readonly LaunchInfo[],
  sizes: { readonly [dim: string]: number },
  trace: Trace,
): Promise<readonly Figures[]> {
  const { figuresOf, figuresText } = await import('./loops/figures.ts');
  const all = Object.fromEntries(program.dims.map((d) => [d, sizes[d] ?? 1024]));
  const figures = figuresOf(program, launches, all);
  const at = Object.entries(all).map(([d, n]) => `${d} = ${n}`);
  trace.add('figures', () => `# at ${at.join(', ')}\n${figuresText(figures)}`);
  return figures;
}

/** The programs that bring params into layouts of the kernel's own. */
async function packedOf(
  manifest: Manifest,
  program: Program,
  emit: (p: Program) => Promise<Emitted>,
): Promise<readonly PackedInfo[]> {
  const out: PackedInfo[] = [];
  const callers = program.buffers.filter(isCallers);
  for (const [i, { name, packed }] of callers.entries()) {
    if (!packed) continue;
    const p = repackProgram(`repack ${name}`, program.dims, packed);
    const { code, threads } = await emit(p);
    const sync = threads && { work: polyCode(sharedWork(p)), ...threads.sync };
    const { version, target, compiler, dims } = manifest;
    const info: Manifest = {
      version,
      name: p.name,
      target,
      compiler,
      dims,
      params: [],
      results: [],
      returns: 'value',
      constraints: [],
      buffers: buffersOf(p),
      kernels: p.kernels.map((k) => ({ name: k.name, schedule: k.schedule })),
      ...(sync ? { threads: sync } : {}),
    };
    const indexOf = (f: PackedSource): number => program.buffers.indexOf(f.buffer);
    const normal = packed.filter((f) => f.dtype === 'f16' && f.layout === 'rows').map(indexOf);
    out.push({
      buffer: i,
      sources: packed.map(indexOf),
      layout: packed.map(layoutText).join(', '),
      ...(normal.length ? { normal } : {}),
      repack: {
        manifest: info,
        code,
        constants: {},
        ...(threads ? { variants: { threads: threads.code } } : {}),
      },
    });
  }
  return out;
}

const layoutText = ({ layout, dtype, bias, packing, derived }: PackedSource): string =>
  `${layout} ${dtype}${layout === 'tile' ? ` + ${bias} in ${packingText(packing)}` : ''}${derived ? ` ${derived.stored} ${derived.text}` : ''}`;

const bufferInfo = (
  b: Buffer & { readonly role: BufferInfo['role'] },
  live?: BufferInfo['live'],
): BufferInfo => ({
  name: b.name,
  role: b.role,
  dtype: b.dtype,
  bytes: polyCode(bytesOf(b)),
  ...(b.private ? { private: true } : {}),
  ...(live ? { live } : {}),
});

/** Buffers that the caller makes. */
function buffersOf(program: Program): readonly BufferInfo[] {
  const live = liveRanges(program);
  return program.buffers.filter(isCallers).map((b) => bufferInfo(b, live.get(b.id)));
}

/** The line that a span begins on, with the name of its file. */
function lineOf(files: SourceFiles, span: Span): string | undefined {
  const text = files.text(span.file);
  if (text === undefined) return undefined;
  const before = text.slice(0, span.start).split('\n');
  const line = text.split('\n')[before.length - 1]!.trim();
  return `${span.file.split(/[\\/]/).at(-1)}:${before.length}: ${line}`;
}

function presetOf({ name, limits, presets = {} }: Backend, preset: string | undefined): Limits {
  if (preset === undefined) return limits;
  const known = Object.keys(presets).join(', ') || 'none';
  if (presets[preset]) return presets[preset];
  throw new CompileError([diagnostic('Q4003', noSpan, { target: name, preset, known })]);
}

/** Runs an export on the interpreter: the reference device. */
export async function interpret(
  request: Omit<CompileRequest, 'target'>,
  inputs: readonly HostArray[],
  host: SourceHost = nodeHost,
): Promise<{ manifest: Manifest; results: readonly HostArray[] }> {
  const staged = guarded(request.file, () => stage(new SourceFiles(host), request));
  const results = run(
    staged.func,
    inputs.map((x) => ({ ...x, shape: [...x.shape] })),
  );
  return { manifest: manifestOf(staged, 'reference', [], []), results: results as HostArray[] };
}

/** The manifest of an export without generating code: what a call looks like. */
export function signature(
  request: Omit<CompileRequest, 'target'>,
  host: SourceHost = nodeHost,
): Manifest {
  return guarded(request.file, () =>
    manifestOf(stage(new SourceFiles(host), request), 'none', [], []),
  );
}

const tensorInfo = (name: string, dtype: DType, shape: readonly Dim[]): TensorInfo => ({
  name,
  dtype,
  shape: shape.map(polyCode),
  text: shapeText(shape),
});

function argInfo(s: Signature, fields: ReadonlyMap<string, readonly Field[]>): ArgInfo {
  if (s.kind === 'tensor') {
    const { dtype, shape } = s.values[0].type;
    return { kind: 'tensor', ...tensorInfo(s.name, dtype, shape) };
  }
  const format = JSON.parse(s.format) as FormatRef;
  const known = fields.get(JSON.stringify([format.file, format.name, format.args ?? []])) ?? [];
  return {
    kind: 'encoded',
    name: s.name,
    format,
    shape: s.shape.map(polyCode),
    text: shapeText(s.shape),
    fields: s.fields.map(
      (name, i): FieldInfo => ({
        ...tensorInfo(name, s.values[i]!.type.dtype, s.values[i]!.type.shape),
        level: known.find((f) => f.name === name)?.level ?? 'block',
      }),
    ),
  };
}

function manifestOf(
  staged: Staged,
  target: string,
  buffers: readonly BufferInfo[],
  kernels: Manifest['kernels'],
  sync?: ThreadsInfo,
): Manifest {
  const { func, fields } = staged;
  const used = new Set<string>();
  const unique = (name: string): string => {
    let n = name;
    for (let i = 1; used.has(n); i += 1) n = `${name}.${i}`;
    used.add(n);
    return n;
  };
  return {
    version: 1,
    name: func.name,
    target,
    compiler: compilerVersion,
    dims: func.dims,
    params: func.params.map((p) => argInfo(p, fields)),
    results: func.results.map((r) => {
      const rows = staged.lengths.get(r.name);
      return { ...argInfo(r, fields), ...(rows === undefined ? {} : { rows }) };
    }),
    returns: staged.returns,
    constraints: func.constraints.map((c) => ({
      poly: polyCode(c.poly),
      modulus: c.modulus,
      text: `${c.poly}`,
      reason: c.reason,
    })),
    buffers: buffers.map((b) => ({ ...b, name: unique(b.name) })),
    kernels,
    ...(sync ? { threads: sync } : {}),
  };
}

/** Memory within a kernel is none of the caller's. */
const isCallers = (b: Buffer): b is Buffer & { readonly role: BufferInfo['role'] } =>
  b.role !== 'group' && b.role !== 'thread';

const bytesOf = (b: Buffer): Poly => {
  const bits = b.size.mul(dtypes[b.dtype].bits);
  return bits.over(8) ?? bits;
};

export interface ParamInfo {
  readonly name: string;
  /** 'format': no operand of the kernel, but the format that a type parameter stands for. */
  readonly kind: 'tensor' | 'encoded' | 'format' | 'static';
  readonly text: string;
  readonly optional: boolean;
  /** Index of the type parameter that gives the format. */
  readonly formatParam?: number;
  /** The type leaves the dtype or the dims to the caller: only other kernels can call the function. */
  readonly open?: true;
}
export type ExportInfo =
  | {
      readonly name: string;
      readonly kind: 'kernel';
      readonly params: readonly ParamInfo[];
      readonly formatParams: readonly string[];
    }
  | {
      readonly name: string;
      readonly kind: 'format';
      readonly block: readonly number[];
      readonly hasLayout: boolean;
      /** Whether encode uses importance weights. */
      readonly takesWeights: boolean;
      readonly fields: readonly FieldInfo[];
    }
  | { readonly name: string; readonly kind: 'other' };
export interface ModuleInfo {
  readonly exports: readonly ExportInfo[];
  readonly dependencies: readonly Dependency[];
}

/** The fields of a format, or every problem met while staging its functions. */
function fieldsOrThrow(program: ProgramFiles, format: FormatVal): readonly Field[] {
  try {
    return fieldsOf(program.stager, format);
  } catch (e) {
    program.ctx.record(e);
    throw program.ctx.collected();
  }
}

/** What a kernel file exports. Throws CompileError when it cannot be evaluated. */
export const describe = (file: string, host: SourceHost = nodeHost): ModuleInfo =>
  guarded(file, () => describeUnguarded(file, host));

function describeUnguarded(file: string, host: SourceHost): ModuleInfo {
  const files = new SourceFiles(host);
  const program = new ProgramFiles(files);
  const path = resolveEntry(file);
  program.load(path);
  program.throwCollected();
  const exports = program.exportNames(path).map((name): ExportInfo => {
    const v = program.export(path, name);
    if (is(v, 'format')) {
      const fields = fieldsOrThrow(program, v).map((f) => ({
        ...tensorInfo(f.name, f.dtype, f.shape),
        level: f.level,
      }));
      return {
        name,
        kind: 'format',
        block: v.block,
        hasLayout: v.pack !== undefined,
        takesWeights: takesWeights(v),
        fields,
      };
    }
    if (!is(v, 'closure')) return { name, kind: 'other' };
    const formats = formatParams(v.node);
    const params = v.node.parameters.map((p): ParamInfo => {
      const a = readAnnotation(p.type);
      const takesFormat = a.kind === 'format' || (a.kind === 'encoded' && !a.constant);
      const i = takesFormat ? formats.indexOf(a.format ?? '') : -1;
      const isOpen =
        (a.kind === 'tensor' && !(a.dtype && a.shape)) || (a.kind === 'encoded' && !a.shape);
      return {
        name: p.name.getText(),
        kind: a.kind,
        text: p.type?.getText() ?? 'unknown',
        optional: p.initializer !== undefined || p.questionToken !== undefined,
        ...(i >= 0 ? { formatParam: i } : {}),
        ...(isOpen ? { open: true } : {}),
      };
    });
    return params.some((p) => p.kind === 'tensor' || p.kind === 'encoded')
      ? { name, kind: 'kernel', params, formatParams: formats }
      : { name, kind: 'other' };
  });
  return { exports, dependencies: files.dependencies() };
}
