// Storage bytes of constant tables, in the packing of dtype.ts.
import { type DType, dtypes, floatToBits, paddedRow } from './ir/dtype.ts';

/** Packs logical values little-endian, `bits` apiece. */
export function encodeConstant(dtype: DType, data: readonly number[]): Uint8Array {
  const { bits, kind } = dtypes[dtype];
  const out = new Uint8Array((paddedRow(dtype, data.length) * bits) / 8);
  data.forEach((x, i) => {
    let code = BigInt(kind === 'float' ? floatToBits(dtype, x) : x) & ((1n << BigInt(bits)) - 1n);
    let at = i * bits;
    for (let left = bits; left > 0; ) {
      const byte = at >> 3;
      const room = 8 - (at & 7);
      out[byte]! |= Number((code << BigInt(at & 7)) & 255n);
      code >>= BigInt(room);
      at += room;
      left -= room;
    }
  });
  return out;
}
