// The CUDA part of a package: one .cu a kernel, with its device functions and a launcher in C, and one header for all of
// them. A launcher checks the dims, works out every grid, and enqueues on the caller's stream; it allocates nothing.
import type { Artifact, BufferInfo, LaunchInfo, PolyCode } from '../compiler/artifact.ts';
import { c } from './expression.ts';
import type { BuiltKernel, PackagePlan } from './plan.ts';

const ident = (name: string): string => name.replace(/\W+/g, '_');
const kernelsOf = (p: PackagePlan): readonly BuiltKernel[] => [
  ...p.kernels,
  ...p.formats.flatMap((f) => Object.values(f.parts)),
];

/** Path of a kernel's file in the package. */
export const cudaFile = (k: BuiltKernel): string => `cuda/${k.name}.cu`;
export const cudaHeader = (p: PackagePlan): string => `${ident(p.name)}.h`;

/** Contents by path. */
export function cudaSources(p: PackagePlan): [path: string, content: string][] {
  return [
    [`cuda/${cudaHeader(p)}`, header(p)],
    ...kernelsOf(p).map((k): [string, string] => [cudaFile(k), source(p, k)]),
  ];
}

/** C words, and the launcher's own. */
const taken = (
  'auto break case char const continue default do double else enum extern float for goto if inline int long register ' +
  'restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool class ' +
  'delete new this true false template namespace using public private operator scratch stream args memory error'
).split(' ');

interface Named {
  readonly buffer: BufferInfo;
  readonly ident: string;
  /** `x: f32[M, K]`. */
  readonly text: string;
}

/** The buffers of a kernel under names that C takes. */
function named({ manifest }: Artifact): readonly Named[] {
  const { buffers, dims, params, results } = manifest;
  const shapes = [...params, ...results].flatMap((a) =>
    a.kind === 'tensor'
      ? [[a.name, `${a.dtype}${a.text}`] as const]
      : a.fields.map((f) => [`${a.name}.${f.name}`, `${f.dtype}${f.text}`] as const),
  );
  const used = new Set([...taken, ...dims, ...dims.map((d) => `${d}_value`)]);
  return buffers.map((buffer, i) => {
    const [name, shape] = shapes[i] ?? [buffer.name, buffer.dtype];
    let id = ident(name);
    while (used.has(id)) id += '_';
    used.add(id);
    return { buffer, ident: id, text: `${name}: ${shape}` };
  });
}

const launcherName = (p: PackagePlan, k: BuiltKernel): string =>
  `${ident(p.name)}_${ident(k.name)}`;

function signatures(p: PackagePlan, k: BuiltKernel): { launch: string; scratch: string } {
  const { manifest } = k.cuda!;
  const dims = manifest.dims.map((d) => `int64_t ${d}`);
  const pointers = named(k.cuda!).flatMap(({ buffer, ident: id }) =>
    buffer.role === 'param'
      ? [`const void* ${id}`]
      : buffer.role === 'result'
        ? [`void* ${id}`]
        : [],
  );
  const all = [...pointers, ...dims, 'void* scratch', 'void* stream'];
  const name = launcherName(p, k);
  return {
    launch: `int ${name}(${all.join(', ')})`,
    scratch: `int64_t ${name}_scratch(${dims.join(', ') || 'void'})`,
  };
}

const rules = `Launchers of CUDA kernels, made by quern build. Compile each .cu with nvcc (C++17, without -use_fast_math) and link
it with the program, or put all of them into a shared library: nvcc -shared -Xcompiler -fPIC -o libNAME.so *.cu

Pointers are to device memory, on multiples of 16 bytes. Tensors are rows of little-endian elements without gaps, the
last axis fastest. Elements below 8 bits are packed from the lowest bit; their rows are padded to 8 elements, so that
each row starts on a byte. Buffers must not overlap, results included.

A launcher enqueues its kernels on the stream (a cudaStream_t, 0 for the default one) and returns a cudaError_t: 0 is
success, 1 (cudaErrorInvalidValue) are dims that do not fit. NAME_scratch gives the bytes of device memory that a call
needs besides; they may be used again by the next call on the same stream. With none, scratch may be 0.`;

