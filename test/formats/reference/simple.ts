// Oracles of ggml's closed-form types, one scalar step at a time, each f32 operation rounded by fround.
import { bitsFloat, f, getHalf, putHalf, roundAway, truncateTo } from './half.ts';
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
