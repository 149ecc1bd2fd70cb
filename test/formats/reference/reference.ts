// What an oracle of a block struct is, and its run over whole rows.

export interface BlockDecoder {
  /** Values a block. */
  readonly values: number;
  /** Bytes a block. */
  readonly bytes: number;
  /** Byte offsets of the f16 numbers in a block. */
  readonly halves: readonly number[];
  decodeBlock(bytes: Uint8Array, into: Float32Array): void;
  /** Makes a scale that lies elsewhere a number, in place. */
  removeNaN?(bytes: Uint8Array): void;
}

export interface BlockReference extends BlockDecoder {
  encodeBlock(x: Float32Array, into: Uint8Array): void;
}

export function quantize(r: BlockReference, x: Float32Array): Uint8Array {
  const blocks = x.length / r.values;
  const out = new Uint8Array(blocks * r.bytes);
  for (let b = 0; b < blocks; b++)
    r.encodeBlock(
      x.subarray(b * r.values, (b + 1) * r.values),
      out.subarray(b * r.bytes, (b + 1) * r.bytes),
    );
  return out;
}

export function dequantize(r: BlockDecoder, bytes: Uint8Array): Float32Array {
  const blocks = bytes.length / r.bytes;
  const out = new Float32Array(blocks * r.values);
  for (let b = 0; b < blocks; b++)
    r.decodeBlock(
      bytes.subarray(b * r.bytes, (b + 1) * r.bytes),
      out.subarray(b * r.values, (b + 1) * r.values),
    );
  return out;
}
