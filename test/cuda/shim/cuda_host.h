// Runs CUDA kernels on the CPU, unchanged: one fiber a thread, one block at a time. A barrier is a place where all
// threads of the block meet, a warp operation one where its 32 lanes do. The order in which threads and blocks run is
// drawn from a seed, so that races show as different results; a thread that ends while others wait at a barrier, or
// waits where the others never come, aborts with the kernel's name.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
static uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

// ---- fibers ----

#if defined(__x86_64__)
extern "C" void shim_switch(void** save, void* to);
// Saves the registers that a callee must keep, changes stacks, and takes the others' from there.
asm(R"(.text
.weak shim_switch
shim_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");
#endif

constexpr size_t stackBytes = 64 << 10;

struct Fiber {
#if defined(__x86_64__)
  void* at = nullptr;
#else
  ucontext_t at;
#endif
  char* stack = nullptr;
  bool done = true;
  const char* waits = "";
};
struct Warp {
  unsigned arrived = 0, generation = 0;
  uint64_t in[32], out[32];
  /** What the lanes bring to a product: two sets, so that those of the next may come while these are read. */
  int operands[2][32][12];
};
/** A copy that has begun; it is made when its thread waits for it. */
struct Copy {
  void* to;
  const void* from;
  int bytes, valid;
};

static std::vector<Fiber> fibers;
static std::vector<Warp> warps;
/** By thread, batches of copies under way, the oldest first; the last one is open. */
static std::vector<std::vector<std::vector<Copy>>> copies;
static Fiber scheduler;
static unsigned current, live, finished, atBarrier, barrierGeneration, moves;
static void (*body)(void*);
static void* bodyArgs;
static const char* kernelName = "";
static uint64_t randomState = 1;

[[noreturn]] static void stop(const char* what) {
  fprintf(stderr, "cuda shim: %s in %s, block %u, thread %u (%u of %u threads have ended, %u wait at __syncthreads)\n", what,
          kernelName, blockIdx.x, current, finished, live + finished, atBarrier);
  fflush(stderr);
  abort();
}

static unsigned randomBelow(unsigned n) {
  randomState ^= randomState << 13;
  randomState ^= randomState >> 7;
  randomState ^= randomState << 17;
  return (unsigned)((randomState >> 32) % n);
}

static void toScheduler(const char* why) {
  Fiber& f = fibers[current];
  f.waits = why;
#if defined(__x86_64__)
  shim_switch(&f.at, scheduler.at);
#else
  swapcontext(&f.at, &scheduler.at);
#endif
}

static void entry() {
  body(bodyArgs);
  fibers[current].done = true;
  for (const auto& batch : copies[current])
    if (!batch.empty()) stop("a thread ended before its copies arrived");
  live -= 1;
  finished += 1;
  moves += 1;
  if (atBarrier) stop("a thread ended while others wait at __syncthreads");
  toScheduler("its end");
  abort();
}

static void start(Fiber& f) {
  if (!f.stack) f.stack = (char*)aligned_alloc(64, stackBytes);
  f.done = false;
#if defined(__x86_64__)
  void** top = (void**)(f.stack + stackBytes - 64);
  *--top = nullptr;
  *--top = (void*)entry;
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  f.at = top;
#else
  getcontext(&f.at);
  f.at.uc_stack.ss_sp = f.stack;
  f.at.uc_stack.ss_size = stackBytes;
  f.at.uc_link = nullptr;
  makecontext(&f.at, entry, 0);
#endif
}

static void resume(unsigned i) {
  current = i;
  threadIdx = {i, 0, 0};
#if defined(__x86_64__)
  shim_switch(&scheduler.at, fibers[i].at);
#else
  swapcontext(&scheduler.at, &fibers[i].at);
#endif
}

static void shuffle(std::vector<unsigned>& order) {
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[randomBelow((unsigned)i)]);
}

static void runBlock() {
  const unsigned n = blockDim.x;
  if (fibers.size() < n) fibers.resize(n);
  warps.assign((n + 31) / 32, Warp());
  copies.assign(n, {{}});
  live = n;
  finished = atBarrier = 0;
  std::vector<unsigned> order(n);
  for (unsigned i = 0; i < n; ++i) {
    order[i] = i;
    start(fibers[i]);
  }
  while (live) {
    moves = 0;
    shuffle(order);
    for (unsigned i : order)
      if (!fibers[i].done) resume(i);
    if (!moves && live) {
      for (unsigned i : order)
        if (!fibers[i].done) current = i;
      stop(fibers[current].waits);
    }
  }
}

