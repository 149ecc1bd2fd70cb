// Kernels and formats as a package exports them. A kernel loads its code when it is first called, or by ready();
// from then on its synchronous form may be called too.

import type { NumberArray } from '../../runtime/pack.ts';
import { type CallOptions, call, type Results } from './call.ts';
import { raise } from './errors.ts';
import { type Code, type LoadOptions, loadCode } from './load.ts';
import { type KernelSpec, sizes, type TensorSpec } from './spec.ts';
import { countOf, Encoded, Tensor } from './tensor.ts';

interface Loader {
  readonly spec: KernelSpec;
  code?: Code;
  loading?: Promise<Code>;
}

function load(l: Loader, options: LoadOptions = {}): Promise<Code> {
  const { name, variants } = l.spec;
  l.loading ??= loadCode(name, variants, options).then(
    (code) => {
      l.code = code;
      return code;
    },
    (e) => {
      // The next call tries again: a page may have lost its connection for a moment.
      delete l.loading;
      throw e;
    },
  );
  return l.loading;
}

/** Loads all that a synchronous call may need. */
async function loadAll(l: Loader, options?: LoadOptions): Promise<void> {
  await (await load(l, options)).wide?.load();
}

function loaded(l: Loader): Code {
  return l.code ?? raise('Q5108', `${l.spec.name}: not loaded; await init() or its ready() first`);
}

/** The last argument may be the output: there is one more than there are parameters. */
function invoke(l: Loader, code: Code, args: readonly unknown[], later: boolean) {
  const n = l.spec.params.length;
  const all = args.length === n + 1 ? args.slice(0, n) : args;
  return call(l.spec, code, all, args.length === n + 1 ? args[n] : undefined, { later });
}

export interface Kernel {
  (...args: readonly unknown[]): Promise<Results>;
  /** Loads the code; later calls do not wait. */
  ready(options?: LoadOptions): Promise<void>;
  /** Which variant runs; undefined before it is loaded. */
  variant(): string | undefined;
  readonly sync: (...args: readonly unknown[]) => Results;
}

export function kernel(spec: KernelSpec): Kernel {
  const l: Loader = { spec };
  const run = async (...args: readonly unknown[]) =>
    invoke(l, l.code ?? (await load(l)), args, true);
  return Object.assign(run, {
    ready: (options?: LoadOptions): Promise<void> => loadAll(l, options),
    variant: () => l.code?.variant,
    sync: (...args: readonly unknown[]) => invoke(l, loaded(l), args, false) as Results,
  });
}

/** The synchronous form of a kernel, as an export of its own. */
export const syncOf = (k: Kernel): Kernel['sync'] => k.sync;

export interface FormatSpec {
  readonly name: string;
  readonly dims: readonly string[];
  readonly fields: readonly TensorSpec[];
  readonly kernels: { readonly [part: string]: KernelSpec };
  /** Why parts are missing; a layout that was never declared needs no reason. */
  readonly lacks?: { readonly [part: string]: string };
}

type Packed = Tensor | { readonly [plane: string]: Tensor };
type Planes = Uint8Array | { readonly [plane: string]: Uint8Array };

