// The int8 weights of LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339) as bitsandbytes stores them (Linear8bitLt, row
// layout).
import { abs, amax, dim, format, i8, reshape, round } from 'quern';
import type { Tensor, f32 } from 'quern';

/** 1 / 127, as the library multiplies by it. */
const INVERSE = 7.874015718698502e-3;
/** Columns that are encoded together; any K that is a multiple of it will do. */
const STRIP = 32;

/**
 * Signed 8-bit codes, one f32 scale a row: 8 + 32 / K bits per weight. w = q * absmax / 127.
 *
 * - `absmax`: the largest magnitude of the row. `q`: w * (127 / absmax) rounded half to even; 0 in a row of zeros.
 *
 * Layout: `weight` i8 [N, K], `SCB` f32 [N]. Which columns are outliers is no part of the format: LLM.int8() decides by
 * the activations, see `llmInt8` in ops/int8.ts.
 */
export const int8_rows = format({
  block: STRIP,
  row: (r) => ({ absmax: amax(abs(r)) }),
  encode: (x: Tensor<f32, [32]>, { absmax }) => ({
    q: i8(round(x * (absmax > 0 ? 127 / absmax : 0))),
  }),
  decode: ({ q, absmax }) => q * absmax * INVERSE,
  layout: {
    of: 'tensor',
    pack: ({ q, absmax }) => ({
      weight: reshape(q, [dim(q, 0), dim(q, 1) * STRIP]),
      SCB: absmax,
    }),
    unpack: ({ weight, SCB }, [n, k]) => ({
      absmax: SCB,
      q: reshape(weight, [n, k / STRIP, STRIP]),
    }),
  },
});
