// Checks and times emitted kernels on a GPU: see make.ts, which writes kernels.inc, checks.bin and timings.bin.
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>
#include "kernels.inc"
#if __has_include(<cublas_v2.h>) && !defined(NO_VENDOR)
#include <cublas_v2.h>
#define VENDOR
#endif

#define TRY(call)                                                                          \
  do {                                                                                     \
    const cudaError_t e = (call);                                                          \
    if (e != cudaSuccess) {                                                                \
      fprintf(stderr, "%s: %s (line %d)\n", #call, cudaGetErrorString(e), __LINE__);       \
      exit(1);                                                                             \
    }                                                                                      \
  } while (0)

struct Reader {
  std::vector<char> all;
  size_t at = 0;
  explicit Reader(const char* path) {
    FILE* f = fopen(path, "rb");
    fseek(f, 0, SEEK_END);
    all.resize((size_t)ftell(f));
    rewind(f);
    if (fread(all.data(), 1, all.size(), f) != all.size()) exit(2);
    fclose(f);
  }
  int32_t word() {
    int32_t v;
    memcpy(&v, &all[at], 4);
    at += 4;
    return v;
  }
  const char* bytes(size_t n) {
    at += n;
    return &all[at - n];
  }
  std::string text() {
    const int n = word();
    return std::string(bytes(n), n);
  }
};

struct Launch {
  int kernel, grid, block;
  std::vector<int> buffers, dims;
};
static std::vector<Launch> launchesOf(Reader& in) {
  std::vector<Launch> out(in.word());
  for (auto& l : out) {
    l.kernel = in.word();
    l.grid = in.word();
    l.block = in.word();
    l.buffers.resize(in.word());
    for (auto& b : l.buffers) b = in.word();
    l.dims.resize(in.word());
    for (auto& d : l.dims) d = in.word();
  }
  return out;
}
static void start(const Launch& l, std::vector<char*>& buffers) {
  if (l.grid == 0) return;
  std::vector<void*> args;
  for (int b : l.buffers) args.push_back(&buffers[b]);
  for (const int& d : l.dims) args.push_back((void*)&d);
  TRY(cudaLaunchKernel(table[l.kernel], dim3(l.grid), dim3(l.block), args.data(), 0, nullptr));
}

static int check() {
  Reader in("checks.bin");
  int bad = 0, jobs = in.word();
  for (int j = 0; j < jobs; ++j) {
    const std::string name = in.text();
    std::vector<char*> buffers(in.word());
    std::vector<int> results;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const int bytes = in.word(), given = in.word();
      if (in.word()) results.push_back((int)i);
      TRY(cudaMalloc(&buffers[i], bytes + 256));
      TRY(cudaMemset(buffers[i], 0xa5, bytes + 256));
      if (given) TRY(cudaMemcpy(buffers[i], in.bytes(bytes), bytes, cudaMemcpyHostToDevice));
    }
    for (const Launch& l : launchesOf(in)) start(l, buffers);
    TRY(cudaDeviceSynchronize());
    const int wanted = in.word();
    double worst = 0;
    for (int r = 0; r < wanted; ++r) {
      const int bytes = in.word(), isFloat = in.word();
      const double tolerance = in.word() * 1e-6;
      const char* want = in.bytes(bytes);
      std::vector<char> got(bytes);
      TRY(cudaMemcpy(got.data(), buffers[results[r]], bytes, cudaMemcpyDeviceToHost));
      if (!isFloat) {
        for (int i = 0; i < bytes; ++i) if (got[i] != want[i]) worst = INFINITY;
        continue;
      }
      for (int i = 0; i < bytes / 4; ++i) {
        float a, b;
        memcpy(&a, &got[4 * i], 4);
        memcpy(&b, &want[4 * i], 4);
        if (a == b || (a != a && b != b)) continue;
        const double off = fabs((double)a - b) / fmax(1.0, fabs((double)b));
        if (!(off <= tolerance)) worst = INFINITY;
        worst = fmax(worst, off);
      }
    }
    if (std::isinf(worst)) bad += 1;
    if (std::isinf(worst)) printf("WRONG %s\n", name.c_str());
    for (char* b : buffers) TRY(cudaFree(b));
  }
  printf("checks: %d of %d agree with the interpreter\n", jobs - bad, jobs);
  return bad;
}

__global__ void fill(unsigned* p, size_t n, int kind) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    unsigned h = (unsigned)i * 2654435761u;
    h ^= h >> 15;
    // f32 in (-1, 1); pairs of f16 in (0, 0.25); any bits.
    if (kind == 1) p[i] = __float_as_uint((float)(int)h * (1.0f / 2147483648.0f));
    else if (kind == 2) p[i] = (h & 0x03ff03ffu) | 0x30003000u;
    else p[i] = h;
  }
}

