// The targets that JavaScript loads, each with what its packages say of a compilation: WebAssembly, WebGPU and gpu.js.
import type { BuiltCode, BuiltFile, BuiltVariant } from './built.ts';
import { filesOf } from './built.ts';
import { roughly } from './expression.ts';
import { codeFile, codeName, functionsWithin, functionVariant, gpujsFiles } from './gpujs.ts';
import {
  type CodeUrl,
  type Flavor,
  javascript,
  lambda,
  list,
  quoted,
  record,
} from './kernel-spec.ts';
import type { PackagePlan } from './plan.ts';
import type { ScriptTarget } from './targets.ts';

export const beside: CodeUrl = (f) => `new URL('./${f.file}',import.meta.url)`;
export const inline: CodeUrl = (f) => {
  const type = f.file.endsWith('.wasm') ? 'application/wasm' : 'text/plain';
  return `new URL('data:${type};base64,${Buffer.from(f.code).toString('base64')}')`;
};

export const wasmFlavor: Flavor = {
  target: 'wasm',
  folder: '',
  sync: true,
  carried: 'runtime',
  opening(plan, from) {
    const threads = plan.threads
      ? `options?.threads?await(await import('${from}')).startThreads(options.threads):{count:1}`
      : `options?.threads?{count:1,reason:'the package was built without threads'}:{count:1}`;
    return { code: `const threads=${threads};`, gives: ['threads'] };
  },
  imports: [],
  variants: (k, url) => k.variants.map((v) => variantSpec(v, k.manifest.dims, url)),
  files: (k) => k.variants.flatMap(filesOf),
};

export const gpuFlavor: Flavor = {
  target: 'wgsl',
  folder: 'webgpu/',
  sync: false,
  carried: 'webgpu',
  opening: () => ({ code: 'await openGpu(options);', gives: [] }),
  imports: ['openGpu'],
  variants: (k, url) => k.shaders.map((v) => shaderSpec(v, k.manifest.dims, url)),
  files: (k) => k.shaders.flatMap(filesOf),
};

export const gpujsFlavor: Flavor = {
  target: 'gpujs',
  folder: 'gpujs/',
  sync: true,
  carried: 'gpujs',
  opening: () => ({ code: 'openGpujs(options);', gives: [] }),
  imports: ['openGpujs'],
  variants: (k, url) => (k.functions ? [functionVariant(k, k.functions, url === inline)] : []),
  within: (k) => (k.functions ? functionsWithin(k.name, k.functions) : ''),
  uses: (k) => (k.functions ? `import*as ${codeName(k.name)} from'./${codeFile(k.name)}';\n` : ''),
  files: (k) => (k.functions ? gpujsFiles(k.name, k.functions) : []),
};

export const flavors: { readonly [T in ScriptTarget]: Flavor } = {
  wasm: wasmFlavor,
  wgsl: gpuFlavor,
  gpujs: gpujsFlavor,
};
/** Those of a package; the first is what importing the package gives. */
export const flavorsOf = ({ targets }: PackagePlan): readonly Flavor[] =>
  Object.values(flavors).filter((f) => targets.includes(f.target));

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
