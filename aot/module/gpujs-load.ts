// In place of load.ts where kernels are functions in gpu.js's subset of JavaScript: each computes one element from arrays of
// floats. They run as they are, or, given a GPU object of that library, as shaders of WebGL2.
import { type DType, dtypes, isFloat } from '../../compiler/ir/dtype.ts';
import { fitting, packLogical, type TypedArray, unpack } from '../../runtime/pack.ts';
import { raise, reasonText } from './errors.ts';
import { bytesAt, floatsAt, reserve, writeAt } from './gpujs-memory.ts';
import type { Code } from './load.ts';
import type { SizeFunction } from './spec.ts';

/** A function that gpu.js made of a text. */
interface GpujsKernel {
  (...args: readonly unknown[]): Float32Array | Promise<Float32Array>;
  setOutput(output: readonly number[]): unknown;
}
interface GpujsInstance {
  readonly mode?: string;
  createKernel(source: string, settings: object): GpujsKernel;
}
interface GpujsClass {
  new (settings: { readonly mode: string }): GpujsInstance;
  readonly isWebGL2Supported: boolean;
  readonly isSinglePrecisionSupported: boolean;
}
export interface GpujsOptions {
  /** The class of the library, or the library. */
  readonly GPU?: GpujsClass | { readonly GPU: GpujsClass };
  /** An instance. */
  readonly gpu?: GpujsInstance;
}
export type LoadOptions = object;

export interface LaunchSpec {
  readonly name: string;
  readonly count: SizeFunction<number>;
  /** Buffers that it reads, then the one that it writes. */
  readonly buffers: readonly number[];
  /** Places of the dims that it takes. */
  readonly dims: readonly number[];
  /** Numbers that have no literal in a shader. */
  readonly specials?: readonly number[];
}
type Compute = (this: object, ...args: readonly (Float32Array | number)[]) => number;
export interface FunctionVariant {
  readonly buffers: readonly (readonly [name: string, dtype: DType])[];
  readonly temps?: SizeFunction<readonly number[]>;
  /** Bytes of the constants, as base64. */
  readonly constants?: readonly string[];
  readonly launches: readonly LaunchSpec[];
  readonly functions: { readonly [launch: string]: Compute };
  /** The same as text, which only gpu.js needs. */
  readonly text: () => Promise<{ readonly default: Texts }>;
}
interface Texts {
  /** Functions that launches call, and how many arguments each takes. */
  readonly helpers: readonly (readonly [text: string, count: number])[];
  readonly launches: { readonly [name: string]: string };
}

/** All numbers are floats: whole ones, places in tensors among them, are exact up to here. */
const EXACT = 2 ** 24;

let instance: GpujsInstance | undefined;
/** Whether a kernel was loaded: it runs where it was loaded for. */
let isInUse = false;

/** Takes what gpu.js gives, if anything; kernels that are loaded from then on run there. */
export function openGpujs({ GPU, gpu }: GpujsOptions = {}): void {
  if (!GPU && !gpu) return;
  if (isInUse && !instance)
    raise('Q5111', 'a GPU is given before the first kernel is loaded: to the first init()');
  if (gpu) instance = gpu;
  else if (!instance) {
    const library = 'GPU' in GPU! ? GPU.GPU : (GPU as GpujsClass);
    if (!library.isWebGL2Supported || !library.isSinglePrecisionSupported)
      raise('Q5106', 'this host has no WebGL2 with textures of floats; init() without GPU');
    instance = new library({ mode: 'webgl2' });
  }
}

/** Functions do not trap. */
export const isTrap = (): boolean => false;

type Answer = Float32Array | Promise<Float32Array>;
type Run = (count: number, args: readonly (Float32Array | number)[], later: boolean) => Answer;

export async function loadCode(
  kernel: string,
  [variant]: readonly FunctionVariant[],
  _options: LoadOptions,
): Promise<Code> {
  isInUse = true;
  const v = variant!;
  const own = instance;
  const texts = own && (await v.text()).default;
  const runs = v.launches.map((l) =>
    own ? onGpu(own, texts!, kernel, l) : asItIs(v.functions[l.name]!),
  );
  const run =
    (later: boolean) =>
    (...args: readonly number[]) =>
      runAll(kernel, v, runs, args, later);
  return {
    run: run(false),
    later: run(true),
    constants: (v.constants ?? []).map((text) => {
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const address = reserve(bytes.length);
      writeAt(address, bytes.length, (out) => out.set(bytes));
      return address;
    }),
    variant: own ? (own.mode ?? 'gpu.js') : 'javascript',
    ...(v.temps ? { temps: v.temps } : {}),
  };
}

