// A package as files: everything that `quern build` writes, byte for byte the same for the same sources, and the
// writing itself, beside the place and then renamed into it.
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { ArgInfo, Manifest } from '../compiler/artifact.ts';
import { compilerVersion } from '../compiler/index.ts';
import type { BuiltCode } from './built.ts';
import { carried, workerSource } from './carried.ts';
import { cudaFile, cudaLaunches, cudaSources } from './cuda.ts';
import { declarations } from './declarations.ts';
import { refuse } from './errors.ts';
import { header } from './header.ts';
import { scripts } from './javascript.ts';
import { flavorsOf } from './flavors.ts';
import { codeFile } from './gpujs.ts';
import { type BuildRequest, formatKey, type PackagePlan, plan } from './plan.ts';
import { readme } from './readme.ts';

export interface BuiltPackage {
  readonly plan: PackagePlan;
  /** Contents by path, sorted. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

const generator = 'quern build';
const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

/** Compiles what a request names into the files of a package. Throws CompileError and BuildError. */
export async function buildPackage(request: BuildRequest): Promise<BuiltPackage> {
  const made = await plan(request);
  const files = new Map<string, Uint8Array>();
  const text = (path: string, content: string) =>
    files.set(path, new TextEncoder().encode(content));
  for (const flavor of flavorsOf(made)) {
    const { folder } = flavor;
    for (const [path, content] of scripts(made, flavor)) text(path, content);
    for (const k of kernelsOf(made))
      for (const f of flavor.files(k)) files.set(`${folder}ops/${f.file}`, f.code);
    text(`${folder}runtime.js`, await carried(flavor.carried));
    text(`${folder}index.d.ts`, declarations(made, flavor));
  }
  if (made.targets.includes('wasm')) text('kernels.h', header(made));
  if (made.threads) {
    text('threads.js', await carried('threads'));
    text('worker.js', workerSource);
  }
  if (flavorsOf(made).length) text('package.json', json(packageJson(made)));
  if (made.targets.includes('cuda'))
    for (const [path, content] of cudaSources(made)) text(path, content);
  text('README.md', readme(made));
  text('manifest.json', json(manifestJson(made, files)));
  return { plan: made, files: new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1))) };
}

const json = (x: unknown): string => `${JSON.stringify(x, null, 2)}\n`;

const kernelsOf = (p: PackagePlan) => [
  ...p.kernels,
  ...p.formats.flatMap((f) => Object.values(f.parts)),
];
/** How people call the targets that JavaScript loads. */
const titles = { wasm: 'WebAssembly', wgsl: 'WebGPU', gpujs: 'gpu.js' } as const;

function packageJson(p: PackagePlan) {
  const flavors = flavorsOf(p);
  const wasm = p.targets.includes('wasm');
  const wgsl = p.targets.includes('wgsl');
  const folders = flavors.map((f) => `./${f.folder}`.replace(/\/$/, ''));
  const main = folders[0]!;
  const entry = (folder: string) => ({
    types: `${folder}/index.d.ts`,
    default: `${folder}/index.js`,
  });
  const what = flavors
    .map((f) => titles[f.target])
    .join(', ')
    .replace(/, ([^,]*)$/, ' and $1');
  return {
    name: p.name,
    version: '0.0.0',
    description: `${what} kernels made by quern build from ${p.source}`,
    type: 'module',
    main: `${main}/index.js`,
    types: `${main}/index.d.ts`,
    exports: {
      '.': entry(main),
      ...Object.fromEntries(folders.filter((f) => f !== '.').map((f) => [f, entry(f)])),
      ...(wgsl ? { './webgpu/ops/*.wgsl': './webgpu/ops/*.wgsl' } : {}),
      ...(wasm ? { './ops/*.wasm': './ops/*.wasm', './kernels.h': './kernels.h' } : {}),
      './manifest.json': './manifest.json',
      './package.json': './package.json',
    },
    files: [
      ...(wasm ? ['index.js', 'index.d.ts', 'init.js', 'runtime.js', 'ops', 'kernels.h'] : []),
      'manifest.json',
      ...(p.threads ? ['threads.js', 'worker.js'] : []),
      ...folders.filter((f) => f !== '.').map((f) => f.slice(2)),
      ...(p.targets.includes('cuda') ? ['cuda'] : []),
    ],
    sideEffects: false,
  };
}

