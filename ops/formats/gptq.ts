// The checkpoints of GPTQ (Frantar et al. 2022, arXiv 2210.17323) as AutoGPTQ and GPTQModel write them: qweight, qzeros,
// scales and g_idx of each linear layer.
import {
  at,
  clamp,
  dim,
  f32,
  format,
  gather,
  i32,
  iota,
  map,
  reshape,
  round,
  transpose,
  zeros,
} from 'quern';
import type { Place, Tensor } from 'quern';
import { codeOf, packWords, roundToGrid, unpackWords, type WordBits } from './words.ts';

export interface GptqOptions {
  /** Bits of a code; 4 by default. */
  readonly bits?: WordBits;
  /** Input columns that share a scale; 128 by default. */
  readonly group?: number;
  /** The zero point in the middle of the codes, as with `sym: true`. */
  readonly symmetric?: boolean;
  /** `checkpoint_format`: 1 ("gptq", the default) stores zero points less one, 2 ("gptq_v2") as they are. */
  readonly version?: 1 | 2;
  /** The group of a column comes from g_idx, as `desc_act: true` needs. */
  readonly actOrder?: boolean;
}

/**
 * w = (q - zero) * scale, bits + (16 + bits) / group bits per weight, and 32 / N more for g_idx with `actOrder`.
 *
 * - `q`, `scale` (f16), `zero`: as in the format `uniform`; encoding rounds to nearest (the GPTQ algorithm is another
 *   matter: it finds other codes for the same grid).
 * - `g_idx`, with `actOrder` only: the group of each column. Encoding leaves the columns in order; other orders come
 *   from files. Without `actOrder` a file's g_idx is taken for k / group, unread.
 *
 * Layout, of a matrix [N, K] = [out, in]:
 *
 * - `qweight`: i32 [K * bits / 32, N], each column the codes of a row of the matrix as a stream of bits.
 * - `qzeros`: i32 [K / group, N * bits / 32], each row a stream of the zero points; version 1 stores (zero - 1) modulo
 *   2^bits.
 * - `scales`: f16 [K / group, N]. `g_idx`: i32 [K].
 *
 * N must be a multiple of 32 / bits, N and K multiples of 32 for 3 bits.
 */
export function gptq({
  bits = 4,
  group = 128,
  symmetric = false,
  version = 1,
  actOrder = false,
}: GptqOptions = {}) {
  const offset = version === 1 ? 1 : 0;
  return actOrder
    ? byColumn(bits, group, symmetric, offset)
    : byGroup(bits, group, symmetric, offset);
}

/** The planes of codes [N, K] and of scales and zero points [N, K / group]. */
function planes(q: Tensor, scale: Tensor, zero: Tensor, bits: WordBits, offset: number) {
  const stored = (zero - offset) & (2 ** bits - 1);
  return {
    qweight: transpose(packWords(q, bits)),
    qzeros: packWords(transpose(stored), bits),
    scales: transpose(scale),
  };
}

/** Codes [N, K], scales and zero points [N, K / group] of the planes. */
function fromPlanes(
  planes: { qweight: Tensor; qzeros: Tensor; scales: Tensor },
  [n, k]: readonly [number, number],
  bits: WordBits,
  offset: number,
) {
  const zero = (unpackWords(planes.qzeros, bits, n) + offset) & (2 ** bits - 1);
  return {
    q: codeOf[bits](unpackWords(transpose(planes.qweight), bits, k)),
    scale: transpose(planes.scales),
    zero: codeOf[bits](transpose(zero)),
  };
}

/** 0, ..., 0, 1, ..., 1, ...: the group of each of k columns. */
function inOrder(k: number, group: number): Tensor<i32> {
  return reshape(reshape(iota(k / group), [k / group, 1]) + zeros([1, group], i32), [k]);
}

function byGroup(bits: WordBits, group: number, symmetric: boolean, offset: number) {
  return format({
    block: group,
    encode: (x: Tensor<f32>) => roundToGrid(x, bits, symmetric),
    decode: ({ q, zero, scale }) => (q - zero) * scale,
    layout: {
      of: 'tensor',
      pack({ q, zero, scale }) {
        const k = dim(q, 1) * group;
        const codes = reshape(q, [dim(q, 0), k]);
        return { ...planes(codes, scale, zero, bits, offset), g_idx: inOrder(k, group) };
      },
      unpack(packed, [n, k]) {
        const { q, scale, zero } = fromPlanes(packed, [n, k], bits, offset);
        return { q: reshape(q, [n, k / group, group]), scale, zero };
      },
    },
  });
}

/** Columns that one block decodes together: enough for vectors, and any K takes it that 3-bit words take. */
const STRIP = 32;

function byColumn(bits: WordBits, group: number, symmetric: boolean, offset: number) {
  const strip = (g_idx: Tensor<i32>, { index: [, j] }: Place): Tensor<i32> =>
    at(reshape(g_idx, [-1, STRIP]), j);
  const top = 2 ** bits - 1;
  return format({
    block: STRIP,
    tensor: (w) => ({ g_idx: inOrder(dim(w, 1), group) }),
    row(r) {
      const groups = map(dim(r, 0) / group, (g) => {
        const { scale, zero } = roundToGrid(at(reshape(r, [-1, group]), g), bits, symmetric);
        return { scale, zero };
      });
      return groups;
    },
    encode(x: Tensor<f32, [32]>, { g_idx, scale, zero, place }) {
      const g = strip(g_idx, place);
      const s = gather(scale, g);
      const step = s === 0 ? 1 : f32(s);
      return { q: codeOf[bits](clamp(round(x / step) + gather(zero, g), 0, top)) };
    },
    decode({ q, g_idx, scale, zero, place }) {
      const g = strip(g_idx, place);
      return (q - gather(zero, g)) * gather(scale, g);
    },
    layout: {
      of: 'tensor',
      pack({ q, g_idx, zero, scale }) {
        const codes = reshape(q, [dim(q, 0), dim(q, 1) * STRIP]);
        return { ...planes(codes, scale, zero, bits, offset), g_idx };
      },
      unpack({ g_idx, ...packed }, [n, k]) {
        const { q, scale, zero } = fromPlanes(packed, [n, k], bits, offset);
        return { g_idx, scale, zero, q: reshape(q, [n, k / STRIP, STRIP]) };
      },
    },
  });
}

/** {@link gptq} with 4 bits, groups of 128 and the zero points of version 1, as most checkpoints have them. */
export const gptq_int4 = gptq();
