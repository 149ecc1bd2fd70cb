// The layout that the hand-written kernels read: lanes are rows. Four rows make a group, `groups` groups lie together, and for
// each block of 32 come the f16 scales of all their rows and then the codes of each group.
import { BLOCK, type Codes } from '../product.ts';

/**
 * Byte r * 4 + j of vector v holds, from its low bits up, the codes k = 4 v + j, then those a field further on, of row r of its
 * group: four consecutive weights of a row meet four consecutive activations.
 */
export function laneRows({ n, k, bits, codes, halves }: Codes, groups: number): Uint8Array {
  const blocks = k / BLOCK;
  const fields = 8 / bits;
  const stride = BLOCK / fields;
  const header = 8 * groups;
  const body = 16 * bits;
  const out = new Uint8Array((n / 4) * blocks * (8 + body));
  const heads = new Uint16Array(out.buffer);
  const mask = 2 ** bits - 1;
  let at = 0;
  for (let row = 0; row < n; row += 4 * groups)
    for (let b = 0; b < blocks; b += 1) {
      for (let r = 0; r < 4 * groups; r += 1) {
        const line = (row + r) * k + b * BLOCK;
        heads[at / 2 + r] = halves[(row + r) * blocks + b]!;
        const place = at + header + (r >> 2) * body + (r & 3) * 4;
        for (let i = 0; i < stride; i += 1) {
          let byte = 0;
          for (let f = 0; f < fields; f += 1)
            byte |= (codes[line + f * stride + i]! & mask) << (f * bits);
          out[place + (i >> 2) * 16 + (i & 3)] = byte;
        }
      }
      at += header + body * groups;
    }
  return out;
}

/** f32 weights for the tiled product: eight rows side by side, [N / 8, K, 8]. */
export function panels(w: Float32Array, n: number, k: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(n * k);
  for (let row = 0; row < n; row += 1)
    for (let i = 0; i < k; i += 1) out[((row >> 3) * k + i) * 8 + (row & 7)] = w[row * k + i]!;
  return out;
}