/** A format: encode, decode, and its byte-exact layout if it has one. */
export function format(spec: FormatSpec) {
  const { name, dims, fields } = spec;
  const parts = new Map<string, Loader>(
    Object.entries(spec.kernels).map(([part, k]) => [part, { spec: k }]),
  );
  const loader = (part: string): Loader =>
    parts.get(part) ??
    raise(
      'Q5010',
      `${name} has no ${part}: ${spec.lacks?.[part] ?? 'its format declares no layout'}`,
    );
  const host = (data: NumberArray | Tensor, shape?: readonly number[]): unknown =>
    shape === undefined ? data : { data, shape };

  const later = { later: true };
  type Awaited<T> = T | Promise<T>;
  const pack = (made: Packed): Awaited<Planes> => {
    if (made instanceof Tensor) return taken(made);
    const planes = Object.entries(made).map(([k, t]) => [k, taken(t)] as const);
    if (planes.every(([, bytes]) => bytes instanceof Uint8Array))
      return Object.fromEntries(planes) as { readonly [plane: string]: Uint8Array };
    return Promise.all(planes.map(async ([k, bytes]) => [k, await bytes] as const)).then((all) =>
      Object.fromEntries(all),
    );
  };
  const unpack = (
    code: Code,
    packed: Planes,
    shape: readonly number[],
    options: CallOptions,
  ): Results | Promise<Results> => {
    const { spec: k } = loader('unpack');
    checkRank(name, shape);
    const made: Tensor[] = [];
    const free = (): void => {
      for (const t of made) t.dispose();
    };
    try {
      const args = k.params.map((p) => {
        const where = `${name}.unpack: argument ${p.name}`;
        const bytes = packed instanceof Uint8Array ? packed : packed[p.name];
        if (!bytes || !('dtype' in p)) return raise('Q5002', `${where} is missing`);
        const t = fromRaw(where, p.dtype, sizes(p.shape, k.dims, shape), bytes);
        made.push(t);
        return t;
      });
      return call(k, code, args, undefined, { ...options, dims: shape });
    } finally {
      // Memory of calls under way is freed behind them.
      free();
    }
  };

  const run = async (part: string, args: readonly unknown[], out?: unknown) => {
    const l = loader(part);
    return call(l.spec, await load(l), args, out, later);
  };
  const runSync = (part: string, args: readonly unknown[], out?: unknown) => {
    const l = loader(part);
    return call(l.spec, loaded(l), args, out);
  };
  return {
    name,
    ready: async (options?: LoadOptions): Promise<void> =>
      void (await Promise.all([...parts.values()].map((l) => loadAll(l, options)))),
    encode: async (x: NumberArray | Tensor, shape?: readonly number[], out?: Encoded) =>
      (await run('encode', [host(x, shape)], out)) as Encoded,
    encodeSync: (x: NumberArray | Tensor, shape?: readonly number[], out?: Encoded) =>
      runSync('encode', [host(x, shape)], out) as Encoded,
    decode: async (w: Encoded, out?: Tensor) => (await run('decode', [w], out)) as Tensor,
    decodeSync: (w: Encoded, out?: Tensor) => runSync('decode', [w], out) as Tensor,
    pack: async (w: Encoded) => pack((await run('pack', [w])) as Packed),
    packSync: (w: Encoded) => pack(runSync('pack', [w]) as Packed) as Planes,
    unpack: async (bytes: Planes, shape: readonly number[]) =>
      (await unpack(await load(loader('unpack')), bytes, shape, later)) as Encoded,
    unpackSync: (bytes: Planes, shape: readonly number[]) =>
      unpack(loaded(loader('unpack')), bytes, shape, {}) as Encoded,
    /** An encoded tensor from the storage bytes of its fields, as raw() gives them. */
    fromRaw: (shape: readonly number[], raw: { readonly [field: string]: Uint8Array }): Encoded => {
      checkRank(name, shape);
      const made: Record<string, Tensor> = {};
      try {
        for (const f of fields) {
          const where = `${name}.fromRaw: field ${f.name}`;
          const bytes = raw[f.name];
          if (!bytes) return raise('Q5012', `${where} is missing`);
          made[f.name] = fromRaw(where, f.dtype, sizes(f.shape, dims, shape), bytes);
        }
      } catch (e) {
        for (const t of Object.values(made)) t.dispose();
        throw e;
      }
      return new Encoded(name, [...shape], made);
    },
  };
}

function checkRank(name: string, shape: readonly number[]): void {
  if (!Array.isArray(shape) || shape.length !== 2 || !Number.isSafeInteger(countOf(shape)))
    raise('Q5009', `${name}: the shape of a matrix is two whole numbers, found ${String(shape)}`);
}

function fromRaw(
  where: string,
  dtype: Tensor['dtype'],
  shape: readonly number[],
  bytes: Uint8Array,
): Tensor {
  if (!shape.every(Number.isSafeInteger))
    raise('Q5006', `${where}: the shape is no whole number of blocks`);
  const t = new Tensor(dtype, shape);
  if (bytes.length !== t.bytes) {
    t.dispose();
    raise('Q5012', `${where} has ${bytes.length} bytes, expected ${t.bytes}`);
  }
  t.writeRaw(bytes);
  return t;
}

function taken(t: Tensor): Uint8Array | Promise<Uint8Array> {
  const bytes = t.raw();
  t.dispose();
  return bytes;
}
