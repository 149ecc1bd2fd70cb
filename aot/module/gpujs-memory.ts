// In place of memory.ts where kernels are functions over arrays of floats: an address is the number of a block of bytes. What a
// kernel reads is kept as floats beside the bytes, for as long as these stay what they are.
import type { DType } from '../../compiler/ir/dtype.ts';
import { releaseLater } from './calls.ts';
import { raise, reasonText } from './errors.ts';

interface Block {
  readonly bytes: Uint8Array;
  readonly floats: Map<DType, Float32Array>;
}

const blocks = new Map<number, Block>();
let nextAddress = 1;
let used = 0;

export function reserve(size: number): number {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(size);
  } catch (e) {
    const text = `${size} bytes asked for, ${used} in use; dispose what is no longer needed`;
    return raise('Q5102', `out of memory: ${text}; the host says: ${reasonText(e)}`, e);
  }
  const address = nextAddress++;
  blocks.set(address, { bytes, floats: new Map() });
  used += size;
  return address;
}

export function release(address: number): void {
  releaseLater(() => {
    used -= blocks.get(address)?.bytes.length ?? 0;
    blocks.delete(address);
  });
}

/** The bytes of a block, for whoever may write them. */
export function bytesAt(address: number, _size?: number): Uint8Array {
  const { bytes, floats } = blocks.get(address)!;
  floats.clear();
  return bytes;
}

export function writeAt(address: number, _size: number, into: (out: Uint8Array) => void): void {
  into(bytesAt(address));
}

export type Read<T> = T;
export const readAt = <T>(address: number, _size: number, use: (bytes: Uint8Array) => T): Read<T> =>
  use(blocks.get(address)!.bytes);

/** The elements of a block as floats; `make` unpacks them. */
export function floatsAt(
  address: number,
  dtype: DType,
  make: (bytes: Uint8Array) => Float32Array,
): Float32Array {
  const { bytes, floats } = blocks.get(address)!;
  const made = floats.get(dtype) ?? make(bytes);
  floats.set(dtype, made);
  return made;
}

/** Bytes in live tensors. */
export const memoryUsed = (): number => used;
