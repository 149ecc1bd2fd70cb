// From the table of a kernel's variants to a runnable instance. The first variant whose probe passes is taken, so
// the table lists the fastest first; what is missing on this host is an error, never another meaning.
import type { PoolKernel } from '../../runtime/devices/pool.ts';
import { computesRelaxed, dotsUnsigned } from '../../runtime/devices/relaxed.ts';
import { crew, type Run } from './crew.ts';
import { QuernError, raise, reasonText } from './errors.ts';
import {
  dataBytes,
  fetchUrl,
  type HttpResponse,
  type Imports,
  readFile,
  type WasmInstance,
  type WasmModule,
  wasm,
} from './host.ts';
import { bytesAt, memory, reserve } from './memory.ts';
import type { SizeFunction } from './spec.ts';

/** A file of code, and how many bytes it must have. */
export interface CodeFile {
  readonly file: string;
  readonly bytes: number;
  readonly url: () => URL;
}

/** The code of a kernel for several threads. */
export interface ThreadedFile extends CodeFile {
  /** Estimated operations of a call. */
  readonly work: SizeFunction<number>;
  /** Bytes through which the workers meet, and where they look for failure and rounds. */
  readonly sync: readonly [number, number, number];
  /** Scratch buffers, by place, of which each thread has its own. */
  readonly slices: readonly number[];
}

/** A buffer of an argument that the kernel reads in a layout of its own. */
export interface PackedFile {
  /** Place among the buffers. */
  readonly at: number;
  /** Places of the buffers that it is made from. */
  readonly sources: readonly number[];
  readonly layout: string;
  /** Those of half floats that must be zero or normal; the wide code takes any. */
  readonly normal?: readonly number[];
  readonly size: SizeFunction<number>;
  readonly repack: CodeFile;
}

/** One compilation of a kernel. */
export interface Compiled extends CodeFile {
  /** Bytes of the scratch buffers. */
  readonly temps?: SizeFunction<readonly number[]>;
  readonly constants?: readonly string[];
  readonly packed?: readonly PackedFile[];
  readonly threads?: ThreadedFile;
}
export interface Variant extends Compiled {
  readonly variant: string;
  /** The same where half floats are not all normal. */
  readonly wide?: Compiled;
}

/** In place of the file beside the module: bytes, a compiled module, or where to read it. */
export type Source = Uint8Array | ArrayBuffer | WasmModule | string | { readonly href: string };
export interface LoadOptions {
  /** Called with the name of a .wasm file; nothing means the file beside the module. */
  readonly source?: (file: string) => Source | undefined | Promise<Source | undefined>;
}

export interface Packed extends Omit<PackedFile, 'repack'> {
  readonly run: Run;
}
export interface Code {
  readonly run: Run;
  /** Takes the place of `run` where the caller waits for a promise anyway. */
  readonly later?: Run;
  /** Addresses of the constants, in the order of the kernel's arguments. */
  readonly constants: readonly number[];
  readonly variant: string;
  readonly temps?: SizeFunction<readonly number[]>;
  readonly packed?: readonly Packed[];
  readonly threads?: Pick<ThreadedFile, 'work' | 'slices'> & { readonly kernel: PoolKernel };
  /** The code for half floats of any kind. */
  readonly wide?: Wide;
}
interface Wide {
  /** Once it is loaded. */
  code?: Code;
  load(): Promise<Code>;
}

/** A module of one SIMD function: `i32x4.splat` and a drop. */
const simdProbe = Uint8Array.from(atob('AGFzbQEAAAABBAFgAAADAgEACgkBBwBBAP0RGgs='), (c) =>
  c.charCodeAt(0),
);

const hasSimd = (): boolean => wasm().validate(simdProbe);

/** What each variant asks of the host; the first that is given is taken. */
const probes: { readonly [variant: string]: () => boolean } = {
  unsigned: () => probes.relaxed!() && dotsUnsigned(wasm()),
  relaxed: () => hasSimd() && computesRelaxed(wasm()),
  plain: hasSimd,
};

function choose(kernel: string, variants: readonly Variant[]): Variant {
  const found = variants.find((v) => probes[v.variant]?.());
  if (found) return found;
  const known = variants.map((v) => v.variant).join(', ');
  return raise(
    'Q5106',
    `${kernel}: this host's WebAssembly has no SIMD, which every variant (${known}) needs`,
  );
}

export async function loadCode(
  kernel: string,
  variants: readonly Variant[],
  options: LoadOptions,
): Promise<Code> {
  const { wide, variant, ...compiled } = choose(kernel, variants);
  const own = await loadCompiled(kernel, variant, compiled, options);
  if (!wide) return own;
  let loading: Promise<Code> | undefined;
  const other: Wide = {
    load: () => {
      loading ??= loadCompiled(kernel, variant, wide, options).then(
        (code) => {
          other.code = code;
          return code;
        },
        (e) => {
          loading = undefined;
          throw e;
        },
      );
      return loading;
    },
  };
  return { ...own, wide: other };
}

