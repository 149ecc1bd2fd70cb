// Oracles of ggml's closed-form types, one scalar step at a time, each f32 operation rounded by
// fround.
import { bitsFloat, f, getHalf, putHalf, roundAway, roundEven, truncateTo } from './half.ts';
import type { BlockReference } from './reference.ts';

/** Byte j of 16 holds elements j (low nibble) and j + 16 (high nibble). */
function setNibble(bytes: Uint8Array, base: number, element: number, code: number): void {
  const at = base + (element % 16);
  bytes[at] = element < 16 ? (bytes[at]! & 0xf0) | code : (bytes[at]! & 0x0f) | (code << 4);
}
function nibble(bytes: Uint8Array, base: number, element: number): number {
  const byte = bytes[base + (element % 16)]!;
  return element < 16 ? byte % 16 : Math.floor(byte / 16);
}

export const q4_0: BlockReference = {
  values: 32,
  bytes: 18,
  halves: [0],
  encodeBlock(x, out) {
    let magnitude = 0;
    let extreme = 0;
    for (const v of x)
      if (Math.abs(v) > magnitude) {
        magnitude = Math.abs(v);
        extreme = v;
      }
    const d = f(extreme / -8);
    const id = d ? f(1 / d) : 0;
    putHalf(out, 0, d);
    for (let i = 0; i < 32; i++) setNibble(out, 2, i, truncateTo(0, 15, f(f(x[i]! * id) + 8.5)));
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    for (let i = 0; i < 32; i++) y[i] = (nibble(bytes, 2, i) - 8) * d;
  },
};

export const q4_1: BlockReference = {
  values: 32,
  bytes: 20,
  halves: [0, 2],
  encodeBlock(x, out) {
    let low = x[0]!;
    let high = x[0]!;
    for (const v of x) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    const d = f(f(high - low) / 15);
    const id = d ? f(1 / d) : 0;
    putHalf(out, 0, d);
    putHalf(out, 2, low);
    for (let i = 0; i < 32; i++)
      setNibble(out, 4, i, truncateTo(0, 15, f(f(f(x[i]! - low) * id) + 0.5)));
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    const m = getHalf(bytes, 2);
    for (let i = 0; i < 32; i++) y[i] = f(f(nibble(bytes, 4, i) * d) + m);
  },
};

/** The 5-bit types put the top bits of their 32 codes into four bytes in front of the nibbles. */
function setFive(bytes: Uint8Array, base: number, element: number, code: number): void {
  const bit = 1 << (element % 8);
  const at = base + (element >> 3);
  bytes[at] = code >= 16 ? bytes[at]! | bit : bytes[at]! & ~bit;
  setNibble(bytes, base + 4, element, code % 16);
}
function five(bytes: Uint8Array, base: number, element: number): number {
  const top = (bytes[base + (element >> 3)]! >> (element % 8)) & 1;
  return 16 * top + nibble(bytes, base + 4, element);
}

export const q5_0: BlockReference = {
  values: 32,
  bytes: 22,
  halves: [0],
  encodeBlock(x, out) {
    let extreme = 0;
    for (const v of x) if (Math.abs(v) > Math.abs(extreme)) extreme = v;
    const d = f(extreme / -16);
    const id = d ? f(1 / d) : 0;
    putHalf(out, 0, d);
    for (let i = 0; i < 32; i++) setFive(out, 2, i, truncateTo(0, 31, f(f(x[i]! * id) + 16.5)));
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    for (let i = 0; i < 32; i++) y[i] = (five(bytes, 2, i) - 16) * d;
  },
};

export const q5_1: BlockReference = {
  values: 32,
  bytes: 24,
  halves: [0, 2],
  encodeBlock(x, out) {
    let low = x[0]!;
    let high = x[0]!;
    for (const v of x) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    const d = f(f(high - low) / 31);
    const id = d ? f(1 / d) : 0;
    putHalf(out, 0, d);
    putHalf(out, 2, low);
    for (let i = 0; i < 32; i++)
      setFive(out, 4, i, truncateTo(0, 31, f(f(f(x[i]! - low) * id) + 0.5)));
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    const m = getHalf(bytes, 2);
    for (let i = 0; i < 32; i++) y[i] = f(f(five(bytes, 4, i) * d) + m);
  },
};

