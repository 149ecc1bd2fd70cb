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

/* What a kernel takes between its results and its dims: scratch, then constants. */
typedef struct { uint32_t at[64]; size_t count; } list;
static void add(list *to, uint32_t value) {
  if (to->count == 64) stop("more arguments than there is room for");
  to->at[to->count++] = value;
}
static void add_constant(list *to, quern_constant c) {
  const uint32_t at = reserve(c.size);
  memcpy(wasm_memory_data(memory) + at, c.bytes, c.size);
  add(to, at);
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
  list encode = {{weights, d, q}, 3};
#ifdef MINE_ENCODE_SCRATCH
  const uint64_t room[] = MINE_ENCODE_SCRATCH(N, K);
  for (size_t i = 0; i < sizeof room / sizeof *room; i++) add(&encode, reserve(room[i]));
#endif
#ifdef MINE_ENCODE_CONSTANTS
  const quern_constant tables[] = MINE_ENCODE_CONSTANTS;
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) add_constant(&encode, tables[i]);
#endif
  add(&encode, (uint32_t)N);
  add(&encode, (uint32_t)K);
  if (encode.count != MINE_ENCODE_ARGUMENTS) stop("mine.encode takes other arguments");
  call(load(argv[1], "mine.encode.wasm"), encode.at, encode.count);

  const uint32_t x = wave((int)K, 5);
  const uint32_t y = reserve(linear_bytes_result(M, K, N));
  list linear = {{x, d, q, y}, 4};
#ifdef LINEAR_SCRATCH
  const uint64_t scratch[] = LINEAR_SCRATCH(M, K, N);
  for (size_t i = 0; i < sizeof scratch / sizeof *scratch; i++) add(&linear, reserve(scratch[i]));
#endif
#ifdef LINEAR_CONSTANTS
  const quern_constant constants[] = LINEAR_CONSTANTS;
  for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) add_constant(&linear, constants[i]);
#endif
  add(&linear, (uint32_t)M);
  add(&linear, (uint32_t)K);
  add(&linear, (uint32_t)N);
  if (linear.count != LINEAR_ARGUMENTS) stop("linear takes other arguments");
  call(load(argv[1], "linear.wasm"), linear.at, linear.count);

  const float *result = (const float *)(const void *)(wasm_memory_data(memory) + y);
  for (uint64_t i = 0; i < N; i++) printf("%.9g ", (double)result[i]);
  return 0;
}
