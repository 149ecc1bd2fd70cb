// Encodes weights on the GPU, multiplies with them, and compares with the same product of the decoded weights on the CPU.
// Knows the header of the package and the CUDA runtime, nothing of Quern.
#include <cuda_runtime.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include "q4.h"

#define TRY(call)                                                                \
  do {                                                                           \
    const cudaError_t error = (cudaError_t)(call);                               \
    if (error != cudaSuccess) {                                                  \
      std::fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error));        \
      std::exit(1);                                                              \
    }                                                                            \
  } while (0)

/** Memory of the GPU that frees itself. */
class Buffer {
 public:
  explicit Buffer(size_t bytes) { TRY(cudaMalloc(&data_, bytes ? bytes : 1)); }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* get() const { return data_; }

 private:
  void* data_ = nullptr;
};

int main(int argc, char** argv) {
  // Rows of x, rows of w, and their length: a multiple of the format's block, 16.
  const int64_t M = argc > 1 ? std::atoll(argv[1]) : 5, N = 70, K = 96;
  std::vector<float> x(M * K), w(N * K), y(M * N), decoded(N * K);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.37f * (float)i);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::cos(0.11f * (float)i);

  cudaStream_t stream;
  TRY(cudaStreamCreate(&stream));
  const Buffer dx(x.size() * 4), dw(w.size() * 4), dy(y.size() * 4), ddecoded(w.size() * 4);
  // The fields of the format: one f16 scale a block, and codes of four bits.
  const Buffer scale(N * (K / 16) * 2), codes(N * K / 2);
  TRY(cudaMemcpyAsync(dx.get(), x.data(), x.size() * 4, cudaMemcpyHostToDevice, stream));
  TRY(cudaMemcpyAsync(dw.get(), w.data(), w.size() * 4, cudaMemcpyHostToDevice, stream));
  {
    const Buffer scratch(q4_quantize_scratch(N, K));
    TRY(q4_quantize(dw.get(), scale.get(), codes.get(), N, K, scratch.get(), stream));
    TRY(cudaStreamSynchronize(stream));
  }
  const Buffer scratch(q4_linear_scratch(M, K, N));
  TRY(q4_linear(dx.get(), scale.get(), codes.get(), dy.get(), M, K, N, scratch.get(), stream));
  TRY(q4_mine_decode(scale.get(), codes.get(), ddecoded.get(), N, K, nullptr, stream));
  TRY(cudaMemcpyAsync(y.data(), dy.get(), y.size() * 4, cudaMemcpyDeviceToHost, stream));
  TRY(cudaMemcpyAsync(decoded.data(), ddecoded.get(), decoded.size() * 4, cudaMemcpyDeviceToHost, stream));
  TRY(cudaStreamSynchronize(stream));

  double most = 0;
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < N; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < K; ++k) sum += (double)x[m * K + k] * decoded[n * K + k];
      most = std::fmax(most, std::fabs(sum - y[m * N + n]));
    }
  // Dims that do not fit are refused before anything is launched.
  const int refused = q4_linear(dx.get(), scale.get(), codes.get(), dy.get(), M, K + 1, N, scratch.get(), stream);
  std::printf("%lld x %lld x %lld: largest difference %.2g; K + 1 gives error %d\n", (long long)M, (long long)N, (long long)K, most,
              refused);
  TRY(cudaStreamDestroy(stream));
  return most < 1e-4 && refused == cudaErrorInvalidValue ? 0 : 1;
}