template <typename T> uint64_t bitsOf(T v) {
  uint64_t b = 0;
  memcpy(&b, &v, sizeof v);
  return b;
}

/** Gives a value to the warp and waits for all of its lanes; then everybody's values. */
template <typename T> const uint64_t* meet(T v) {
  Warp& w = warps[current / 32];
  const unsigned lane = current % 32;
  if (blockDim.x - current / 32 * 32 < 32) stop("a warp operation in a warp that is not full");
  w.in[lane] = bitsOf(v);
  w.arrived |= 1u << lane;
  moves += 1;
  const unsigned generation = w.generation;
  if (w.arrived == ~0u) {
    memcpy(w.out, w.in, sizeof w.in);
    w.arrived = 0;
    w.generation += 1;
  } else
    while (w.generation == generation) toScheduler("a warp operation that not all lanes reach");
  return w.out;
}

// ---- copies and products ----

/** Until it arrives, what is copied is nothing that a kernel could use: bytes that are a NaN of any width. */
static inline void copyAsync(void* to, const void* from, int bytes, int valid) {
  if ((uintptr_t)to % bytes || (valid && (uintptr_t)from % bytes)) stop("a copy that is not aligned");
  if (valid < 0 || valid > bytes) stop("a copy of more bytes than it has");
  memset(to, 0xff, bytes);
  copies[current].back().push_back({to, from, bytes, valid});
}
static inline void arrive(int pending) {
  auto& mine = copies[current];
  mine.push_back({});
  while ((int)mine.size() - 1 > pending) {
    for (const Copy& c : mine.front()) {
      memset(c.to, 0, c.bytes);
      memcpy(c.to, c.from, c.valid);
    }
    mine.erase(mine.begin());
  }
}

