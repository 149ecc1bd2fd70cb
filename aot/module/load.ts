// From the table of a kernel's variants to a runnable instance. The first variant whose probe passes is taken, so
// the table lists the fastest first; what is missing on this host is an error, never another meaning.
import { QuernError, raise, reasonText } from './errors.ts';
import {
  fetchUrl,
  type HttpResponse,
  type Imports,
  readFile,
  type WasmInstance,
  type WasmModule,
  wasm,
} from './host.ts';
import { bytesAt, memory, reserve } from './memory.ts';

/** Where the code of one variant lies, and how many bytes it must have. */
export interface Variant {
  readonly variant: string;
  readonly file: string;
  readonly bytes: number;
  readonly url: () => URL;
}

/** In place of the file beside the module: bytes, a compiled module, or where to read it. */
export type Source = Uint8Array | ArrayBuffer | WasmModule | string | { readonly href: string };
export interface LoadOptions {
  /** Called with the name of a .wasm file; nothing means the file beside the module. */
  readonly source?: (file: string) => Source | undefined | Promise<Source | undefined>;
}

export interface Code {
  readonly run: (...args: number[]) => void;
  /** Addresses of the constants, in the order of the kernel's arguments. */
  readonly constants: readonly number[];
  readonly variant: string;
}

/** A module of one SIMD function: `i32x4.splat` and a drop. */
const simdProbe = Uint8Array.of(
  // biome-ignore format: one section a line
  0,
  97,
  115,
  109,
  1,
  0,
  0,
  0,
  1,
  4,
  1,
  96,
  0,
  0,
  3,
  2,
  1,
  0,
  10,
  9,
  1,
  7,
  0,
  65,
  0,
  253,
  17,
  26,
  11,
);

/** What each variant asks of the host; later targets add their rows. */
const probes: { readonly [variant: string]: () => boolean } = {
  plain: () => wasm().validate(simdProbe),
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
  constants: readonly string[],
  options: LoadOptions,
): Promise<Code> {
  const chosen = choose(kernel, variants);
  const imports: Imports = { env: { memory: memory() } };
  let loaded: { module: WasmModule; instance: WasmInstance };
  try {
    const given = await options.source?.(chosen.file);
    loaded = await instantiate(given ?? chosen.url(), chosen, imports);
  } catch (e) {
    if (e instanceof QuernError)
      raise(e.code, `${kernel}: ${e.message.slice(e.code.length + 2)}`, e.cause);
    raise('Q5107', `${kernel}: cannot load ${chosen.file}: ${reasonText(e)}`, e);
  }
  const { module, instance } = loaded;
  return {
    run: instance.exports.run as Code['run'],
    constants: constants.map((name) => upload(kernel, module, name)),
    variant: chosen.variant,
  };
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

async function instantiate(source: Source, v: Variant, imports: Imports): Promise<Loaded> {
  const api = wasm();
  if (source instanceof api.Module)
    return { module: source, instance: await api.instantiate(source, imports) };
  if (typeof source === 'string' || source instanceof URL) {
    const url = source instanceof URL ? source : new URL(source, v.url());
    const bytes = url.protocol === 'data:' ? inline(url) : await fileBytes(url);
    if (bytes) return fromBytes(bytes, v, imports);
    const response = await fetchUrl(url.href);
    if (!response.ok) raise('Q5107', `cannot load ${url.href}: status ${response.status}`);
    return fromResponse(response, v, imports);
  }
  const bytes = source as Uint8Array | ArrayBuffer;
  return fromBytes(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes), v, imports);
}

/** Bundlers turn small files into data: URLs, which a strict connect-src would not let us fetch. */
const inline = (url: URL): Uint8Array =>
  Uint8Array.from(atob(url.href.slice(url.href.indexOf(',') + 1)), (c) => c.charCodeAt(0));

async function fileBytes(url: URL): Promise<Uint8Array | undefined> {
  return url.protocol === 'file:' ? readFile(url) : undefined;
}

async function fromBytes(bytes: Uint8Array, v: Variant, imports: Imports): Promise<Loaded> {
  if (bytes.length !== v.bytes)
    raise(
      'Q5107',
      `${v.file} has ${bytes.length} bytes, expected ${v.bytes}: truncated, or of another build`,
    );
  const module = await wasm().compile(bytes);
  return { module, instance: await wasm().instantiate(module, imports) };
}

async function fromResponse(response: HttpResponse, v: Variant, imports: Imports): Promise<Loaded> {
  const api = wasm();
  const type = response.headers.get('content-type') ?? '';
  // Servers that do not know .wasm send another type, which streaming refuses.
  if (api.instantiateStreaming && type.split(';')[0] === 'application/wasm')
    return api.instantiateStreaming(response, imports);
  return fromBytes(new Uint8Array(await response.arrayBuffer()), v, imports);
}
