// Device functions that kernels call: printed in front of them, only those in use. Whatever has a body of its own for
// the host is what the hardware has an instruction for.
export interface Part {
  readonly text: string;
  readonly needs?: readonly string[];
}

export type PartName = keyof typeof parts;

const device = 'static __device__ __forceinline__';

const op = (name: string, body: string): Part => ({
  text: `struct ${name} {\n  template <typename T> ${device} T of(T a, T b) { return ${body}; }\n};`,
});
const extreme = (name: 'min' | 'max', sign: '<' | '>', zero: string): Part => ({
  text: [
    `/* The ${name === 'min' ? 'smaller' : 'larger'}; NaN if either is, and -0 is below 0. */`,
    `${device} float ${name}_nan(float a, float b) {`,
    '#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800',
    '  float r;',
    `  asm("${name}.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));`,
    '  return r;',
    '#else',
    '  if (a != a || b != b) return __int_as_float(0x7fffffff);',
    `  if (a == b) return ${zero};`,
    `  return a ${sign} b ? a : b;`,
    '#endif',
    '}',
  ].join('\n'),
});

/** Overloads by type, so that the combining structs serve all scalars. */
const chosen = (name: 'min' | 'max', sign: '<' | '>'): Part => ({
  text: [
    `[[maybe_unused]] ${device} float ${name}_of(float a, float b) { return ${name}_nan(a, b); }`,
    `[[maybe_unused]] ${device} int ${name}_of(int a, int b) { return a ${sign} b ? a : b; }`,
    `[[maybe_unused]] ${device} unsigned ${name}_of(unsigned a, unsigned b) { return a ${sign} b ? a : b; }`,
    `[[maybe_unused]] ${device} bool ${name}_of(bool a, bool b) { return a ${sign} b ? a : b; }`,
  ].join('\n'),
  needs: [`${name}_nan`],
});

/**
 * What the hardware has an instruction for: its body for the device, and the one for the host, where `shim` is what
 * CUDA's headers are replaced by.
 */
const twoBodies = (head: string, asm: string, host: string): string => `${device} ${head} {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  ${asm}
#elif defined(__CUDA_ARCH__)
#error "this needs sm_80: for older GPUs there is the preset sm_75"
#elif !defined(__CUDACC__)
  ${host}
#endif
}`;

/** A warp's product of 16 and of 8 rows: registers of a are row g, row g + 8, and both again further on. */
const product = (kind: string, sum: string, instruction: string, constraint: string): Part => ({
  text: `/* c += the products of 16 rows (a and d, eight apart) and 8 rows (b), a part of whose depth each lane has. */
${twoBodies(
  `void product_${kind}(${sum} (&c)[4], const int (&a)[n], const int (&d)[n], const int (&b)[n])`,
  `#pragma unroll
  for (int i = 0; i < n; i += 2)
    asm("${instruction} {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+${constraint}"(c[0]), "+${constraint}"(c[1]), "+${constraint}"(c[2]), "+${constraint}"(c[3])
        : "r"(a[i]), "r"(d[i]), "r"(a[i + 1]), "r"(d[i + 1]), "r"(b[i]), "r"(b[i + 1]));`,
  `shim::product_${kind}(c, a, d, b, n);`,
)
  .replace(device, `template <int n> ${device}`)
  .replace('  #pragma', '#pragma')}`,
});

