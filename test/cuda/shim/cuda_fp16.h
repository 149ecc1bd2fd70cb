// Half precision for the shim: storage and exact conversions, rounding to nearest even.
#pragma once
#include <cstdint>
#include <cstring>

struct __half {
  uint16_t bits;
};

static inline float __half2float(__half h) {
  const uint32_t sign = (uint32_t)(h.bits >> 15) << 31, e = h.bits >> 10 & 31, m = h.bits & 1023;
  if (e == 0) {
    const float v = (float)m * 5.9604644775390625e-08f;
    return sign ? -v : v;
  }
  const uint32_t u = sign | (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static inline __half __float2half_rn(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
  u &= 0x7fffffff;
  if (u > 0x7f800000) return {(uint16_t)0x7fff};
  if (u >= 0x477ff000) return {(uint16_t)(sign | 0x7c00)};
  // Below the smallest normal number the distance is that of an integer in units of 2^-24.
  const int shift = u < 0x38800000 ? 126 - (int)(u >> 23) : 13;
  if (shift > 25) return {sign};
  const uint32_t m = u < 0x38800000 ? (u & 0x7fffff) | 0x800000 : u - 0x38000000;
  const uint32_t half = 1u << (shift - 1), rest = m & ((1u << shift) - 1);
  uint32_t r = m >> shift;
  if (rest > half || (rest == half && (r & 1))) r += 1;
  return {(uint16_t)(sign | r)};
}

static inline uint16_t __half_as_ushort(__half h) { return h.bits; }
static inline __half __ushort_as_half(unsigned short b) { return {b}; }