export const q8_0: BlockReference = {
  values: 32,
  bytes: 34,
  halves: [0],
  encodeBlock(x, out) {
    let magnitude = 0;
    for (const v of x) magnitude = Math.max(magnitude, Math.abs(v));
    const d = f(magnitude / 127);
    const id = d ? f(1 / d) : 0;
    putHalf(out, 0, d);
    for (let i = 0; i < 32; i++) out[2 + i] = truncateTo(-128, 127, roundAway(f(x[i]! * id))) & 255;
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    for (let i = 0; i < 32; i++) y[i] = ((bytes[2 + i]! << 24) >> 24) * d;
  },
};

export const q8_1: BlockReference = {
  values: 32,
  bytes: 36,
  halves: [0, 2],
  encodeBlock(x, out) {
    let magnitude = 0;
    for (const v of x) magnitude = Math.max(magnitude, Math.abs(v));
    const d = f(magnitude / 127);
    const id = d ? f(1 / d) : 0;
    const codes = Array.from(x, (v) => truncateTo(-128, 127, roundAway(f(v * id))));
    putHalf(out, 0, d);
    putHalf(out, 2, f(codes.reduce((total, q) => total + q, 0) * d));
    codes.forEach((q, i) => {
      out[4 + i] = q & 255;
    });
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 0);
    for (let i = 0; i < 32; i++) y[i] = ((bytes[4 + i]! << 24) >> 24) * d;
  },
};

export const q8_K: BlockReference = {
  values: 256,
  bytes: 292,
  halves: [],
  encodeBlock(x, out) {
    let extreme = 0;
    for (const v of x) if (Math.abs(v) > Math.abs(extreme)) extreme = v;
    const inverse = extreme ? f(-127 / extreme) : 0;
    const view = new DataView(out.buffer, out.byteOffset, out.length);
    view.setFloat32(0, inverse ? f(1 / inverse) : 0, true);
    const codes = Array.from(x, (v) => Math.min(127, roundEven(f(inverse * v))));
    codes.forEach((q, i) => {
      view.setInt8(4 + i, q);
    });
    for (let g = 0; g < 16; g++) {
      const sum = codes.slice(16 * g, 16 * g + 16).reduce((total, q) => total + q, 0);
      view.setInt16(260 + 2 * g, sum, true);
    }
  },
  decodeBlock(bytes, y) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const d = view.getFloat32(0, true);
    for (let i = 0; i < 256; i++) y[i] = d * view.getInt8(4 + i);
  },
};

const e2m1Doubled = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
const halfOfE8m0 = (e: number): number =>
  e < 2 ? 2 ** (e - 128) : bitsFloat(((e - 1) << 23) >>> 0);

export const mxfp4: BlockReference = {
  values: 32,
  bytes: 17,
  halves: [],
  encodeBlock(x, out) {
    let magnitude = 0;
    for (const v of x) if (Math.abs(v) > magnitude) magnitude = Math.abs(v);
    // Where the C conversion of a negative number is undefined: 0.
    const e = magnitude > 0 ? Math.max(Math.floor(f(Math.log2(magnitude))) - 2 + 127, 0) : 0;
    const d = halfOfE8m0(e);
    out[0] = e;
    for (let i = 0; i < 32; i++) {
      let best = 0;
      let error = Infinity;
      e2m1Doubled.forEach((v, code) => {
        const distance = Math.abs(f(f(v * d) - x[i]!));
        if (distance < error) {
          error = distance;
          best = code;
        }
      });
      setNibble(out, 1, i, best);
    }
  },
  decodeBlock(bytes, y) {
    const d = halfOfE8m0(bytes[0]!);
    for (let i = 0; i < 32; i++) y[i] = e2m1Doubled[nibble(bytes, 1, i)]! * d;
  },
};