const comment = (lines: readonly string[]): string =>
  `/*\n${lines.map((l) => ` * ${l.replace(/\*\//g, '* /')}`.trimEnd()).join('\n')}\n */`;

function header(p: PackagePlan): string {
  const guard = `QUERN_${ident(p.name).toUpperCase()}_CUDA_H`;
  const entries = kernelsOf(p).map((k) => {
    const { launch, scratch } = signatures(p, k);
    const lines = [
      ...(k.doc?.split('\n') ?? []),
      ...(k.doc ? [''] : []),
      ...named(k.cuda!).flatMap(({ buffer, text }) =>
        buffer.role === 'param' || buffer.role === 'result' ? [`${buffer.role} ${text}`] : [],
      ),
      ...k.cuda!.manifest.constraints.map(
        (x) => `${x.text} must be a multiple of ${x.modulus}: ${x.reason}`,
      ),
    ];
    return `${comment(lines)}\n${launch};\n${scratch};\n`;
  });
  return `${comment(rules.split('\n'))}
#ifndef ${guard}
#define ${guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

${entries.join('\n')}
#ifdef __cplusplus
}
#endif

#endif
`;
}

/** Bytes of scratch in front of a temp: each begins on a multiple of 256. */
const scratchBefore = (temps: readonly Named[]): string =>
  temps.map(({ buffer }) => `(${c(buffer.bytes)} + 255) / 256 * 256`).join(' + ') || '0';

/** The launches, with kernels under their names in the file: several may come from one function of the author. */
export function cudaLaunches(p: PackagePlan, k: BuiltKernel): readonly LaunchInfo[] {
  const launches = k.cuda!.manifest.launches!;
  return launches.map((l, i) => {
    const number = launches.length > 1 ? `_${i}` : '';
    return { ...l, name: `${launcherName(p, k)}_kernel${number}` };
  });
}

function source(p: PackagePlan, k: BuiltKernel): string {
  const { manifest, code, constants } = k.cuda!;
  const launches = cudaLaunches(p, k);
  let text = new TextDecoder().decode(code);
  manifest.launches!.forEach((l, i) => {
    text = text.replace(` ${l.name}(\n`, () => ` ${launches[i]!.name}(\n`);
  });
  const all = named(k.cuda!);
  const temps = all.filter((b) => b.buffer.role === 'temp');
  const fixed = all.filter((b) => b.buffer.role === 'const');
  const { launch, scratch } = signatures(p, k);
  const { dims } = manifest;
  const used = new Set(temps.flatMap((t) => t.buffer.bytes));
  const arrays = fixed.map(({ buffer, ident: id }) => {
    const bytes = [...constants[buffer.name]!];
    const lines: string[] = [];
    for (let i = 0; i < bytes.length; i += 24) lines.push(`  ${bytes.slice(i, i + 24).join(', ')}`);
    return `static __device__ __align__(16) const unsigned char ${launcherName(p, k)}_${id}[${bytes.length}] = {\n${lines.join(',\n')}};\n`;
  });
  const body = [
    ...dims.map((d) => `if (${d} < 0 || ${d} > 2147483647) return cudaErrorInvalidValue;`),
    ...manifest.constraints.map(
      (x) => `if ((${c(x.poly)}) % ${x.modulus} != 0) return cudaErrorInvalidValue;`,
    ),
    ...temps.map(
      ({ ident: id }, i) =>
        `void* const ${id} = (char*)scratch + (${scratchBefore(temps.slice(0, i))});`,
    ),
    ...(temps.length ? [] : ['(void)scratch;']),
    ...fixed.flatMap(({ ident: id }) => [
      `void* ${id};`,
      `if (cudaError_t error = cudaGetSymbolAddress(&${id}, ${launcherName(p, k)}_${id})) return error;`,
    ]),
    ...dims.map((d) => `const int ${d}_value = (int)${d};`),
    ...launches.flatMap((l) => enqueue(l, all)),
    'return cudaSuccess;',
  ];
  return `${text}
#ifndef __CUDACC_RTC__
#include <cuda_runtime.h>
#include "${cudaHeader(p)}"

${arrays.join('')}extern "C" ${scratch} {
${dims
  .filter((d) => !used.has(d))
  .map((d) => `  (void)${d};\n`)
  .join('')}  return ${scratchBefore(temps)};
}

extern "C" ${launch} {
${body.map((l) => `  ${l}`).join('\n')}
}
#endif
`;
}

/** One launch, where the dims call for it. */
function enqueue(l: LaunchInfo, all: readonly Named[]): string[] {
  const args = [
    ...l.buffers.map((b) => `(void*)&${all[b]!.ident}`),
    ...l.dims.map((d) => `(void*)&${d}_value`),
  ];
  const size = (code: PolyCode): string => `(unsigned)(${c(code)})`;
  const conditions = [
    ...l.when.map((w) => `${c(w)} > 0`),
    ...l.grid.flatMap((g) => (g.length === 1 && typeof g[0] === 'number' ? [] : [`${c(g)} > 0`])),
  ];
  return [
    conditions.length ? `if (${conditions.join(' && ')}) {` : '{',
    `  void* args[] = {${args.join(', ')}};`,
    `  const dim3 grid(${l.grid.map(size).join(', ')}), block(${l.block.join(', ')});`,
    `  if (cudaError_t error = cudaLaunchKernel(${l.name}, grid, block, args, ${c(l.shared)}, (cudaStream_t)stream)) return error;`,
    '}',
  ];
}
