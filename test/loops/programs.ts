// Builds small loop IR programs for tests, and runs them on the wasm backend between guard bytes.
import { wasmBackend } from '../../backends/wasm/index.ts';
import { encodeConstant } from '../../compiler/constants.ts';
import { dim } from '../../compiler/ir/algebra.ts';
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import {
  type Buffer,
  type Expr,
  type Kernel,
  type Program,
  type Stmt,
  type Var,
  binary,
  dimExpr,
  i32,
  load,
  variable,
  vtype,
} from '../../compiler/loops/loops.ts';

let lastId = 0;
export const buffer = (name: string, dtype: DType, role: Buffer['role'] = 'param'): Buffer => ({
  id: lastId++,
  name,
  dtype,
  role,
  size: dim('N'),
});
export const newVar = (name: string, scalar: Var['type']['scalar'], lanes = 1): Var => ({
  id: lastId++,
  name,
  type: vtype(scalar, lanes),
});
export const kernel = (body: readonly Stmt[], name = 'k'): Kernel => ({
  name,
  schedule: 'test',
  body,
});
export const program = (buffers: readonly Buffer[], ...kernels: readonly Kernel[]): Program => ({
  name: 'test',
  dims: ['N'],
  buffers,
  kernels,
});

export const store = (b: Buffer, index: Expr, value: Expr, align = 1): Stmt => ({
  kind: 'store',
  buffer: b,
  index,
  value,
  align,
});

/** for (i = 0; i + step <= N; i += step) body(i), from `start`. */
export function loop(
  name: string,
  start: Expr,
  end: Expr,
  step: number,
  body: (i: Expr) => readonly Stmt[],
): Stmt {
  const v = newVar(name, 'i32');
  return { kind: 'for', var: v, start, end, step, parallel: false, body: body(variable(v)) };
}

/** y[i] = f(a[i], b[i], ...) for all i < N: whole vectors of `lanes`, then a scalar tail. */
export function elementwise(
  from: readonly DType[],
  to: DType,
  lanes: number,
  f: (...xs: Expr[]) => Expr,
): Program {
  const inputs = from.map((d, i) => buffer(`x${i}`, d));
  const y = buffer('y', to, 'result');
  const n = dimExpr('N');
  const step =
    (count: number) =>
    (i: Expr): readonly Stmt[] => [
      store(y, i, f(...inputs.map((b) => load(b, i, count, count))), count),
    ];
  const whole = binary('and', n, i32(-lanes));
  const loops = [
    loop('i', i32(0), whole, lanes, step(lanes)),
    ...(lanes > 1 ? [loop('t', whole, n, 1, step(1))] : []),
  ];
  return program([...inputs, y], kernel(loops));
}

/** The part of the WebAssembly API that tests use; the ES library does not declare it. */
export interface WasmModule {
  readonly wasmModule?: never;
}
interface Wasm {
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Memory: new (d: { initial: number }) => { readonly buffer: ArrayBuffer };
  readonly Instance: new (
    m: WasmModule,
    imports: object,
  ) => { readonly exports: { readonly run: (...args: number[]) => void } };
}
const wasm = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly;

export async function compileWasm(p: Program, limits = wasmBackend.limits): Promise<WasmModule> {
  const { code, program } = await wasmBackend.emit(p, limits);
  const module = new wasm.Module(code);
  const added = program?.buffers.slice(p.buffers.length) ?? [];
  constants.set(
    module,
    added.map((b) => encodeConstant(b.dtype, b.data!)),
  );
  return module;
}
/** Buffers that the backend added to the program of a module. */
const constants = new WeakMap<WasmModule, readonly Uint8Array[]>();

const guard = 0xa5;
const room = 64;

/** Compiles and runs; `buffers` are changed in place. Throws if a byte outside of them changed. */
export async function runWasm(
  p: Program,
  dims: Record<string, number>,
  buffers: readonly Uint8Array[],
): Promise<void> {
  runModule(await compileWasm(p), p, dims, buffers);
}

export function runModule(
  module: WasmModule,
  p: Program,
  dims: Record<string, number>,
  given: readonly Uint8Array[],
): void {
  const buffers = [...given, ...(constants.get(module) ?? [])];
  const total = buffers.reduce((n, b) => n + b.length + 2 * room, 0);
  const memory = new wasm.Memory({ initial: Math.ceil(total / 65536) });
  const bytes = new Uint8Array(memory.buffer).fill(guard);
  let next = 0;
  const at = buffers.map((b) => {
    next += room;
    next += (16 - (next % 16)) % 16;
    const address = next;
    bytes.set(b, address);
    next += b.length;
    return address;
  });
  const { run } = new wasm.Instance(module, { env: { memory } }).exports;
  run(...at, ...p.dims.map((d) => dims[d]!));
  buffers.forEach((b, i) => {
    b.set(bytes.subarray(at[i]!, at[i]! + b.length));
    bytes.fill(guard, at[i]!, at[i]! + b.length);
  });
  const changed = bytes.findIndex((x) => x !== guard);
  if (changed >= 0) throw new Error(`byte ${changed} outside of the buffers changed (${at})`);
}

export const bytesFor = (d: DType, n: number): Uint8Array =>
  new Uint8Array(Math.ceil((n * dtypes[d].bits) / 8));
export const bytesOf = (a: ArrayBufferView): Uint8Array =>
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength).slice();
export const floatsOf = (b: Uint8Array): Float32Array => new Float32Array(b.slice().buffer);
export const intsOf = (b: Uint8Array): Int32Array => new Int32Array(b.slice().buffer);
