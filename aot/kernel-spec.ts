// What the modules of a package say of a kernel, as text: signature, sizes, and where the code of each variant lies. What
// differs between WebAssembly and WebGPU is a flavor. No spaces and no comments: manifest.json is for people.
import type { ArgInfo, PolyCode, TensorInfo } from '../compiler/artifact.ts';
import type { BuiltCode, BuiltFile, BuiltVariant } from './built.ts';
import { javascript as spaced, plain, roughly } from './expression.ts';
import type { BuiltKernel, PackagePlan } from './plan.ts';
import { formatKey } from './plan.ts';

/** How a module of a package finds a file of code. */
export type CodeUrl = (f: BuiltFile) => string;
export const beside: CodeUrl = (f) => `new URL('./${f.file}',import.meta.url)`;
export const inline: CodeUrl = (f) =>
  `new URL('data:application/wasm;base64,${Buffer.from(f.code).toString('base64')}')`;

export interface Flavor {
  /** Before the paths of its files. */
  readonly folder: string;
  /** Whether kernels have synchronous forms. */
  readonly sync: boolean;
  /** What `init` does first, and gives besides the kernels. */
  opening(plan: PackagePlan, from: string): { readonly code: string; readonly gives: string[] };
  /** What `init` imports from the runtime. */
  readonly imports: readonly string[];
  variants(k: BuiltKernel): readonly BuiltVariant[];
  spec(v: BuiltVariant, dims: readonly string[], url: CodeUrl): string;
}

export const wasmFlavor: Flavor = {
  folder: '',
  sync: true,
  opening(plan, from) {
    const threads = plan.threads
      ? `options?.threads ? await (await import('${from}')).startThreads(options.threads) : { count: 1 }`
      : `options?.threads ? { count: 1, reason: 'the package was built without threads' } : { count: 1 }`;
    return { code: `const threads = ${threads};`, gives: ['threads'] };
  },
  imports: [],
  variants: (k) => k.variants,
  spec: variantSpec,
};

export const gpuFlavor: Flavor = {
  folder: 'webgpu/',
  sync: false,
  opening: () => ({ code: 'await openGpu(options);', gives: [] }),
  imports: ['openGpu'],
  variants: (k) => k.shaders,
  spec: shaderSpec,
};

export const quoted = (text: string): string =>
  `'${text.replace(/[\\']/g, '\\$&').replace(/\n/g, '\\n')}'`;

export const list = (items: readonly string[]): string => `[${items.join(',')}]`;
export const record = (members: readonly string[]): string => `{${members.join(',')}}`;

const javascript = (code: PolyCode): string => spaced(code).replaceAll(' ', '');

/** A function of the dims; only as many of them as are needed to reach the last one used. */
function lambda(codes: readonly PolyCode[], dims: readonly string[], body: string): string {
  const used = codes.flat().filter((x) => typeof x === 'string');
  const last = Math.max(-1, ...used.map((name) => dims.indexOf(name as string)));
  const names = dims.slice(0, last + 1);
  return `${names.length === 1 ? names[0] : `(${names})`}=>${body}`;
}

function shapeSpec(shape: readonly PolyCode[], dims: readonly string[]): string {
  const simple = shape.map(plain);
  if (simple.every((s) => s !== undefined))
    return list(simple.map((s) => (typeof s === 'number' ? String(s) : quoted(s!))));
  return lambda(shape, dims, list(shape.map(javascript)));
}

export const tensorSpec = (t: TensorInfo, dims: readonly string[]): string =>
  `{name:${quoted(t.name)},dtype:'${t.dtype}',shape:${shapeSpec(t.shape, dims)}}`;

function argSpec(a: ArgInfo, plan: PackagePlan, dims: readonly string[]): string {
  if (a.kind === 'tensor') return tensorSpec(a, dims);
  const fields = a.fields.map((f) => tensorSpec(f, dims));
  const format = quoted(plan.formatNames.get(formatKey(a.format))!);
  return `{name:${quoted(a.name)},format:${format},shape:${shapeSpec(a.shape, dims)},fields:${list(fields)}}`;
}

