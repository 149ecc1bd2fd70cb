// The dynamic 8-bit format of bitsandbytes (quantize_blockwise; 8-bit Optimizers, Dettmers et al. 2022, arXiv 2110.02861).
import { abs, amax, dim, format, gather, reshape } from 'quern';
import type { Tensor, f32 } from 'quern';
import { dynamicMap, nearestCode } from './bnb.ts';

/**
 * 8-bit codes into a codebook that is denser towards 0 by decades, one f32 scale a block: 8 + 32 / block bits per weight,
 * and 1024 bytes a tensor for the codebook.
 *
 * - `map`: the codebook, as it comes from a file; encoding writes that of `create_dynamic_map`, signed.
 * - `absmax`: the largest magnitude of the block. `q`: code of the number nearest to x / absmax, the even one on ties.
 *
 * A block of zeros has absmax 0 and all codes 0, and decodes to -0. Layout: `weight` u8, `absmax` f32, `code` f32 [256], the
 * names of quantize_blockwise.
 */
export function dynamicFloat8({ block = 256 }: { block?: number } = {}) {
  return format({
    block,
    tensor: () => ({ map: dynamicMap() }),
    encode(x: Tensor<f32>, { map }) {
      const absmax = amax(abs(x));
      return { absmax, q: nearestCode(map, x * (1 / absmax)) };
    },
    decode: ({ q, absmax, map }) => gather(map, q) * absmax,
    layout: {
      of: 'tensor',
      pack: ({ q, absmax, map }) => ({
        weight: reshape(q, [dim(q, 0), dim(q, 1) * block]),
        absmax,
        code: map,
      }),
      unpack: ({ weight, absmax, code }, [n, k]) => ({
        map: code,
        absmax,
        q: reshape(weight, [n, k / block, block]),
      }),
    },
  });
}

/** {@link dynamicFloat8} with blocks of 256, as 8-bit optimizer states have them. */
export const dynamic8 = dynamicFloat8();