function manifestJson(p: PackagePlan, files: ReadonlyMap<string, Uint8Array>) {
  const arg = (a: ArgInfo) =>
    a.kind === 'tensor' ? a : { ...a, format: p.formatNames.get(formatKey(a.format)) };
  const kernel = (k: PackagePlan['kernels'][number]) => {
    const {
      name: _,
      target: __,
      compiler: ___,
      params,
      results,
      launches: ____,
      ...rest
    }: Manifest = k.manifest;
    const variants = k.variants.map((v) => ({
      variant: v.variant,
      ...codeJson(v),
      ...(v.wide ? { wide: codeJson(v.wide) } : {}),
    }));
    const wgsl = k.shaders.map((v) => ({
      variant: v.variant,
      file: `webgpu/ops/${v.file}`,
      bytes: v.code.length,
      sha256: sha256(v.code),
      buffers: v.manifest.buffers,
      launches: v.manifest.launches,
    }));
    const made = k.cuda?.manifest;
    const cuda = made && {
      file: cudaFile(k),
      buffers: made.buffers,
      launches: cudaLaunches(p, k),
    };
    const functions = k.functions && {
      file: `gpujs/ops/${codeFile(k.name)}`,
      buffers: k.functions.manifest.buffers,
      launches: (k.functions.manifest.launches ?? []).map(({ name, grid, buffers, dims }) => ({
        name,
        count: grid[0],
        buffers,
        dims,
      })),
    };
    return {
      ...rest,
      params: params.map(arg),
      results: results.map(arg),
      variants,
      ...(wgsl.length ? { wgsl } : {}),
      ...(cuda ? { cuda } : {}),
      ...(functions ? { gpujs: functions } : {}),
    };
  };
  return {
    generator,
    compiler: compilerVersion,
    source: p.source,
    kernels: Object.fromEntries(p.kernels.map((k) => [k.name, kernel(k)])),
    formats: Object.fromEntries(
      p.formats.map((f) => [
        f.name,
        Object.fromEntries(Object.entries(f.parts).map(([part, k]) => [part, kernel(k)])),
      ]),
    ),
    files: Object.fromEntries(
      [...files]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([path, bytes]) => [path, { bytes: bytes.length, sha256: sha256(bytes) }]),
    ),
  };
}

/** The files of a compilation and what a loader must know of them. */
const codeJson = (c: BuiltCode) => ({
  file: `ops/${c.file}`,
  bytes: c.code.length,
  sha256: sha256(c.code),
  buffers: c.manifest.buffers,
  ...(c.packed.length
    ? {
        packed: c.packed.map(({ at, sources, layout, normal, repack }) => ({
          buffer: at,
          sources,
          layout,
          normal,
          repack: { file: `ops/${repack.file}`, buffers: repack.manifest.buffers },
        })),
      }
    : {}),
  ...(c.threads ? { threads: { file: `ops/${c.threads.file}`, ...c.manifest.threads } } : {}),
});

/** Whether a folder is one that a build may replace. */
function replaceable(dir: string): boolean {
  if (!existsSync(dir)) return true;
  try {
    if (readdirSync(dir).length === 0) return true;
    const found: unknown = JSON.parse(readFileSync(join(dir, 'manifest.json'), 'utf8'));
    return (found as { readonly generator?: unknown } | null)?.generator === generator;
  } catch {
    return false;
  }
}

/** Puts the files into a folder, all or none: a build that fails leaves what was there. */
export function writePackage(files: ReadonlyMap<string, Uint8Array>, where: string): void {
  const dir = resolve(where);
  if (!replaceable(dir)) refuse('Q7006', { dir: where });
  const unique = `${dir}.${randomBytes(6).toString('hex')}`;
  const [beside, old] = [`${unique}.new`, `${unique}.old`];
  try {
    for (const [path, bytes] of files) {
      const file = join(beside, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, bytes);
    }
    const exists = existsSync(dir);
    if (exists) renameSync(dir, old);
    try {
      renameSync(beside, dir);
    } catch (e) {
      if (exists) renameSync(old, dir);
      throw e;
    }
  } finally {
    rmSync(beside, { recursive: true, force: true });
    if (existsSync(dir)) rmSync(old, { recursive: true, force: true });
  }
}
