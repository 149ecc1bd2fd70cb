// A stand-in for libcuda.so.1: the same symbols, no GPU. Modules are shared objects made by compiler.cpp, whose kernels
// run on the CPU through the shim. Like a GPU's, the stream is late: what is enqueued runs when somebody waits for it,
// and page-locked memory is read only then, while other memory of the host is copied at once.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

typedef int CUresult;
typedef uint64_t u64;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600 };

struct uint3 {
  unsigned x, y, z;
};
typedef void (*Thunk)(uint3 grid, uint3 block, const char* packed);

static std::deque<std::function<CUresult()>> queue;
static CUresult broken = SUCCESS, later = SUCCESS;
static std::map<u64, size_t> device, pinned;
static size_t inUse = 0, calls[4];
static thread_local u64 current = 0;
struct Event {
  bool happened = false;
  int asked = 0;
};

static size_t total() {
  const char* t = getenv("STANDIN_MEMORY");
  return t ? strtoull(t, nullptr, 10) : (size_t)1 << 32;
}
static CUresult drain() {
  while (!queue.empty()) {
    auto next = queue.front();
    queue.pop_front();
    if (broken == SUCCESS) broken = next();
    else next();
  }
  return broken;
}
static CUresult enqueue(std::function<CUresult()> f) {
  if (!current) return INVALID_CONTEXT;
  if (broken) return broken;
  queue.push_back(std::move(f));
  return SUCCESS;
}
/** The range that holds these bytes, if one does. */
static bool within(const std::map<u64, size_t>& ranges, u64 at, size_t bytes) {
  auto r = ranges.upper_bound(at);
  if (r == ranges.begin()) return false;
  --r;
  return at + bytes <= r->first + r->second;
}
static void* pages(size_t bytes) {
  void* p = mmap(nullptr, bytes + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const size_t inner = (bytes + 4095) / 4096 * 4096;
  mprotect((char*)p + inner, 4096, PROT_NONE);
  return p;
}

extern "C" {
/** For tests: the next piece of work that runs fails with this code, as after a fault of a kernel. */
void standin_fail(int code) { later = code; }
/** For tests: how often 0 memory was allocated, 1 memory was freed, 2 a module was loaded, 3 a kernel was started. */
size_t standin_count(int what) { return calls[what]; }
size_t standin_queued() { return queue.size(); }

CUresult cuInit(unsigned) { return SUCCESS; }
CUresult cuDriverGetVersion(int* v) { return *v = 13000, SUCCESS; }
CUresult cuDeviceGetCount(int* n) { return *n = 1, SUCCESS; }
CUresult cuDeviceGet(int* d, int i) { return i == 0 ? (*d = 0, SUCCESS) : INVALID_DEVICE; }
CUresult cuDeviceGetName(char* name, int n, int) { return snprintf(name, n, "Stand-in GPU"), SUCCESS; }
CUresult cuDeviceGetAttribute(int* v, int a, int) {
  const char* t = getenv("STANDIN_CAPABILITY");
  const int capability = t ? atoi(t) : 80;
  if (a == 75) *v = capability / 10;
  else if (a == 76) *v = capability % 10;
  else if (a == 97) *v = 163 << 10;
  else return INVALID_VALUE;
  return SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t* n, int) { return *n = total(), SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(u64* c, int) { return *c = 0xc0ffee, SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
CUresult cuCtxSetCurrent(u64 c) { return current = c, SUCCESS; }
CUresult cuStreamCreate(u64* s, unsigned) { return *s = 0x57, SUCCESS; }
CUresult cuStreamDestroy_v2(u64 s) { return s == 0x57 ? SUCCESS : INVALID_HANDLE; }
CUresult cuStreamSynchronize(u64 s) { return s == 0x57 ? drain() : INVALID_HANDLE; }
CUresult cuEventCreate(u64* e, unsigned) { return *e = (u64) new Event, SUCCESS; }
CUresult cuEventDestroy_v2(u64 e) { return drain(), delete (Event*)e, SUCCESS; }
CUresult cuEventRecord(u64 e, u64) {
  *(Event*)e = Event();
  return enqueue([e] { return ((Event*)e)->happened = true, SUCCESS; });
}
CUresult cuEventQuery(u64 e) {
  Event& event = *(Event*)e;
  if (broken) return broken;
  if (++event.asked < 3) return NOT_READY;
  while (!event.happened && !queue.empty()) {
    auto next = queue.front();
    queue.pop_front();
    if (broken == SUCCESS) broken = next();
  }
  return broken ? broken : event.happened ? SUCCESS : NOT_READY;
}
CUresult cuEventElapsedTime(float* ms, u64, u64) { return *ms = 0.5f, SUCCESS; }

CUresult cuMemAlloc_v2(u64* p, size_t bytes) {
  if (!current) return INVALID_CONTEXT;
  if (bytes == 0) return INVALID_VALUE;
  if (inUse + bytes > total()) return OUT_OF_MEMORY;
  calls[0] += 1;
  inUse += bytes;
  *p = (u64)pages(bytes);
  memset((void*)*p, 0xa5, bytes);
  device[*p] = bytes;
  return SUCCESS;
}
CUresult cuMemFree_v2(u64 p) {
  auto r = device.find(p);
  if (r == device.end()) return INVALID_VALUE;
  drain();
  calls[1] += 1;
  inUse -= r->second;
  munmap((void*)p, r->second + 8192);
  device.erase(r);
  return SUCCESS;
}
CUresult cuMemHostAlloc(u64* p, size_t bytes, unsigned) {
  *p = (u64)pages(bytes);
  pinned[*p] = bytes;
  return SUCCESS;
}
CUresult cuMemFreeHost(u64 p) { return drain(), pinned.erase(p) ? SUCCESS : INVALID_VALUE; }
CUresult cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, u64) {
  if (!within(device, to, bytes)) return INVALID_VALUE;
  if (within(pinned, (u64)from, bytes)) return enqueue([=] { return memcpy((void*)to, from, bytes), SUCCESS; });
  std::vector<char> copy((const char*)from, (const char*)from + bytes);
  return enqueue([to, copy] { return memcpy((void*)to, copy.data(), copy.size()), SUCCESS; });
}
CUresult cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, u64) {
  if (!within(device, from, bytes)) return INVALID_VALUE;
  if (within(pinned, (u64)to, bytes)) return enqueue([=] { return memcpy(to, (void*)from, bytes), SUCCESS; });
  const CUresult r = drain();
  return r ? r : (memcpy(to, (void*)from, bytes), SUCCESS);
}
CUresult cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, u64) {
  if (!within(device, to, bytes) || !within(device, from, bytes)) return INVALID_VALUE;
  if (to < from + bytes && from < to + bytes) return INVALID_VALUE;
  return enqueue([=] { return memcpy((void*)to, (void*)from, bytes), SUCCESS; });
}

CUresult cuModuleLoadData(u64* m, const void* image) {
  const char* head = (const char*)image;
  if (memcmp(head, "STANDIN1", 8)) return INVALID_IMAGE;
  u64 bytes;
  memcpy(&bytes, head + 8, 8);
  char path[] = "/tmp/quern-standin-XXXXXX";
  const int file = mkstemp(path);
  for (u64 at = 0; at < bytes;) {
    const ssize_t n = write(file, head + 16 + at, bytes - at);
    if (n <= 0) return INVALID_IMAGE;
    at += (u64)n;
  }
  close(file);
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fprintf(stderr, "%s\n", dlerror());
  unlink(path);
  if (!library) return INVALID_IMAGE;
  calls[2] += 1;
  *m = (u64)library;
  return SUCCESS;
}
CUresult cuModuleUnload(u64 m) { return drain(), dlclose((void*)m) ? INVALID_HANDLE : SUCCESS; }
CUresult cuModuleGetFunction(u64* f, u64 m, const char* name) {
  *f = (u64)dlsym((void*)m, (std::string("standin_") + name).c_str());
  return *f ? SUCCESS : NOT_FOUND;
}
CUresult cuFuncSetAttribute(u64, int, int) { return SUCCESS; }
CUresult cuLaunchKernel(u64 f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                        u64, void** params, void** extra) {
  if (!f || !gx || !gy || !gz || bx * by * bz > 1024 || shared > 163 << 10 || params || !extra) return INVALID_VALUE;
  const char* packed = nullptr;
  size_t bytes = 0;
  for (void** e = extra; *e; e += 2) {
    if (*e == (void*)1) packed = (const char*)e[1];
    else if (*e == (void*)2) bytes = *(size_t*)e[1];
    else return INVALID_VALUE;
  }
  calls[3] += 1;
  std::vector<char> copy(packed, packed + bytes);
  return enqueue([=] {
    if (later) {
      const CUresult code = later;
      later = SUCCESS;
      return code;
    }
    ((Thunk)f)({gx, gy, gz}, {bx, by, bz}, copy.data());
    return (CUresult)SUCCESS;
  });
}

CUresult cuGetErrorName(CUresult e, const char** s) {
  static const std::map<int, const char*> names = {{1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {200, "CUDA_ERROR_INVALID_IMAGE"}, {500, "CUDA_ERROR_NOT_FOUND"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}};
  auto n = names.find(e);
  return n == names.end() ? (*s = nullptr, INVALID_VALUE) : (*s = n->second, SUCCESS);
}
CUresult cuGetErrorString(CUresult e, const char** s) {
  static const std::map<int, const char*> texts = {{1, "invalid argument"}, {2, "out of memory"},
      {200, "device kernel image is invalid"}, {500, "named symbol not found"},
      {700, "an illegal memory access was encountered"}};
  auto n = texts.find(e);
  return n == texts.end() ? (*s = nullptr, INVALID_VALUE) : (*s = n->second, SUCCESS);
}
}
