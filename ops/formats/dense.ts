// Plain floats as formats, so that a kernel written for encoded weights also takes uncompressed ones.
import { bf16, f16, f32, format } from 'quern';
import type { Tensor } from 'quern';

/** IEEE half precision (binary16), 16 bits per weight; overflows to Inf. `w`: the value. */
export const dense_f16 = format({
  block: 1,
  encode: (x: Tensor<f32, [1]>) => ({ w: f16(x) }),
  decode: ({ w }) => f32(w),
});

/** bfloat16, 16 bits per weight; rounds half to even. `w`: the value. */
export const dense_bf16 = format({
  block: 1,
  encode: (x: Tensor<f32, [1]>) => ({ w: bf16(x) }),
  decode: ({ w }) => f32(w),
});

/** IEEE single precision, 32 bits per weight. `w`: the value. */
export const dense_f32 = format({
  block: 1,
  encode: (x: Tensor<f32, [1]>) => ({ w: f32(x) }),
  decode: ({ w }) => f32(w),
});