export function specOf(k: BuiltKernel, plan: PackagePlan, url: CodeUrl, flavor: Flavor): string {
  const { dims, params, results, returns, constraints } = k.manifest;
  const args = (all: readonly ArgInfo[]): string => list(all.map((a) => argSpec(a, plan, dims)));
  const members = [
    `name:${quoted(k.name)}`,
    `dims:${list(dims.map(quoted))}`,
    `params:${args(params)}`,
    `results:${args(results)}`,
  ];
  if (returns !== 'value') members.push(`returns:'${returns}'`);
  if (constraints.length) {
    const rows = constraints.map((c) => {
      const value = lambda([c.poly], dims, javascript(c.poly));
      return `{text:${quoted(c.text)},multiple:${c.modulus},reason:${quoted(c.reason)},value:${value}}`;
    });
    members.push(`requires:${list(rows)}`);
  }
  const variants = flavor.variants(k).map((v) => flavor.spec(v, dims, url));
  members.push(`variants:${list(variants)}`);
  return record(members);
}

const fileSpec = (f: BuiltFile, url: CodeUrl): string =>
  `file:'${f.file}',bytes:${f.code.length},url:()=>${url(f)}`;

function variantSpec(v: BuiltVariant, dims: readonly string[], url: CodeUrl): string {
  const members = [`variant:'${v.variant}'`, ...codeSpec(v, dims, url)];
  if (v.wide) members.push(`wide:${record(codeSpec(v.wide, dims, url))}`);
  return record(members);
}

function codeSpec(c: BuiltCode, dims: readonly string[], url: CodeUrl): string[] {
  const { buffers, threads } = c.manifest;
  const members = [fileSpec(c, url)];
  const temps = buffers.filter((b) => b.role === 'temp');
  const sizes = temps.map((b) => b.bytes);
  if (temps.length) members.push(`temps:${lambda(sizes, dims, list(sizes.map(javascript)))}`);
  const consts = buffers.flatMap((b) => (b.role === 'const' ? [quoted(b.name)] : []));
  if (consts.length) members.push(`constants:${list(consts)}`);
  const packed = c.packed.map((p) =>
    record([
      `at:${p.at}`,
      `sources:${list(p.sources.map(String))}`,
      `layout:${quoted(p.layout)}`,
      ...(p.normal.length ? [`normal:${list(p.normal.map(String))}`] : []),
      `size:${lambda([p.size], dims, javascript(p.size))}`,
      `repack:${record([fileSpec(p.repack, url)])}`,
    ]),
  );
  if (packed.length) members.push(`packed:${list(packed)}`);
  if (c.threads && threads) {
    const own = temps.flatMap((b, i) => (b.private ? [String(i)] : []));
    const { work, bytes, failed, round } = threads;
    const estimate = lambda([work], dims, roughly(work).replaceAll(' ', ''));
    members.push(
      `threads:{${fileSpec(c.threads, url)},work:${estimate},sync:[${bytes},${failed},${round}],slices:${list(own)}}`,
    );
  }
  return members;
}

function shaderSpec(v: BuiltVariant, dims: readonly string[], url: CodeUrl): string {
  const { buffers, launches = [] } = v.manifest;
  const rows = launches.map((l) => {
    const bindings = (l.bindings ?? []).map(
      (b) => `[${b.number},${b.written ? 1 : 0},${list(b.buffers.map(String))}]`,
    );
    return record([
      `name:${quoted(l.name)}`,
      `groups:${lambda([l.grid[0]], dims, javascript(l.grid[0]))}`,
      ...(l.when.length ? [`when:${lambda(l.when, dims, list(l.when.map(javascript)))}`] : []),
      `bindings:${list(bindings)}`,
    ]);
  });
  return record([
    `variant:'${v.variant}'`,
    ...codeSpec(v, dims, url),
    `buffers:${buffers.length}`,
    `launches:${list(rows)}`,
  ]);
}
