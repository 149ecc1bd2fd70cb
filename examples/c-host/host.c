/*
 * A host in plain C: encodes weights and multiplies with them, knowing only kernels.h and the .wasm files. The
 * engine is any library with the standard WebAssembly C API (wasm.h); what is used of it is declared here, so
 * that the file compiles without its headers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* ---- from wasm.h, the C API that engines share ---- */
typedef struct { size_t size; char *data; } wasm_byte_vec_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_store_t wasm_store_t;
typedef struct wasm_module_t wasm_module_t;
typedef struct wasm_instance_t wasm_instance_t;
typedef struct wasm_memory_t wasm_memory_t;
typedef struct wasm_memorytype_t wasm_memorytype_t;
typedef struct wasm_extern_t wasm_extern_t;
typedef struct wasm_func_t wasm_func_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct { uint32_t min, max; } wasm_limits_t;
typedef struct { size_t size; wasm_extern_t **data; } wasm_extern_vec_t;
typedef struct { uint8_t kind; union { int32_t i32; int64_t i64; float f32; double f64; void *ref; } of; } wasm_val_t;
typedef struct { size_t size; wasm_val_t *data; } wasm_val_vec_t;
wasm_engine_t *wasm_engine_new(void);
wasm_store_t *wasm_store_new(wasm_engine_t *);
wasm_memorytype_t *wasm_memorytype_new(const wasm_limits_t *);
wasm_memory_t *wasm_memory_new(wasm_store_t *, const wasm_memorytype_t *);
char *wasm_memory_data(wasm_memory_t *);
wasm_extern_t *wasm_memory_as_extern(wasm_memory_t *);
wasm_module_t *wasm_module_new(wasm_store_t *, const wasm_byte_vec_t *);
wasm_instance_t *wasm_instance_new(wasm_store_t *, const wasm_module_t *, const wasm_extern_vec_t *, wasm_trap_t **);
void wasm_instance_exports(const wasm_instance_t *, wasm_extern_vec_t *);
wasm_func_t *wasm_extern_as_func(wasm_extern_t *);
wasm_trap_t *wasm_func_call(const wasm_func_t *, const wasm_val_vec_t *, wasm_val_vec_t *);

static wasm_store_t *store;
static wasm_memory_t *memory;
static uint32_t top = 1024;

static void stop(const char *why) {
  fprintf(stderr, "%s\n", why);
  exit(1);
}

/* Memory is given out upwards, as the header asks for it: aligned, and padded at the end. */
static uint32_t reserve(uint64_t bytes) {
  const uint32_t at = top;
  top += (uint32_t)(bytes + QUERN_PADDING + QUERN_ALIGNMENT - 1) / QUERN_ALIGNMENT * QUERN_ALIGNMENT;
  return at;
}

static wasm_func_t *load(const char *dir, const char *file) {
  static char path[4096], code[1 << 20];
  snprintf(path, sizeof path, "%s/%s", dir, file);
  FILE *f = fopen(path, "rb");
  if (!f) stop(path);
  wasm_byte_vec_t bytes = {fread(code, 1, sizeof code, f), code};
  fclose(f);
  wasm_module_t *module = wasm_module_new(store, &bytes);
  if (!module) stop("the module is invalid");
  wasm_extern_t *list[] = {wasm_memory_as_extern(memory)};
  const wasm_extern_vec_t imports = {1, list};
  wasm_instance_t *instance = wasm_instance_new(store, module, &imports, NULL);
  if (!instance) stop("the module does not link");
  wasm_extern_vec_t exports;
  wasm_instance_exports(instance, &exports);
  return wasm_extern_as_func(exports.data[0]);
}

static void call(wasm_func_t *run, const uint32_t *values, size_t count) {
  wasm_val_t args[64];
  memset(args, 0, sizeof args);
  for (size_t i = 0; i < count; i++) args[i].of.i32 = (int32_t)values[i];
  const wasm_val_vec_t in = {count, args};
  wasm_val_vec_t out = {0, NULL};
  if (wasm_func_call(run, &in, &out)) stop("the kernel trapped");
}

static uint32_t wave(int n, int step) {
  const uint32_t at = reserve(4 * (uint64_t)n);
  float *to = (float *)(void *)(wasm_memory_data(memory) + at);
  for (int i = 0; i < n; i++) to[i] = (float)((i * step) % 17 - 8);
  return at;
}

int main(int argc, char **argv) {
  if (argc != 2) stop("host FOLDER: the ops folder of the package");
  store = wasm_store_new(wasm_engine_new());
  const wasm_limits_t limits = {16, 0xffffffff};
  memory = wasm_memory_new(store, wasm_memorytype_new(&limits));

  const uint64_t M = 1, N = 5, K = 64;
  const uint32_t weights = wave((int)(N * K), 3);
  const uint32_t d = reserve(linear_bytes_w_d(M, K, N));
  const uint32_t q = reserve(linear_bytes_w_q(M, K, N));
  const uint32_t encode[MINE_ENCODE_ARGUMENTS] = {weights, d, q, (uint32_t)N, (uint32_t)K};
  call(load(argv[1], "mine.encode.wasm"), encode, MINE_ENCODE_ARGUMENTS);

  const uint32_t x = wave((int)K, 5);
  const uint32_t y = reserve(linear_bytes_result(M, K, N));
  uint32_t args[LINEAR_ARGUMENTS] = {x, d, q, y};
  size_t n = 4;
#ifdef LINEAR_SCRATCH
  uint64_t scratch[] = LINEAR_SCRATCH(M, K, N);
  for (size_t i = 0; i < sizeof scratch / sizeof *scratch; i++) args[n++] = reserve(scratch[i]);
#endif
  args[n++] = (uint32_t)M;
  args[n++] = (uint32_t)K;
  args[n++] = (uint32_t)N;
  call(load(argv[1], "linear.wasm"), args, n);

  const float *result = (const float *)(const void *)(wasm_memory_data(memory) + y);
  for (uint64_t i = 0; i < N; i++) printf("%.9g ", (double)result[i]);
  return 0;
}
