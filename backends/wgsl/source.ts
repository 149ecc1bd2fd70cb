// The text of a program: what it binds, the parts of the prelude in use, and one entry point a launch.
import { CompileError, diagnostic, noSpan } from '../../compiler/diagnostics/diagnostic.ts';
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Launch } from '../../compiler/loops/launches.ts';
import type { Buffer, Program } from '../../compiler/loops/loops.ts';
import type { EmitOptions, Limits } from '../backend.ts';
import { elementType, type Layout, layoutOf, wordsOf } from './layout.ts';
import { addressNames } from './naming.ts';
import { partNames, preludeText, type Use } from './prelude.ts';
import { statements } from './statements.ts';
import { meetInStorage } from './uniform.ts';
import { type GroupMemory, type Module, Writer } from './writer.ts';

export interface Source {
  readonly text: string;
  readonly layout: Layout;
  /** Bytes of workgroup memory, by launch. */
  readonly shared: readonly number[];
}

export function sourceText(
  program: Program,
  launches: readonly Launch[],
  limits: Limits,
  line: EmitOptions['line'] = () => undefined,
): Source {
  const reserved = [...launches.map((l) => l.name), ...partNames, 'agree', 'agreed', 'Sizes'];
  const layout = layoutOf(program, launches, limits, reserved);
  checkBindings(program, launches, layout, limits);
  const used = new Set<Use>();
  const functions = new Map<string, string>();
  const features = new Set(limits.features ?? []);
  const memory = new Map<string, GroupMemory>();
  const modules = launches.map(
    (l): Module => ({
      layout,
      places: layout.places.get(l)!,
      used,
      functions,
      memory,
      meetInStorage: meetInStorage(l.body),
      shared: new Set(),
      features,
    }),
  );
  const kernels = launches.map((l, i) => kernelText(l, modules[i]!, l.span && line(l.span)));
  const shared = launches.map((l, i) => sharedBytes(l, modules[i]!));
  const prelude = preludeText(used);
  const group = launches
    .flatMap((l) => l.inner)
    .filter((b, i, all) => b.role === 'group' && all.indexOf(b) === i)
    .map((b) => {
      const p = layout.places.get(launches[0]!)!.get(b.id)!;
      const words = wordsOf(b.dtype, b.size.constant!);
      return `var<workgroup> ${p.name}: array<${elementType(p)}, ${words}>;`;
    });
  const text = [
    `// ${program.name}: WGSL. How the kernels are launched stands in the manifest.`,
    ...enables([...kernels, ...functions.values()]),
    declarations(layout),
    ...(group.length ? [group.join('\n')] : []),
    ...[...memory.values()].map((m) => m.declared),
    ...prelude.texts,
    ...functions.values(),
    ...kernels,
  ].join('\n\n');
  return { text: `${text}\n`, layout, shared };
}

/** What the texts need beyond the core of WGSL. */
function enables(texts: readonly string[]): string[] {
  const uses = (what: RegExp): boolean => texts.some((t) => what.test(t));
  return [
    ...(uses(/\bvec2h\b/) ? ['enable f16;'] : []),
    ...(uses(/\bsubgroupElect\b/) ? ['enable subgroups;\nrequires subgroup_id;'] : []),
  ];
}

/** All that a launch touches must be bound at once, in so many windows of a size: merging does not help beyond that. */
function checkBindings(
  program: Program,
  launches: readonly Launch[],
  { bindings }: Layout,
  { maxBuffers, target, windows }: Limits,
): void {
  for (const l of launches) {
    const own = new Set(l.buffers.map((b) => b.id));
    const count = bindings.filter((b) => b.buffers.some((x) => own.has(x.id))).length;
    if (count <= maxBuffers || !windows) continue;
    const bytes = (b: Buffer): number =>
      ((windows.of[program.buffers.indexOf(b)] ?? 0) * windows.bytes) / 16;
    const largest = [...l.buffers].sort((a, b) => bytes(b) - bytes(a))[0]!;
    const inMiB = (n: number): string => `${Number((n / 2 ** 20).toPrecision(3))} MiB`;
    throw new CompileError([
      diagnostic('Q4002', l.span ?? noSpan, {
        what: `${count} bindings of ${inMiB(windows.bytes)} for the tensors of ${program.name} (the largest is ${largest.name}, ${inMiB(bytes(largest))})`,
        limit: `${maxBuffers}`,
        target,
        instead: "Split the tensors into slabs of rows, or use device('wasm').",
      }),
    ]);
  }
}

/** Workgroup memory of the buffers of the group, and of that through which values are combined. */
function sharedBytes(l: Launch, module: Module): number {
  const own = l.inner.filter((b) => b.role === 'group');
  const bytes = own.reduce((n, b) => n + 4 * wordsOf(b.dtype, b.size.constant!), 0);
  return [...module.shared].reduce((n, x) => n + module.memory.get(x)!.bytes, bytes);
}

function declarations(layout: Layout): string {
  const members = [
    '  /* Always 0, which no compiler knows. */\n  zero: u32,',
    ...layout.sizes.map((s) =>
      s.dim === undefined
        ? `  /* Word at which ${s.buffer!.name} starts. */\n  ${s.name}: i32,`
        : `  ${s.name}: i32,`,
    ),
  ];
  return [
    `struct Sizes {\n${members.join('\n')}\n}`,
    '@group(0) @binding(0) var<uniform> sizes: Sizes;',
    ...layout.bindings.flatMap((b) => {
      const access = b.written ? 'read_write' : 'read';
      const what = b.buffers.map((x) => `${x.name}: ${x.dtype}`).join(', ');
      const note =
        b.buffers.length > 1 || dtypes[b.buffers[0]!.dtype].bits < 32 ? ` // ${what}` : '';
      return b.variables.map(
        ({ name, place }) =>
          `@group(0) @binding(${b.number}) var<storage, ${access}> ${name}: array<${elementType(place)}>;${note}`,
      );
    }),
  ].join('\n');
}

function kernelText(l: Launch, module: Module, source: string | undefined): string {
  const w = new Writer(module, l.threads, addressNames(l.body));
  for (const b of l.inner) {
    if (b.role !== 'thread') continue;
    const p = module.places.get(b.id)!;
    w.line(`var ${p.name}: array<${elementType(p)}, ${wordsOf(b.dtype, b.size.constant!)}>;`);
  }
  statements(w, l.body);
  const body = w.lines.join('\n');
  const uses = (name: string): boolean => new RegExp(`\\b${name}\\b`).test(body);
  const params = [
    ...(uses('group')
      ? ['@builtin(workgroup_id) group_id: vec3u', '@builtin(num_workgroups) groups: vec3u']
      : []),
    ...(uses('member') ? ['@builtin(local_invocation_index) member: u32'] : []),
    ...(uses('subgroups')
      ? ['@builtin(subgroup_id) subgroup: u32', '@builtin(num_subgroups) subgroups: u32']
      : []),
  ];
  const lines = [
    ...(source === undefined ? [] : [`// ${source}`]),
    `// ${l.schedule}: ${l.threads === 1 ? 'one thread' : `${l.threads} threads a group`}.`,
    `@compute @workgroup_size(${l.threads})`,
    params.length ? `fn ${l.name}(\n    ${params.join(',\n    ')}) {` : `fn ${l.name}() {`,
    ...(uses('group') ? ['  let group = i32(group_id.x + group_id.y * groups.x);'] : []),
    body,
    '}',
  ];
  return lines.join('\n');
}