export const parts = {
  fp16: { text: '#include <cuda_fp16.h>' },
  copy: {
    text: `/* Memory from one place to another, n pieces of a type, on whose size both are aligned. */
template <typename T, int n> ${device} void copy(void* to, const void* from) {
#pragma unroll
  for (int i = 0; i < n; ++i) ((T*)to)[i] = ((const T*)from)[i];
}`,
  },
  bits: {
    text: `/* Element i of packed elements of b bits. */
template <int b> ${device} unsigned bits(const unsigned char* p, int i) {
  const size_t at = (size_t)i * b;
  const int shift = (int)(at & 7);
  unsigned v = p[at >> 3];
  if (shift + b > 8) v |= (unsigned)p[(at >> 3) + 1] << 8;
  return v >> shift & ((1u << b) - 1);
}`,
  },
  put_bits: {
    text: `/* Sets element i of packed elements of b bits. Elements of one byte belong to one thread. */
template <int b> ${device} void put_bits(unsigned char* p, int i, int value) {
  const size_t at = (size_t)i * b;
  const int shift = (int)(at & 7);
  const unsigned mask = (1u << b) - 1;
  const unsigned v = ((unsigned)value & mask) << shift;
  p[at >> 3] = (unsigned char)((p[at >> 3] & ~(mask << shift)) | v);
  if (shift + b > 8)
    p[(at >> 3) + 1] = (unsigned char)((p[(at >> 3) + 1] & ~(mask << shift >> 8)) | v >> 8);
}`,
  },
  word_bits: {
    text: `/* Element l of packed elements of b bits, in registers. */
template <int b> ${device} unsigned word_bits(const unsigned* w, int l) {
  const int at = l * b, shift = at & 31;
  unsigned v = w[at >> 5] >> shift;
  if (shift + b > 32) v |= w[(at >> 5) + 1] << (32 - shift);
  return v & ((1u << b) - 1);
}`,
  },
  put_word_bits: {
    text: `/* Sets element l, which is zero, of packed elements of b bits in registers. */
template <int b> ${device} void put_word_bits(unsigned* w, int l, int value) {
  const int at = l * b, shift = at & 31;
  const unsigned v = (unsigned)value & ((1u << b) - 1);
  w[at >> 5] |= v << shift;
  if (shift + b > 32) w[(at >> 5) + 1] |= v >> (32 - shift);
}`,
  },
  nibbles: {
    text: `/* Nibbles 4i to 4i + 3 as the bytes of a word. */
${device} unsigned nibble_bytes(const unsigned* w, int i) {
  const unsigned v = w[i / 2] >> i % 2 * 16;
  return __byte_perm(v & 0x0f0fu, v >> 4 & 0x0f0fu, 0x5140);
}`,
  },
  crumbs: {
    text: `/* Pairs of bits 4i to 4i + 3 as the bytes of a word. */
${device} unsigned crumb_bytes(const unsigned* w, int i) {
  const unsigned v = w[i / 4] >> i % 4 * 8;
  return (v & 3u) | (v & 12u) << 6 | (v & 48u) << 12 | (v & 192u) << 18;
}`,
  },
  table_bytes: {
    text: `/* The bytes of a table of 16, four entries a word, that nibbles 4i to 4i + 3 number. */
${device} unsigned table_bytes(const unsigned* w, int i, unsigned a, unsigned b, unsigned c, unsigned d) {
  const unsigned v = w[i / 2] >> i % 2 * 16;
  return __byte_perm(__byte_perm(a, b, v & 0x7777u), __byte_perm(c, d, v & 0x7777u), 0x3210u | (v & 0x8888u) >> 1);
}`,
  },
  byte_float: {
    text: `/* Byte i, which has a sign, of a word. */
${device} float byte_float(unsigned w, int i) {
  return __uint_as_float(__byte_perm(w ^ 0x80808080u, 0x4b000000u, 0x7440u + i)) - 8388736.0f;
}`,
  },
  bytes: {
    text: `/* Four sums and differences modulo 256. */
[[maybe_unused]] ${device} unsigned add_bytes(unsigned a, unsigned b) {
  return ((a & 0x7f7f7f7fu) + (b & 0x7f7f7f7fu)) ^ ((a ^ b) & 0x80808080u);
}
[[maybe_unused]] ${device} unsigned sub_bytes(unsigned a, unsigned b) {
  return ((a | 0x80808080u) - (b & 0x7f7f7f7fu)) ^ ((a ^ ~b) & 0x80808080u);
}`,
  },
  min_nan: extreme('min', '<', '__float_as_int(a) < 0 ? a : b'),
  max_nan: extreme('max', '>', '__float_as_int(a) < 0 ? b : a'),
  min_of: chosen('min', '<'),
  max_of: chosen('max', '>'),
  Add: op('Add', 'a + b'),
  And: op('And', 'a & b'),
  Or: op('Or', 'a | b'),
  Min: { ...op('Min', 'min_of(a, b)'), needs: ['min_of'] },
  Max: { ...op('Max', 'max_of(a, b)'), needs: ['max_of'] },
  lanes: {
    text: `/* All lanes of a vector combined, in halves. */
template <class Op, typename T, int n> ${device} T combine_lanes(const T (&v)[n]) {
  T half[n / 2];
#pragma unroll
  for (int l = 0; l < n / 2; ++l) half[l] = Op::of(v[l], v[l + n / 2]);
  if constexpr (n == 2) return half[0];
  else return combine_lanes<Op>(half);
}`,
  },
  warp: {
    text: `/* The values of a warp's lanes combined; every lane gets the result. */
template <class Op, typename T> ${device} T combine_warp(T v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v = Op::of(v, (T)__shfl_xor_sync(0xffffffffu, v, step));
  return v;
}`,
  },
  product_i8: product('i8', 'int', 'mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32', 'r'),
  product_f16: product('f16', 'float', 'mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32', 'f'),
  product_bf16: product(
    'bf16',
    'float',
    'mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32',
    'f',
  ),
  copy_async: {
    text: `/* A copy into shared memory that is under way until arrive; bytes from valid on become zero. */
template <int bytes> ${twoBodies(
      'void copy_async(void* to, const void* from, int valid = bytes)',
      `const unsigned at = (unsigned)__cvta_generic_to_shared(to);
  if constexpr (bytes == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(at), "l"(from), "r"(valid) : "memory");
  else asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" :: "r"(at), "l"(from), "n"(bytes), "r"(valid) : "memory");`,
      'shim::copyAsync(to, from, bytes, valid);',
    )}
