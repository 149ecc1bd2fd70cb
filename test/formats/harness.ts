// The format tests' only way to a device: bytes and floats in, bytes and floats out, everything freed.
import { type FormatHandle, type Loaded, load, scope } from '../../index.ts';

export type DeviceKind = 'reference' | 'wasm';
type Json = string | number | boolean | null | { readonly [key: string]: Json };
/** The name of an exported format, or of a factory with its options. */
export type FormatCall = string | { readonly name: string; readonly options: Json };
export type Planes = { readonly [plane: string]: Uint8Array };

const library = new URL('../../ops/formats/index.ts', import.meta.url);

export interface Harness {
  /** encode, then pack: the bytes of the struct. */
  encodeStruct(
    format: FormatCall,
    x: Float32Array,
    shape: readonly number[],
    weights?: Float32Array,
  ): Promise<Uint8Array>;
  /** unpack, then decode. */
  decodeStruct(format: FormatCall, b: Uint8Array, shape: readonly number[]): Promise<Float32Array>;
  /** unpack, then pack. */
  repackStruct(format: FormatCall, b: Uint8Array, shape: readonly number[]): Promise<Uint8Array>;
  /** The same for a layout of named planes. */
  encodePlanes(format: FormatCall, x: Float32Array, shape: readonly number[]): Promise<Planes>;
  decodePlanes(format: FormatCall, p: Planes, shape: readonly number[]): Promise<Float32Array>;
  repackPlanes(format: FormatCall, p: Planes, shape: readonly number[]): Promise<Planes>;
  /** encode: the values of a stored field. */
  encodeField(
    format: FormatCall,
    field: string,
    x: Float32Array,
    shape: readonly number[],
  ): Promise<number[]>;
  /** encode, then decode. */
  roundTrip(format: FormatCall, x: Float32Array, shape: readonly number[]): Promise<Float32Array>;
  bitsPerWeight(format: FormatCall, shape: readonly number[]): Promise<number>;
}

export async function harness(kind: DeviceKind): Promise<Harness> {
  const loaded: Loaded = await load(library, { device: kind, cache: false });
  const handle = (format: FormatCall): FormatHandle =>
    typeof format === 'string'
      ? loaded.format(format)
      : loaded.format(format.name, [format.options]);
  /** A value that outlives the scope in which it was computed. */
  const inScope = async <T>(work: () => Promise<T>): Promise<T> => {
    let value: T | undefined;
    await scope(async () => {
      value = await work();
    });
    return value as T;
  };
  const bytes = (packed: Uint8Array | Planes): Uint8Array => {
    if (!(packed instanceof Uint8Array)) throw new Error(`planes: ${Object.keys(packed)}`);
    return packed;
  };
  const planes = (packed: Uint8Array | Planes): Planes => {
    if (packed instanceof Uint8Array) throw new Error('one array instead of planes');
    return packed;
  };
  const encodePacked = (
    f: FormatHandle,
    data: Float32Array,
    shape: readonly number[],
    weights?: Float32Array,
  ) =>
    inScope(async () =>
      f.pack(
        await f.encode(
          { data, shape },
          weights ? { weights: { data: weights, shape: [weights.length] } } : {},
        ),
      ),
    );
  const decodePacked = (f: FormatHandle, packed: Uint8Array | Planes, shape: readonly number[]) =>
    inScope(async () => {
      const y = await f.decode(await f.unpack(packed, shape));
      return (await y.data()) as Float32Array;
    });
  return {
    encodeStruct: async (f, x, shape, weights) =>
      bytes(await encodePacked(handle(f), x, shape, weights)),
    decodeStruct: (f, b, shape) => decodePacked(handle(f), b, shape),
    repackStruct: (f, b, shape) =>
      inScope(async () => bytes(await handle(f).pack(await handle(f).unpack(b, shape)))),
    encodePlanes: async (f, x, shape) => planes(await encodePacked(handle(f), x, shape)),
    decodePlanes: (f, p, shape) => decodePacked(handle(f), p, shape),
    repackPlanes: (f, p, shape) =>
      inScope(async () => planes(await handle(f).pack(await handle(f).unpack(p, shape)))),
    encodeField: (f, field, data, shape) =>
      inScope(async () => {
        const w = await handle(f).encode({ data, shape });
        return Array.from(await w.fields[field]!.data());
      }),
    roundTrip: (f, data, shape) =>
      inScope(async () => {
        const y = await handle(f).decode(await handle(f).encode({ data, shape }));
        return (await y.data()) as Float32Array;
      }),
    bitsPerWeight: (f, shape) => handle(f).bitsPerWeight(shape),
  };
}