template <typename F> static float bestMilliseconds(int runs, F body) {
  cudaEvent_t a, b;
  TRY(cudaEventCreate(&a));
  TRY(cudaEventCreate(&b));
  float best = INFINITY;
  for (int r = 0; r < 5; ++r) {
    TRY(cudaEventRecord(a));
    for (int i = 0; i < runs; ++i) body(i);
    TRY(cudaEventRecord(b));
    TRY(cudaEventSynchronize(b));
    float ms;
    TRY(cudaEventElapsedTime(&ms, a, b));
    best = fminf(best, ms / runs);
  }
  return best;
}

#ifdef VENDOR
/** Milliseconds of the same product of f16 matrices; weights in copies, so that they are not found in the cache. */
static float vendor(int M, int N, int K) {
  static cublasHandle_t handle = nullptr;
  if (!handle && cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS) exit(1);
  const size_t weights = (size_t)N * K;
  const int copies = (int)(((size_t)256 << 20) / weights) + 2;
  __half *x, *w, *y;
  TRY(cudaMalloc(&x, (size_t)M * K * 2));
  TRY(cudaMalloc(&w, weights * copies * 2));
  TRY(cudaMalloc(&y, (size_t)M * N * 2));
  fill<<<1024, 256>>>((unsigned*)x, (size_t)M * K / 2, 2);
  fill<<<1024, 256>>>((unsigned*)w, weights * copies / 2, 2);
  TRY(cudaDeviceSynchronize());
  const float one = 1, zero = 0;
  const float ms = bestMilliseconds(2 * copies, [&](int i) {
    const cublasStatus_t s = cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, N, M, K, &one, w + weights * (i % copies), CUDA_R_16F, K,
                                          x, CUDA_R_16F, K, &zero, y, CUDA_R_16F, N, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    if (s != CUBLAS_STATUS_SUCCESS) exit(1);
  });
  for (__half* p : {x, w, y}) TRY(cudaFree(p));
  return ms;
}
#endif

static void time() {
  const size_t big = (size_t)1 << 30;
  char *from, *to;
  TRY(cudaMalloc(&from, big));
  TRY(cudaMalloc(&to, big));
  const float copyMs = bestMilliseconds(10, [&](int) { TRY(cudaMemcpyAsync(to, from, big, cudaMemcpyDeviceToDevice)); });
  const double copy = 2.0 * big / copyMs / 1e6;
  printf("copy: %.0f GB/s\n", copy);
  TRY(cudaFree(from));
  TRY(cudaFree(to));
  Reader in("timings.bin");
  for (int jobs = in.word(); jobs > 0; --jobs) {
    const std::string name = in.text();
    const int M = in.word(), N = in.word(), K = in.word();
    const int n = in.word();
    std::vector<int> bytes(n), kind(n);
    std::vector<const char*> given(n);
    size_t total = 0;
    for (int i = 0; i < n; ++i) {
      bytes[i] = in.word();
      kind[i] = in.word();
      const int isGiven = in.word(), isScratch = in.word();
      given[i] = isGiven ? in.bytes(bytes[i]) : nullptr;
      if (!isScratch) total += bytes[i];
    }
    const std::vector<Launch> launches = launchesOf(in);
    // Copies of everything, so that no run finds its weights in the cache.
    const int copies = (int)((((size_t)512 << 20) + total - 1) / total) + 1;
    std::vector<std::vector<char*>> sets(copies, std::vector<char*>(n));
    for (auto& s : sets)
      for (int i = 0; i < n; ++i) {
        TRY(cudaMalloc(&s[i], bytes[i] + 256));
        fill<<<1024, 256>>>((unsigned*)s[i], (bytes[i] + 3) / 4, kind[i]);
        if (given[i]) TRY(cudaMemcpy(s[i], given[i], bytes[i], cudaMemcpyHostToDevice));
      }
    TRY(cudaDeviceSynchronize());
    const float ms = bestMilliseconds(2 * copies, [&](int i) {
      for (const Launch& l : launches) start(l, sets[i % copies]);
    });
    const double rate = total / ms / 1e6;
    printf("%-28s %8.2f us %7.0f GB/s %5.1f %% of copy", name.c_str(), ms * 1e3, rate, 100 * rate / copy);
    if (M >= 16) {
      printf(" %7.1f TFLOP/s", 2e-9 * M * N * K / ms);
#ifdef VENDOR
      printf(", %.2f of cuBLAS on f16", vendor(M, N, K) / ms);
#endif
    }
    printf("\n");
    for (auto& s : sets)
      for (char* b : s) TRY(cudaFree(b));
  }
}

int main() {
  const int bad = check();
  time();
  return bad ? 1 : 0;
}