template <typename T, typename F> void multiply(T (&c)[4], const int* a, const int* d, const int* b, int n, F term) {
  Warp& w = warps[current / 32];
  const unsigned lane = current % 32, g = lane / 4, t = lane % 4;
  auto& all = w.operands[w.generation & 1];
  for (int i = 0; i < n; ++i) all[lane][i] = a[i], all[lane][4 + i] = d[i], all[lane][8 + i] = b[i];
  meet(0);
  for (int p = 0; p < 4; ++p)
    for (unsigned part = 0; part < 4; ++part)
      for (int i = 0; i < n; ++i)
        c[p] = term(c[p], (unsigned)all[4 * g + part][(p >> 1) * 4 + i], (unsigned)all[4 * (2 * t + (p & 1)) + part][8 + i]);
}
static inline void product_i8(int (&c)[4], const int* a, const int* d, const int* b, int n) {
  multiply(c, a, d, b, n, [](int sum, unsigned x, unsigned y) {
    for (int i = 0; i < 4; ++i) sum += (int8_t)(x >> 8 * i) * (int8_t)(y >> 8 * i);
    return sum;
  });
}
static inline float halfOf(unsigned bits);
static inline unsigned bitsOfHalf(float f);
static inline float brainOf(unsigned bits) {
  const unsigned u = bits << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static inline unsigned bitsOfBrain(float f) {
  unsigned u;
  memcpy(&u, &f, 4);
  if (f != f) return 0x7fff;
  return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
static inline void product_f16(float (&c)[4], const int* a, const int* d, const int* b, int n) {
  multiply(c, a, d, b, n, [](float sum, unsigned x, unsigned y) {
    sum = fmaf(halfOf(x & 0xffff), halfOf(y & 0xffff), sum);
    return fmaf(halfOf(x >> 16), halfOf(y >> 16), sum);
  });
}
static inline void product_bf16(float (&c)[4], const int* a, const int* d, const int* b, int n) {
  multiply(c, a, d, b, n, [](float sum, unsigned x, unsigned y) {
    sum = fmaf(brainOf(x & 0xffff), brainOf(y & 0xffff), sum);
    return fmaf(brainOf(x >> 16), brainOf(y >> 16), sum);
  });
}
static inline unsigned fma_f16(unsigned a, unsigned b, unsigned c) {
  const auto one = [&](int s) { return bitsOfHalf(fmaf(halfOf(a >> s & 0xffff), halfOf(b >> s & 0xffff), halfOf(c >> s & 0xffff))); };
  return one(0) | one(16) << 16;
}
static inline unsigned fma_bf16(unsigned a, unsigned b, unsigned c) {
  const auto one = [&](int s) { return bitsOfBrain(fmaf(brainOf(a >> s & 0xffff), brainOf(b >> s & 0xffff), brainOf(c >> s & 0xffff))); };
  return one(0) | one(16) << 16;
}
static inline unsigned halves_f16(float a, float b) { return bitsOfHalf(a) | bitsOfHalf(b) << 16; }

// ---- launches ----

struct Launch {
  uint3 grid, block;
  void** args;
};

template <typename... A> void run(const char* name, void (*kernel)(A...), const Launch& l) {
  struct Call {
    void (*kernel)(A...);
    void** args;
  } call{kernel, l.args};
  kernelName = name;
  gridDim = l.grid;
  blockDim = l.block;
  bodyArgs = &call;
  body = [](void* p) {
    Call& c = *(Call*)p;
    [&]<size_t... i>(std::index_sequence<i...>) {
      c.kernel(*(std::remove_reference_t<A>*)c.args[i]...);
    }(std::index_sequence_for<A...>());
  };
  std::vector<unsigned> order(l.grid.x);
  for (unsigned i = 0; i < l.grid.x; ++i) order[i] = i;
  shuffle(order);
  for (unsigned b : order) {
    blockIdx = {b, 0, 0};
    runBlock();
  }
}

/** The same with arguments as a driver packs them: one after another, each on a multiple of its size. */
template <typename... A> void runPacked(const char* name, void (*kernel)(A...), uint3 grid, uint3 block, const char* packed) {
  size_t at = 0;
  const auto place = [&](size_t size) {
    at = (at + size - 1) / size * size + size;
    return (void*)(packed + at - size);
  };
  void* args[] = {place(sizeof(std::remove_reference_t<A>))..., nullptr};
  run(name, kernel, {grid, block, args});
}

}  // namespace shim

// ---- what kernels call ----

#include "cuda_fp16.h"
inline float shim::halfOf(unsigned bits) { return __half2float({(uint16_t)bits}); }
inline unsigned shim::bitsOfHalf(float f) { return __float2half_rn(f).bits; }

static inline void __syncthreads() {
  using namespace shim;
  moves += 1;
  if (finished) stop("__syncthreads after a thread has ended");
  if (++atBarrier == live) {
    atBarrier = 0;
    barrierGeneration += 1;
    return;
  }
  const unsigned generation = barrierGeneration;
  while (barrierGeneration == generation) toScheduler("__syncthreads that not all threads reach");
}
static inline void __syncwarp() { shim::meet(0); }

template <typename T> T __shfl_xor_sync(unsigned, T v, int with) {
  T r;
  memcpy(&r, &shim::meet(v)[shim::current % 32 ^ (unsigned)with], sizeof r);
  return r;
}

static inline float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
static inline float __uint_as_float(unsigned i) { float f; memcpy(&f, &i, 4); return f; }
static inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
static inline unsigned __float_as_uint(float f) { unsigned i; memcpy(&i, &f, 4); return i; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline int __float2int_rz(float f) {
  return f != f ? 0 : f >= 2147483648.0f ? 2147483647 : f < -2147483648.0f ? -2147483647 - 1 : (int)f;
}
static inline unsigned __float2uint_rz(float f) {
  return !(f > 0) ? 0 : f >= 4294967296.0f ? 4294967295u : (unsigned)f;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  const uint64_t both = (uint64_t)b << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned pick = s >> 4 * i & 15;
    unsigned byte = (unsigned)(both >> 8 * (pick & 7)) & 255;
    if (pick & 8) byte = byte & 128 ? 255 : 0;
    r |= byte << 8 * i;
  }
  return r;
}
static inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
  return c;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; ++i) c += (a >> 8 * i & 255) * (b >> 8 * i & 255);
  return c;
}
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
using std::isinf;
using std::isnan;