/* Ends a batch of copies; all but the last few batches have arrived then. */
template <int pending> ${twoBodies(
      'void arrive()',
      'asm volatile("cp.async.commit_group;\\ncp.async.wait_group %0;" :: "n"(pending) : "memory");',
      'shim::arrive(pending);',
    )}`,
  },
  fma_f16: {
    text: `/* Of two halves: a * b + c. */
${twoBodies(
  'unsigned fma_f16(unsigned a, unsigned b, unsigned c)',
  'unsigned r;\n  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));\n  return r;',
  'return shim::fma_f16(a, b, c);',
)}`,
  },
  fma_bf16: {
    text: `/* Of two halves: a * b + c. */
${twoBodies(
  'unsigned fma_bf16(unsigned a, unsigned b, unsigned c)',
  'unsigned r;\n  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));\n  return r;',
  'return shim::fma_bf16(a, b, c);',
)}`,
  },
  halves_f16: {
    text: `/* Two numbers rounded to halves. */
${twoBodies(
  'unsigned halves_f16(float a, float b)',
  'unsigned r;\n  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));\n  return r;',
  'return shim::halves_f16(a, b);',
)}`,
  },
  halves_bf16: {
    text: `/* The upper halves of two numbers. */
${device} unsigned halves_bf16(float a, float b) { return __byte_perm(__float_as_uint(a), __float_as_uint(b), 0x7632); }`,
  },
  paired: {
    text: `/* Halves i and, of as many words, i + n further on as one word. */
${device} unsigned paired(const unsigned* w, int i, int n) {
  return __byte_perm(w[i / 2], w[n + i / 2], i % 2 ? 0x7632 : 0x5410);
}`,
  },
  paired_bytes: {
    text: `/* Bytes i and i + n in the lower half of a word. */
${device} unsigned paired_bytes(const unsigned* w, int i, int n) {
  return __byte_perm(w[i / 4] >> i % 4 * 8, w[(n + i) / 4] >> (n + i) % 4 * 8, 0x0040);
}`,
  },
  bytes_of: {
    text: `/* Four small integers as the bytes of a word. */