/** E4M3 without a sign, halved; the reference takes 0x7f (but not 0xff) for 0. */
function halfOfE4m3(code: number): number {
  if (code === 0x7f) return 0;
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  return exponent ? (8 + mantissa) * 2 ** (exponent - 11) : mantissa / 1024;
}
/** The nearest code, of two equally near ones the larger; nothing above 240. */
function toE4m3(x: number): number {
  if (!(x > 0)) return 0;
  if (x < 2 ** -6) return Math.min(7, Math.floor(f(f(x * 512) + 0.5)));
  const exponent = Math.floor(Math.log2(x));
  const code = 8 * (exponent + 7) + Math.floor((x / 2 ** exponent) * 8 + 0.5) - 8;
  return code >= 0x78 ? 0x7e : code;
}

export const nvfp4: BlockReference = {
  values: 64,
  bytes: 36,
  halves: [],
  encodeBlock(x, out) {
    for (let g = 0; g < 4; g++) {
      let magnitude = 0;
      for (let i = 0; i < 16; i++) magnitude = Math.max(magnitude, Math.abs(x[16 * g + i]!));
      out[g] = toE4m3(f(magnitude / 6));
      const d = halfOfE4m3(out[g]!);
      for (let i = 0; i < 16; i++) {
        let best = 0;
        let error = Infinity;
        e2m1Doubled.forEach((v, code) => {
          const distance = Math.abs(f(f(v * d) - x[16 * g + i]!));
          if (distance < error) {
            error = distance;
            best = code;
          }
        });
        const at = 4 + 8 * g + (i % 8);
        out[at] = i < 8 ? best : out[at]! | (best << 4);
      }
    }
  },
  decodeBlock(bytes, y) {
    for (let i = 0; i < 64; i++) {
      const byte = bytes[4 + 8 * (i >> 4) + (i % 8)]!;
      y[i] = e2m1Doubled[i & 8 ? byte >> 4 : byte & 15]! * halfOfE4m3(bytes[i >> 4]!);
    }
  },
};

/** The byte of element i of a tq1_0 block, and its place among the five digits of the byte. */
function tritPlace(i: number): { at: number; digit: number } {
  if (i < 160) return { at: i % 32, digit: Math.floor(i / 32) };
  if (i < 240) return { at: 32 + (i % 16), digit: Math.floor((i - 160) / 16) };
  return { at: 48 + (i % 4), digit: Math.floor((i - 240) / 4) };
}

export const tq1_0: BlockReference = {
  values: 256,
  bytes: 54,
  halves: [52],
  encodeBlock(x, out) {
    let magnitude = 0;
    for (const v of x) magnitude = Math.max(magnitude, Math.abs(v));
    const id = magnitude ? f(1 / magnitude) : 0;
    const numbers = new Array<number>(52).fill(0);
    x.forEach((v, i) => {
      const { at, digit } = tritPlace(i);
      numbers[at]! += (roundAway(f(v * id)) + 1) * 3 ** (4 - digit);
    });
    numbers.forEach((n, at) => {
      out[at] = Math.ceil((256 * n) / 243);
    });
    putHalf(out, 52, magnitude);
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 52);
    for (let i = 0; i < 256; i++) {
      const { at, digit } = tritPlace(i);
      // The fraction of 256 that is left after `digit` digits, times 3.
      y[i] = (Math.floor((((bytes[at]! * 3 ** digit) % 256) * 3) / 256) - 1) * d;
    }
  },
};

export const tq2_0: BlockReference = {
  values: 256,
  bytes: 66,
  halves: [64],
  encodeBlock(x, out) {
    let magnitude = 0;
    for (const v of x) magnitude = Math.max(magnitude, Math.abs(v));
    const id = magnitude ? f(1 / magnitude) : 0;
    putHalf(out, 64, magnitude);
    out.fill(0, 0, 64);
    for (let i = 0; i < 256; i++) {
      const code = truncateTo(0, 3, f(roundAway(f(x[i]! * id)) + 1));
      const inHalf = i % 128;
      out[32 * Math.floor(i / 128) + (inHalf % 32)]! |= code << (2 * Math.floor(inHalf / 32));
    }
  },
  decodeBlock(bytes, y) {
    const d = getHalf(bytes, 64);
    for (let i = 0; i < 256; i++) {
      const inHalf = i % 128;
      const byte = bytes[32 * Math.floor(i / 128) + (inHalf % 32)]!;
      y[i] = (((byte >> (2 * Math.floor(inHalf / 32))) & 3) - 1) * d;
    }
  },
};