async function loadCompiled(
  kernel: string,
  variant: string,
  v: Compiled,
  options: LoadOptions,
): Promise<Code> {
  const [{ module, instance }, packed, threads] = await Promise.all([
    fetched(kernel, v, options),
    Promise.all((v.packed ?? []).map((p) => repacker(kernel, p, options))),
    v.threads && crew() ? threaded(kernel, v.threads, options) : undefined,
  ]);
  return {
    run: runOf(instance),
    constants: (v.constants ?? []).map((name) => upload(kernel, module, name)),
    variant,
    ...(v.temps ? { temps: v.temps } : {}),
    ...(packed.length ? { packed } : {}),
    ...(threads ? { threads } : {}),
  };
}

/** Whether a kernel threw this: it stopped. */
export const isTrap = (e: unknown): boolean => e instanceof wasm().RuntimeError;

const runOf = (instance: WasmInstance): Run => instance.exports.run as Run;

/** Programs that repack, by their files: kernels share them. */
const repackers = new Map<string, Promise<Run>>();

async function repacker(kernel: string, p: PackedFile, options: LoadOptions): Promise<Packed> {
  const { repack, ...rest } = p;
  let making = repackers.get(repack.file);
  if (!making) {
    making = fetched(kernel, repack, options).then(({ instance }) => runOf(instance));
    repackers.set(repack.file, making);
    making.catch(() => repackers.delete(repack.file));
  }
  return { ...rest, run: await making };
}

async function threaded(kernel: string, t: ThreadedFile, options: LoadOptions) {
  const { module, instance } = await fetched(kernel, t, options, false);
  const { work, slices, sync } = t;
  return { work, slices, kernel: crew()!.enlist(module, runOf(instance), sync) };
}

/** The code of a file on the memory of the package; `plain` code knows nothing of threads. */
async function fetched(
  kernel: string,
  f: CodeFile,
  options: LoadOptions,
  plain = true,
): Promise<Loaded> {
  const imports: Imports = { env: { memory: memory() } };
  const adapt = plain ? crew()?.adapt : undefined;
  try {
    const given = await options.source?.(f.file);
    return await instantiate(given ?? f.url(), f, imports, adapt);
  } catch (e) {
    if (e instanceof QuernError)
      raise(e.code, `${kernel}: ${e.message.slice(e.code.length + 2)}`, e.cause);
    return raise('Q5107', `${kernel}: cannot load ${f.file}: ${reasonText(e)}`, e);
  }
}

/** Constants travel inside of the .wasm, in custom sections. */
function upload(kernel: string, module: WasmModule, name: string): number {
  const [section] = wasm().Module.customSections(module, `quern.const.${name}`);
  if (!section) return raise('Q5107', `${kernel}: the .wasm lacks its constant ${name}`);
  const address = reserve(section.byteLength);
  bytesAt(address, section.byteLength).set(new Uint8Array(section));
  return address;
}

type Loaded = { module: WasmModule; instance: WasmInstance };
type Adapt = ((code: Uint8Array) => Uint8Array) | undefined;

async function instantiate(
  source: Source,
  f: CodeFile,
  imports: Imports,
  adapt: Adapt,
): Promise<Loaded> {
  const api = wasm();
  if (source instanceof api.Module) {
    if (adapt) raise('Q5107', `${f.file} is given as a module: threads need its bytes`);
    return { module: source, instance: await api.instantiate(source, imports) };
  }
  if (typeof source === 'string' || source instanceof URL) {
    const url = source instanceof URL ? source : new URL(source, f.url());
    const bytes = dataBytes(url) ?? (await fileBytes(url));
    if (bytes) return fromBytes(bytes, f, imports, adapt);
    const response = await fetchUrl(url.href);
    if (!response.ok) raise('Q5107', `cannot load ${url.href}: status ${response.status}`);
    return fromResponse(response, f, imports, adapt);
  }
  const bytes = source as Uint8Array | ArrayBuffer;
  return fromBytes(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes), f, imports, adapt);
}

async function fileBytes(url: URL): Promise<Uint8Array | undefined> {
  return url.protocol === 'file:' ? readFile(url) : undefined;
}

async function fromBytes(
  bytes: Uint8Array,
  f: CodeFile,
  imports: Imports,
  adapt: Adapt,
): Promise<Loaded> {
  if (bytes.length !== f.bytes)
    raise(
      'Q5107',
      `${f.file} has ${bytes.length} bytes, expected ${f.bytes}: truncated, or of another build`,
    );
  const module = await wasm().compile(adapt ? adapt(bytes) : bytes);
  return { module, instance: await wasm().instantiate(module, imports) };
}

async function fromResponse(
  response: HttpResponse,
  f: CodeFile,
  imports: Imports,
  adapt: Adapt,
): Promise<Loaded> {
  const api = wasm();
  const type = response.headers.get('content-type') ?? '';
  // Servers that do not know .wasm send another type, which streaming refuses.
  if (api.instantiateStreaming && !adapt && type.split(';')[0] === 'application/wasm')
    return api.instantiateStreaming(response, imports);
  return fromBytes(new Uint8Array(await response.arrayBuffer()), f, imports, adapt);
}