${device} unsigned bytes_of(int a, int b, int c, int d) {
  return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}`,
  },
  byte_f16: {
    text: `/* Two bytes with a sign as halves: below the bits of 1024. */
${device} unsigned byte_f16(unsigned w, unsigned pick) {
  return fma_f16(__byte_perm(w ^ 0x80808080u, 0x64646464u, pick), 0x3c003c00u, 0xe480e480u);
}`,
    needs: ['fma_f16'],
  },
  byte_bf16: {
    text: `/* Two bytes with a sign as halves: seven bits below those of 128, less what the sign stands for. */
${device} unsigned byte_bf16(unsigned w, unsigned pick) {
  const unsigned v = __byte_perm(w, 0, pick);
  return fma_bf16((v & 0x007f007fu) | 0x43004300u, 0x3f803f80u, (v & 0x00800080u) | 0xc300c300u);
}`,
    needs: ['fma_bf16'],
  },
  table_pick: {
    text: `/* Four bytes of a table of 16, by the lower bits and the top bit of what numbers them. */
${device} unsigned table_pick(unsigned low, unsigned top, unsigned a, unsigned b, unsigned c, unsigned d) {
  return __byte_perm(__byte_perm(a, b, low), __byte_perm(c, d, low), top);
}`,
  },
  table_high: {
    text: `/* Eight halves of a table of 16, of which the lower bytes are zero. */
${device} void table_high(int* to, unsigned v, unsigned a, unsigned b, unsigned c, unsigned d) {
  const unsigned low = v & 0x77777777u, top = (v & 0x88888888u) >> 1 | 0x32103210u;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const unsigned high = table_pick(low >> 16 * i, top >> 16 * i, a, b, c, d);
    to[2 * i] = __byte_perm(high, 0, 0x1404);
    to[2 * i + 1] = __byte_perm(high, 0, 0x3424);
  }
}`,
    needs: ['table_pick'],
  },
  table_halves: {
    text: `/* Eight halves of a table of 16: its upper and its lower bytes. */
${device} void table_halves(int* to, unsigned v, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f, unsigned g, unsigned h) {
  const unsigned low = v & 0x77777777u, top = (v & 0x88888888u) >> 1 | 0x32103210u;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const unsigned high = table_pick(low >> 16 * i, top >> 16 * i, a, b, c, d);
    const unsigned rest = table_pick(low >> 16 * i, top >> 16 * i, e, f, g, h);
    to[2 * i] = __byte_perm(rest, high, 0x5140);
    to[2 * i + 1] = __byte_perm(rest, high, 0x7362);
  }
}`,
    needs: ['table_pick'],
  },
  nibble_f16: {
    text: `/* Eight nibbles less a number as halves: below the bits of 1024. */
template <bool pairs, int less> ${device} void nibble_f16(int* to, unsigned v) {
  const unsigned one = 0x3c003c00u, sixteenth = 0x2c002c00u;
  const unsigned low = (0xe400u + less) * 0x10001u, high = (0xd400u + 16 * less) * 0x10001u;
  if constexpr (pairs) {
    const unsigned u = v >> 8;
    to[0] = fma_f16((v & 0x000f000fu) | 0x64006400u, one, low);
    to[1] = fma_f16((v & 0x00f000f0u) | 0x64006400u, sixteenth, high);
    to[2] = fma_f16((u & 0x000f000fu) | 0x64006400u, one, low);
    to[3] = fma_f16((u & 0x00f000f0u) | 0x64006400u, sixteenth, high);
  } else {
    const unsigned u = v >> 4, a = __byte_perm(v, u, 0x5410), b = __byte_perm(v, u, 0x7632);
    to[0] = fma_f16((a & 0x000f000fu) | 0x64006400u, one, low);
    to[1] = fma_f16((a >> 8 & 0x000f000fu) | 0x64006400u, one, low);
    to[2] = fma_f16((b & 0x000f000fu) | 0x64006400u, one, low);
    to[3] = fma_f16((b >> 8 & 0x000f000fu) | 0x64006400u, one, low);
  }
}`,
    needs: ['fma_f16'],
  },
  nibble_bf16: {
    text: `/* Eight nibbles less a number as halves: below the bits of 128. */
