// kernels.h of a package: the ABI of its .wasm files for hosts that are not JavaScript. C99 and C++.
import { c } from './expression.ts';
import type { BuiltKernel, PackagePlan } from './plan.ts';

const upper = (name: string): string => name.replace(/\W/g, '_').toUpperCase();
const lower = (name: string): string => name.replace(/\W/g, '_');

const rules = `The ABI of these modules. Each .wasm imports one memory, "env" "memory", and exports one function, "run".
All its arguments are i32: the address of every buffer, in the order below, then the dims. Buffers are
rows of little-endian elements without gaps, the last axis fastest. Elements below 8 bits are packed
from the lowest bit; their rows are padded to 8 elements, so that each row starts on a byte.

An address is a multiple of QUERN_ALIGNMENT. At least QUERN_PADDING bytes after the end of each buffer
must be inside the memory. Buffers must not overlap, results included. Results and scratch need not be
initialised. A constant must hold the bytes of its array before the call; it may serve many calls.
The dims must be such that every "must be a multiple" below holds: the module does not check.

A parameter "packed by FILE" is a copy of that field in a layout of the kernel's own, made once by that module's
run(fields..., copy, dims...), with the dims of the kernel. Where half floats must be normal, NAME.wide.wasm is for those
that may be subnormal or infinite: its arguments are in manifest.json. Described here are the modules for one thread
without relaxed SIMD; manifest.json has the others.`;

export function header(plan: PackagePlan): string {
  const guard = `QUERN_${upper(plan.name)}_H`;
  const kernels = [...plan.kernels, ...plan.formats.flatMap((f) => Object.values(f.parts))];
  return `/*
${rules
  .split('\n')
  .map((l) => ` * ${l}`.trimEnd())
  .join('\n')}
 */
#ifndef ${guard}
#define ${guard}

#include <stddef.h>
#include <stdint.h>

#ifndef QUERN_ALIGNMENT
#define QUERN_ALIGNMENT 16
#define QUERN_PADDING 16
/* The bytes that a constant holds. */
typedef struct { const uint8_t *bytes; size_t size; } quern_constant;
#endif

#ifdef __cplusplus
extern "C" {
#endif

${kernels.map(kernel).join('\n')}
#ifdef __cplusplus
}
#endif

#endif
`;
}

const words = (text: string): string => text.replace(/\*\//g, '* /');

function kernel(k: BuiltKernel): string {
  const { buffers, dims, params, results, constraints } = k.manifest;
  const id = lower(k.name);
  const shapes = new Map(
    [...params, ...results].flatMap((a) =>
      a.kind === 'tensor'
        ? [[a.name, `${a.dtype}${a.text}`] as const]
        : a.fields.map((f) => [`${a.name}.${f.name}`, `${f.dtype}${f.text}`] as const),
    ),
  );
  // Buffers follow the signature: parameters, then results, encoded ones as their fields.
  const named = [...shapes.keys()];
  const idents = new Set<string>();
  const rows = buffers.map((b, i) => {
    const name = named[i] ?? b.name;
    const what = b.role === 'param' || b.role === 'result' ? shapes.get(name) : b.dtype;
    let ident = lower(name);
    while (idents.has(ident)) ident += '_';
    idents.add(ident);
    return { ident, text: `${b.role} ${name}: ${what}`, b };
  });
  const args = [...rows.map((r) => `buffer_${r.ident}`), ...dims.map((d) => `dim_${d}`)];
  const list = dims.map((d) => `uint64_t ${d}`).join(', ') || 'void';
  const unused = (code: readonly (string | number)[]): string =>
    dims
      .filter((d) => !code.includes(d))
      .map((d) => `(void)${d}; `)
      .join('');
  const sizes = rows.map(
    (r) =>
      `static inline uint64_t ${id}_bytes_${r.ident}(${list}) { ${unused(r.b.bytes)}return ${c(r.b.bytes)}; }`,
  );
  const temps = rows.filter((r) => r.b.role === 'temp');
  const scratch = temps.length
    ? [
        `/* Bytes of the scratch buffers in order: uint64_t bytes[] = ${upper(k.name)}_SCRATCH(...); */`,
        `#define ${upper(k.name)}_SCRATCH(${dims.join(', ')}) {${temps.map((r) => `${id}_bytes_${r.ident}(${dims.join(', ')})`).join(', ')}}`,
      ]
    : [];
  const kept = rows.filter((r) => r.b.role === 'const');
  const constants = kept.flatMap((r) => {
    const bytes = [...k.constants[r.b.name]!];
    const lines: string[] = [];
    for (let i = 0; i < bytes.length; i += 24) lines.push(`  ${bytes.slice(i, i + 24).join(',')}`);
    return [
      `static const uint8_t ${id}_constant_${r.ident}[${bytes.length}] = {\n${lines.join(',\n')}\n};`,
    ];
  });
  if (kept.length) {
    const entries = kept.map((r) => {
      const array = `${id}_constant_${r.ident}`;
      return `{${array}, sizeof ${array}}`;
    });
    constants.push(
      `/* The constants in order, behind the scratch: quern_constant list[] = ${upper(k.name)}_CONSTANTS; */`,
      `#define ${upper(k.name)}_CONSTANTS {${entries.join(', ')}}`,
    );
  }
  const plain = k.variants.at(-1)!;
  const packs = new Map(plain.packed.map((p) => [p.at, p]));
  const packing = (i: number): string => {
    const p = packs.get(i);
    if (!p) return '';
    const from = p.sources.map((x) => rows[x]!.ident).join(' and ');
    const normal = p.normal.map((x) => rows[x]!.ident).join(' and ');
    return `, packed by ops/${p.repack.file} of ${from}${normal ? `; half floats of ${normal} normal` : ''}`;
  };
  const fields = new Map(
    plain.packed.flatMap((p) => p.sources.map((x, n) => [x, p.repack.manifest.buffers[n]!.bytes])),
  );
  const sources = [...fields].map(
    ([x, bytes]) =>
      `static inline uint64_t ${id}_field_${rows[x]!.ident}(${list}) { ${unused(bytes)}return ${c(bytes)}; }`,
  );
  const notes = [
    ...(k.doc?.split('\n') ?? []),
    ...(k.doc ? [''] : []),
    `ops/${plain.file} (${plain.code.length} bytes)`,
    ...rows.map((r, i) => `  argument ${i}: ${r.text}${packing(i)}`),
    ...dims.map((d, i) => `  argument ${rows.length + i}: dim ${d}`),
    ...constraints.map((x) => `${x.text} must be a multiple of ${x.modulus}: ${x.reason}`),
  ];
  return `/*\n${notes.map((l) => ` * ${words(l)}`.trimEnd()).join('\n')}\n */
#define ${upper(k.name)}_ARGUMENTS ${args.length}
typedef void (*${id}_run)(${args.map((a) => `uint32_t ${a}`).join(', ')});
${[...sizes, ...sources, ...scratch, ...constants].join('\n')}
`;
}
