// Stand-ins for nvcc, as a program, and for NVRTC, as a library (-DNVRTC): CUDA text becomes a shared object for the CPU,
// through the shim, with a function for each kernel that takes its arguments packed. Of any text that has the line
// `#error` the compiler's complaint is handed on.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>

static std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

/** The image; false with what g++ says. SHIM and BUILD are folders, given by the test that compiles this. */
static bool build(const std::string& text, std::string& image, std::string& log) {
  char dir[] = "/tmp/quern-standin-XXXXXX";
  if (!mkdtemp(dir)) return false;
  const std::string at = dir, source = at + "/kernel.cpp", object = at + "/kernel.so", said = at + "/log";
  std::ofstream out(source);
  out << text;
  const std::string head = "__global__ void __launch_bounds__(";
  for (size_t k = text.find(head); k != std::string::npos; k = text.find(head, k + 1)) {
    const size_t from = text.find(')', k) + 2;
    const std::string name = text.substr(from, text.find('(', from) - from);
    out << "\nextern \"C\" void standin_" << name << "(uint3 grid, uint3 block, const char* packed) {\n  shim::runPacked(\""
        << name << "\", " << name << ", grid, block, packed);\n}\n";
  }
  out.close();
  const std::string command = "g++ -std=c++20 -O0 -w -fPIC -shared -fwrapv -fno-strict-aliasing -ffp-contract=off -I" BUILD
                              " -I" SHIM " -include standin.h -o " + object + " " + source + " 2> " + said;
  const bool done = system(command.c_str()) == 0;
  log = read(said);
  const std::string code = read(object);
  const uint64_t bytes = code.size();
  image = "STANDIN1" + std::string((const char*)&bytes, 8) + code;
  for (const auto& f : {source, object, said}) unlink(f.c_str());
  rmdir(dir);
  return done;
}

#ifdef NVRTC
struct Program {
  std::string text, image, log;
};
extern "C" {
int nvrtcVersion(int* a, int* b) { return *a = 13, *b = 0, 0; }
int nvrtcGetNumSupportedArchs(int* n) { return *n = 2, 0; }
int nvrtcGetSupportedArchs(int* a) { return a[0] = 80, a[1] = 90, 0; }
int nvrtcCreateProgram(Program** p, const char* text, const char*, int, const char* const*, const char* const*) {
  return *p = new Program{text, "", ""}, 0;
}
int nvrtcCompileProgram(Program* p, int n, const char* const* options) {
  for (int i = 0; i < n; ++i)
    if (!strncmp(options[i], "--gpu-architecture=", 19)) return build(p->text, p->image, p->log) ? 0 : 6;
  return 5;
}
int nvrtcGetProgramLogSize(Program* p, size_t* n) { return *n = p->log.size() + 1, 0; }
int nvrtcGetProgramLog(Program* p, char* to) { return strcpy(to, p->log.c_str()), 0; }
int nvrtcGetCUBINSize(Program* p, size_t* n) { return *n = p->image.size(), 0; }
int nvrtcGetCUBIN(Program* p, char* to) { return memcpy(to, p->image.data(), p->image.size()), 0; }
int nvrtcGetPTXSize(Program* p, size_t* n) { return nvrtcGetCUBINSize(p, n); }
int nvrtcGetPTX(Program* p, char* to) { return nvrtcGetCUBIN(p, to); }
int nvrtcDestroyProgram(Program** p) { return delete *p, *p = nullptr, 0; }
const char* nvrtcGetErrorString(int e) { return e == 6 ? "NVRTC_ERROR_COMPILATION" : e == 5 ? "NVRTC_ERROR_INVALID_OPTION" : "NVRTC_ERROR"; }
}
#else
int main(int argc, char** argv) {
  std::string to, from, arch;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    if (a == "--list-gpu-code") return puts("sm_80\nsm_90"), 0;
    if (a == "--version") return puts("stand-in for nvcc\nCuda compilation tools, release 13.0, V13.0.0"), 0;
    if (a == "-o") to = argv[++i];
    else if (a.rfind("-arch=", 0) == 0) arch = a.substr(6);
    else if (a[0] != '-') from = a;
  }
  std::string image, log;
  if (arch.empty() || !build(read(from), image, log)) return fputs(log.c_str(), stderr), 1;
  std::ofstream(to, std::ios::binary) << image;
  return 0;
}
#endif