template <bool pairs, int less> ${device} void nibble_bf16(int* to, unsigned v) {
  const unsigned low = (0xc300u + less) * 0x10001u;
  const unsigned u = v >> 4, a = pairs ? v : __byte_perm(v, u, 0x5410), b = pairs ? u : a >> 8;
  const unsigned c = pairs ? v >> 8 : __byte_perm(v, u, 0x7632), d = pairs ? v >> 12 : c >> 8;
  to[0] = fma_bf16((a & 0x000f000fu) | 0x43004300u, 0x3f803f80u, low);
  to[1] = fma_bf16((b & 0x000f000fu) | 0x43004300u, 0x3f803f80u, low);
  to[2] = fma_bf16((c & 0x000f000fu) | 0x43004300u, 0x3f803f80u, low);
  to[3] = fma_bf16((d & 0x000f000fu) | 0x43004300u, 0x3f803f80u, low);
}`,
    needs: ['fma_bf16'],
  },
  group: {
    text: `/* The values of a block's threads combined; every thread gets the result. */
template <class Op, typename T> ${device} T combine_group(T v) {
  __shared__ T part[32];
  v = combine_warp<Op>(v);
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  T all = part[0];
  for (unsigned i = 1; i < blockDim.x / 32; ++i) all = Op::of(all, part[i]);
  return all;
}`,
    needs: ['warp'],
  },
  int_div: {
    text: `/* Whole division that truncates; by 0 it gives 0. */
[[maybe_unused]] ${device} int int_div(int a, int b) { return b == 0 ? 0 : b == -1 ? (int)(0u - (unsigned)a) : a / b; }
[[maybe_unused]] ${device} unsigned int_div(unsigned a, unsigned b) { return b == 0 ? 0 : a / b; }`,
  },
  int_rem: {
    text: `/* Remainder with the sign of the dividend; by 0 it is 0. */
[[maybe_unused]] ${device} int int_rem(int a, int b) { return b == 0 || b == -1 ? 0 : a % b; }
[[maybe_unused]] ${device} unsigned int_rem(unsigned a, unsigned b) { return b == 0 ? 0 : a % b; }`,
  },
  add_wrap: {
    text: `/* Arithmetic modulo 2^32. */
${device} int add_wrap(int a, int b) { return (int)((unsigned)a + (unsigned)b); }`,
  },
  sub_wrap: {
    text: `/* Arithmetic modulo 2^32. */
${device} int sub_wrap(int a, int b) { return (int)((unsigned)a - (unsigned)b); }`,
  },
  mul_wrap: {
    text: `/* Arithmetic modulo 2^32. */
${device} int mul_wrap(int a, int b) { return (int)((unsigned)a * (unsigned)b); }`,
  },
  power: {
    text: `/* Not a number where 1 or -1 is raised to one that is infinite or none. */
${device} float power(float a, float b) {
  return b != b || (fabsf(a) == 1.0f && isinf(b)) ? __int_as_float(0x7fc00000) : powf(a, b);
}`,
  },
} as const satisfies Record<string, Part>;

/** The parts used and what they need, in the order of the table. */
export function preludeText(used: ReadonlySet<PartName>): string {
  const all = new Set<PartName>();
  const add = (name: PartName): void => {
    if (all.has(name)) return;
    all.add(name);
    for (const n of (parts[name] as Part).needs ?? []) add(n as PartName);
  };
  used.forEach(add);
  return (Object.keys(parts) as PartName[])
    .filter((n) => all.has(n))
    .map((n) => parts[n].text)
    .join('\n\n');
}