/** A function, element by element. */
function asItIs(compute: Compute): Run {
  return (count, args) => {
    const thread = { x: 0 };
    const self = { thread };
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      thread.x = i;
      out[i] = compute.apply(self, args as (Float32Array | number)[]);
    }
    return out;
  };
}

/** A function as gpu.js runs it. Who waits is answered when the pixels are there, who does not is kept until then. */
function onGpu(gpu: GpujsInstance, texts: Texts, kernel: string, l: LaunchSpec): Run {
  const functions = texts.helpers.map(([source, count]) => ({
    source,
    settings: { argumentTypes: Array(count).fill('Number'), returnType: 'Number' },
  }));
  const made: (GpujsKernel | undefined)[] = [];
  const failed = (e: unknown): never =>
    raise('Q5121', `${kernel}: gpu.js refuses ${l.name}: ${reasonText(e)}`, e);
  return (count, args, later) => {
    try {
      made[Number(later)] ??= gpu.createKernel(texts.launches[l.name]!, {
        functions,
        argumentTypes: args.map((a) => (typeof a === 'number' ? 'Float' : 'Array')),
        dynamicArguments: true,
        dynamicOutput: true,
        precision: 'single',
        tactic: 'precision',
        loopMaxIterations: EXACT,
        asyncMode: later,
      });
      const run = made[Number(later)]!;
      run.setOutput([count]);
      const answer = run(...args);
      if (!(answer instanceof Promise)) return answer;
      if (later) return answer.catch(failed);
    } catch (e) {
      return failed(e);
    }
    return raise(
      'Q5108',
      `${kernel}: gpu.js answers later in this mode; use the asynchronous form`,
    );
  };
}

/** The launches of a call in order; a promise from the first on that answers later. */
function runAll(
  kernel: string,
  v: FunctionVariant,
  runs: readonly Run[],
  all: readonly number[],
  later: boolean,
): void | Promise<void> {
  const { buffers, launches } = v;
  const dims = all.slice(buffers.length);
  const from = (start: number): void | Promise<void> => {
    for (let i = start; i < launches.length; i++) {
      const l = launches[i]!;
      const count = l.count(...dims);
      if (count === 0) continue;
      const places = [...l.buffers];
      const to = places.pop()!;
      const [name, dtype] = buffers[to]!;
      exact(kernel, name, count);
      const read = places.map((p) => floatsOf(kernel, ...buffers[p]!, all[p]!));
      const args = [...read, ...l.dims.map((d) => dims[d]!), ...(l.specials ?? [])];
      const answer = runs[i]!(count, args, later);
      const store = (values: Float32Array): void => put(dtype, values.subarray(0, count), all[to]!);
      if (answer instanceof Promise)
        return answer.then((values) => {
          store(values);
          return from(i + 1);
        });
      store(answer);
    }
  };
  return from(0);
}

function exact(kernel: string, name: string, elements: number): void {
  if (elements > EXACT)
    raise('Q5125', `${kernel}: ${name} has ${elements} elements, and gpu.js counts up to ${EXACT}`);
}

/** The elements of a buffer as floats, those that fill up rows among them. A texture has a texel at least. */
const floatsOf = (kernel: string, name: string, dtype: DType, address: number): Float32Array =>
  floatsAt(address, dtype, (bytes) => {
    const { bits } = dtypes[dtype];
    const count = Math.floor((bytes.length * 8) / bits);
    exact(kernel, name, count);
    const values = Float32Array.from(count ? unpack(dtype, [count], bytes) : [0]);
    if (bits === 32 && !isFloat(dtype) && values.some((x) => Math.abs(x) > EXACT))
      raise('Q5125', `${kernel}: ${name} holds numbers beyond ${EXACT}, which gpu.js cannot count`);
    return values;
  });

/** Writes what a kernel computed: floats are rounded, whole numbers saturated and wrapped. */
function put(dtype: DType, values: Float32Array, address: number): void {
  const { kind, bits } = dtypes[dtype];
  let numbers: TypedArray = values;
  if (kind !== 'float') {
    const wide = kind === 'uint' && bits === 32;
    const most = wide ? 2 ** 32 - 1 : 2 ** 31 - 1;
    numbers = new (wide ? Uint32Array : Int32Array)(values.length);
    for (let i = 0; i < numbers.length; i++) numbers[i] = Math.min(values[i]!, most);
  }
  packLogical(dtype, [values.length], fitting(dtype, numbers), bytesAt(address));
}
