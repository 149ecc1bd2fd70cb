// What launchers and programs use of the CUDA runtime, on the CPU: memory of the device is memory of the host, and a
// launch has run when it returns.
#pragma once
#include "cuda_host.h"

typedef int cudaError_t;
typedef struct CUstream_st* cudaStream_t;
enum { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };

struct dim3 : uint3 {
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : uint3{a, b, c} {}
};

static inline cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = aligned_alloc(256, (bytes + 511) / 256 * 256);
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
template <typename T> cudaError_t cudaMalloc(T** p, size_t bytes) { return cudaMalloc((void**)p, bytes); }
static inline cudaError_t cudaFree(void* p) { return free(p), cudaSuccess; }
static inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t = 0) {
  return memcpy(to, from, bytes), cudaSuccess;
}
static inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  return memcpy(to, from, bytes), cudaSuccess;
}
static inline cudaError_t cudaStreamCreate(cudaStream_t* s) { return *s = (cudaStream_t)1, cudaSuccess; }
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
static inline const char* cudaGetErrorString(cudaError_t e) { return e == cudaErrorInvalidValue ? "invalid argument" : "an error"; }
template <typename T> cudaError_t cudaGetSymbolAddress(void** p, const T& symbol) { return *p = (void*)&symbol, cudaSuccess; }
template <typename... A>
cudaError_t cudaLaunchKernel(void (*kernel)(A...), dim3 grid, dim3 block, void** args, size_t = 0, cudaStream_t = 0) {
  if (!grid.x || !grid.y || !grid.z || block.x * block.y * block.z > 1024) return cudaErrorInvalidValue;
  shim::run("a kernel", kernel, {grid, block, args});
  return cudaSuccess;
}
