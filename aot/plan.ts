// What a package will hold: the kernels and formats asked for, compiled, under the names of the package. Paths of
// the machine end here: from now on a format is its name.
import { basename, resolve } from 'node:path';
import type { ArgInfo, Artifact, FormatRef, Json, Manifest } from '../compiler/artifact.ts';
import { CompileError } from '../compiler/diagnostics/diagnostic.ts';
import { type Dependency, resolveEntry } from '../compiler/frontend/modules.ts';
import type { ExportInfo } from '../compiler/index.ts';
import { describe } from '../compiler/index.ts';
import { compiled } from './compile-once.ts';
import { commentOf, declarationOf } from './docs.ts';
import { refuse } from './errors.ts';
import { type BuiltVariant, builtCode, distinct } from './built.ts';
import { type ExtraVariant, extraVariants, type Target, variantsOf } from './targets.ts';

/** One `--export`: a kernel with its formats and constants, or a format, under a name. */
export interface ExportRequest {
  readonly name: string;
  /** Name in the kernel file, or of a built-in format. */
  readonly of: string;
  readonly formats?: readonly FormatRef[];
  /** Constants of a kernel in the order of its parameters; arguments of the factory of a format. */
  readonly constants?: readonly Json[];
}

export interface BuildRequest {
  /** Absolute path of the kernel file, or 'quern/formats'. */
  readonly file: string;
  /** Absent: all that needs neither formats nor constants. */
  readonly exports?: readonly ExportRequest[];
  readonly targets?: readonly Target[];
  /** Beside plain code; all by default. */
  readonly variants?: readonly ExtraVariant[];
  /** Limits of the cuda target by name: sm_75, sm_80, sm_90. */
  readonly preset?: string;
  /** Name of the package; by default that of the file. */
  readonly name?: string;
}

/** Where the author wrote an export; line and column count from 0. */
export interface Origin {
  readonly path: string;
  readonly line: number;
  readonly column: number;
}
export interface BuiltKernel {
  /** As the package calls it: `linear`, `q4_0.encode`. */
  readonly name: string;
  readonly doc?: string;
  readonly origin?: Origin;
  /** Of the plain code. */
  readonly manifest: Manifest;
  readonly constants: Artifact['constants'];
  /** For the target wasm. */
  readonly variants: readonly BuiltVariant[];
  /** For the target wgsl. */
  readonly shaders: readonly BuiltVariant[];
  /** For the target cuda: its manifest has the launches. */
  readonly cuda?: Artifact;
  /** For the target gpujs, in the same form. */
  readonly functions?: Artifact;
}
export interface BuiltFormat {
  readonly name: string;
  readonly doc?: string;
  readonly origin?: Origin;
  readonly parts: { readonly [part: string]: BuiltKernel };
  /** Parts that gpu.js cannot express, and why. */
  readonly refused: { readonly [part: string]: string };
}
export interface PackagePlan {
  readonly name: string;
  readonly source: string;
  readonly targets: readonly Target[];
  /** Whether there is code for several threads. */
  readonly threads: boolean;
  readonly kernels: readonly BuiltKernel[];
  readonly formats: readonly BuiltFormat[];
  /** Name of each format in the package, by the key of its reference. */
  readonly formatNames: ReadonlyMap<string, string>;
  /** Exports that were left out, and why. */
  readonly left: readonly string[];
  readonly dependencies: readonly Dependency[];
}

/** Identity of a format: where it is declared, by whatever path it was reached. */
export function formatKey(ref: FormatRef): string {
  const { path, name } = declarationOf(resolveEntry(ref.file), ref.name);
  return JSON.stringify([path, name, ref.args ?? []]);
}

const reserved = new Set([
  'init',
  'tensor',
  'empty',
  'memoryUsed',
  'threads',
  'Tensor',
  'Encoded',
  'QuernError',
  'kernel',
  'format',
  'syncOf',
]);
const keywords = new Set(
  (
    'await break case catch class const continue debugger default delete do else enum export extends false finally ' +
    'for function if implements import in instanceof interface let new null package private protected public ' +
    'return static super switch this throw true try typeof var void while with yield arguments eval'
  ).split(' '),
);

export async function plan(request: BuildRequest): Promise<PackagePlan> {
  return new Planner(request).run();
}

class Planner {
  readonly #request: BuildRequest;
  readonly #targets: readonly Target[];
  readonly #extra: readonly ExtraVariant[];
  readonly #exports: readonly ExportInfo[];
  readonly #dependencies = new Map<string, Dependency>();
  readonly #formats = new Map<string, { name: string; ref: FormatRef }>();
  readonly #names = new Map<string, string>();

  constructor(request: BuildRequest) {
    this.#request = request;
    this.#targets = request.targets ?? ['wasm'];
    this.#extra = request.variants ?? extraVariants;
    const info = describe(request.file);
    this.#exports = info.exports;
    this.#note(info.dependencies);
  }

  async run(): Promise<PackagePlan> {
    const { file } = this.#request;
    const left: string[] = [];
    const kernels: BuiltKernel[] = [];
    const wanted = this.#request.exports ?? this.#everything(left);
    // Formats that are asked for by name keep that name wherever a kernel meets them.
    for (const e of wanted) if (!this.#isKernel(e.of)) this.#named(e);
    for (const e of wanted) if (this.#isKernel(e.of)) kernels.push(await this.#kernel(e));
    if (wanted.length === 0)
      refuse('Q7005', { file: basename(file), left: left.join('; ') || 'no export' });
    const formats: BuiltFormat[] = [];
    for (const f of this.#formats.values()) formats.push(await this.#format(f.name, f.ref));
    return {
      name: this.#request.name ?? packageName(file),
      source: basename(file),
      targets: this.#targets,
      threads: this.#targets.includes('wasm') && this.#extra.includes('threads'),
      kernels,
      formats,
      formatNames: new Map([...this.#formats].map(([key, f]) => [key, f.name])),
      left,
      dependencies: [...this.#dependencies.values()],
    };
  }

  #note(list: readonly Dependency[]): void {
    for (const d of list) this.#dependencies.set(d.path, d);
  }
  #isKernel(name: string): boolean {
    return this.#exports.some((e) => e.name === name && e.kind === 'kernel');
  }

  /** Every export that needs nothing said; kernels of one format parameter take the only format of the file. */
  #everything(left: string[]): ExportRequest[] {
    const formats = this.#exports.filter((e) => e.kind === 'format');
    const only = formats.length === 1 ? formats[0]! : undefined;
    return this.#exports.flatMap((e): ExportRequest[] => {
      if (e.kind === 'format') return [{ name: e.name, of: e.name }];
      if (e.kind !== 'kernel') return [];
      const constants = e.params.filter((p) => p.kind === 'static' && !p.optional);
      if (constants.length) {
        left.push(`${e.name} takes constants (${constants.map((p) => p.name).join(', ')})`);
        return [];
      }
      if (e.formatParams.length && !only) {
        left.push(`${e.name} takes a format (${e.formatParams.join(', ')})`);
        return [];
      }
      const refs = e.formatParams.map(() => ({ file: this.#request.file, name: only!.name }));
      return [{ name: e.name, of: e.name, formats: refs }];
    });
  }

  /** Claims a name of the package. Files are named after exports, so names may not differ in case alone. */
  #claim(name: string): string {
    const why = !/^[A-Za-z_$][\w$]*$/.test(name)
      ? 'it is no identifier'
      : keywords.has(name)
        ? 'it is a word of JavaScript'
        : reserved.has(name)
          ? 'packages use that name themselves'
          : this.#names.has(name.toLowerCase())
            ? `there is already ${this.#names.get(name.toLowerCase())}`
            : undefined;
    if (why) refuse('Q7004', { name, why });
    this.#names.set(name.toLowerCase(), name);
    return name;
  }

  /** A format of the file, else one of the library. */
  #ref(name: string, args: readonly Json[] | undefined): FormatRef {
    const own = this.#exports.some((e) => e.name === name && e.kind !== 'kernel');
    const file = own ? this.#request.file : 'quern/formats';
    return { file, name, ...(args?.length ? { args } : {}) };
  }

  #named(e: ExportRequest): void {
    const ref = this.#ref(e.of, e.constants);
    const known = describe(ref.file).exports.map((x) => x.name);
    if (!known.includes(ref.name)) {
      const own = this.#exports.flatMap((x) => (x.kind === 'other' ? [] : [x.name]));
      refuse('Q7003', { name: e.of, known: own.join(', ') || 'nothing is exported' });
    }
    const name = this.#claim(e.name);
    this.#formats.set(formatKey(ref), { name, ref });
  }

  /** The name of a format that a kernel takes or gives. */
  #formatName(ref: FormatRef): string {
    const key = formatKey(ref);
    const known = this.#formats.get(key);
    if (known) return known.name;
    const plain = [ref.name, ...(ref.args ?? []).map((a) => JSON.stringify(a))].join('_');
    const base = plain.replace(/[^\w$]+/g, '_').replace(/^(\d)|_+$/g, '$1') || 'format';
    let name = base;
    for (let i = 2; this.#names.has(name.toLowerCase()) || reserved.has(name); i += 1)
      name = `${base}_${i}`;
    this.#formats.set(key, { name: this.#claim(name), ref });
    return name;
  }

  async #kernel(e: ExportRequest): Promise<BuiltKernel> {
    const info = this.#exports.find((x) => x.name === e.of);
    if (info?.kind !== 'kernel') return refuse('Q7003', { name: e.of, known: '' });
    const formats = (e.formats ?? []).map((f) =>
      f.file === 'quern/formats' ? this.#ref(f.name, f.args) : f,
    );
    const given = [...(e.constants ?? [])];
    const statics = info.params.map((p) => (p.kind === 'static' ? given.shift() : undefined));
    const needed = info.params.filter((p) => p.kind === 'static' && !p.optional).length;
    const most = info.params.filter((p) => p.kind === 'static').length;
    const count = e.constants?.length ?? 0;
    if (formats.length !== info.formatParams.length || count < needed || count > most) {
      const list = info.params.flatMap((p) =>
        p.kind === 'static' ? [`${p.name}${p.optional ? '?' : ''}`] : [],
      );
      refuse('Q7008', {
        kernel: e.of,
        found: `${formats.length} formats, ${count} constants`,
        expected: `${e.of}${info.formatParams.length ? `<${info.formatParams.join(', ')}>` : ''}(${list.join(', ')})`,
      });
    }
    const name = this.#claim(e.name);
    this.#claim(`${name}Sync`);
    const made = await this.#compiled(name, {
      ...{ file: this.#request.file, name: e.of, formats, statics },
    });
    return { ...made, ...writtenAt(resolveEntry(this.#request.file), e.of) };
  }

  async #compiled(
    name: string,
    request: {
      file: string;
      name: string;
      formats?: readonly FormatRef[];
      statics?: readonly (Json | undefined)[];
      formatArgs?: readonly Json[];
    },
    targets = this.#targets,
  ): Promise<BuiltKernel> {
    const built: { readonly [T in Target]?: BuiltVariant[] } = { wasm: [], wgsl: [] };
    const made: { [T in Target]?: Artifact } = {};
    for (const target of targets) {
      if (target === 'cuda' || target === 'gpujs') {
        const preset = target === 'cuda' ? this.#request.preset : undefined;
        const of = { ...request, target, ...(preset === undefined ? {} : { preset }) };
        const { artifact, dependencies } = await compiled(of);
        this.#note(dependencies);
        made[target] = artifact;
        continue;
      }
      for (const { limits, ...row } of variantsOf(target, this.#extra)) {
        const threads = target === 'wasm' && this.#extra.includes('threads');
        const of = { ...request, target, threads, ...(limits ? { limits } : {}) };
        const packs = target === 'wasm' ? { resident: 'compact' as const } : {};
        const { artifact, dependencies } = await compiled({ ...of, ...packs });
        this.#note(dependencies);
        made[target] = artifact;
        const stem = `${name}${row.suffix}`;
        const narrow = artifact.packed?.some((p) => p.normal?.length);
        const wide = narrow && (await compiled({ ...of, resident: 'wide' })).artifact;
        built[target]!.push({
          ...row,
          ...builtCode(stem, artifact),
          ...(wide ? { wide: builtCode(`${stem}.wide`, wide) } : {}),
        });
      }
    }
    const { manifest, constants } = (made.wasm ?? made.wgsl ?? made.cuda ?? made.gpujs)!;
    checkOrder(manifest);
    checkDims(name, manifest);
    for (const a of [...manifest.params, ...manifest.results])
      if (a.kind === 'encoded') this.#formatName(a.format);
    return {
      name,
      manifest,
      constants,
      variants: distinct(built.wasm!),
      shaders: distinct(built.wgsl!),
      ...(made.cuda ? { cuda: made.cuda } : {}),
      ...(made.gpujs ? { functions: made.gpujs } : {}),
    };
  }

  async #format(name: string, ref: FormatRef): Promise<BuiltFormat> {
    const path = resolveEntry(ref.file);
    const info = describe(path).exports.find((e) => e.name === ref.name);
    const request = { file: ref.file, ...(ref.args ? { formatArgs: ref.args } : {}) };
    const parts: Record<string, BuiltKernel> = {};
    const refused: Record<string, string> = {};
    const hasLayout = info?.kind === 'format' && info.hasLayout;
    const names = ['encode', 'decode', ...(hasLayout ? ['pack', 'unpack'] : [])];
    const others = this.#targets.filter((t) => t !== 'gpujs');
    for (const part of names) {
      const make = (targets?: readonly Target[]): Promise<BuiltKernel> =>
        this.#compiled(`${name}.${part}`, { ...request, name: `${ref.name}.${part}` }, targets);
      try {
        parts[part] = await make();
      } catch (e) {
        // A format without one of its functions is of use: weights may come from elsewhere. decode is what kernels need.
        const why = part !== 'decode' && inexpressible(e);
        if (!why) throw e;
        refused[part] = why;
        if (others.length) parts[part] = await make(others);
      }
    }
    return { name, parts, refused, ...writtenAt(path, ref.name) };
  }
}

/** The comment of an export and where it stands. */
function writtenAt(file: string, name: string): { doc?: string; origin?: Origin } {
  const { path, statement } = declarationOf(file, name);
  if (!statement) return {};
  const source = statement.getSourceFile();
  const { line, character } = source.getLineAndCharacterOfPosition(statement.getStart(source));
  const doc = commentOf(statement);
  return {
    origin: { path, line, column: character },
    ...(doc === undefined ? {} : { doc }),
  };
}

/** What gpu.js cannot express, if that is all that is wrong. */
function inexpressible(e: unknown): string | undefined {
  if (!(e instanceof CompileError)) return undefined;
  const { diagnostics } = e;
  if (!diagnostics.every((d) => d.code === 'Q4001' && d.message.includes('gpujs')))
    return undefined;
  return diagnostics[0]?.message;
}

/** `q4.kernel.ts` makes the package `q4`. */
export function packageName(file: string): string {
  if (file === 'quern/formats') return 'formats';
  const stem = basename(resolve(file))
    .replace(/\.[cm]?tsx?$/, '')
    .replace(/\.kernels?$/, '');
  return (
    stem
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, '-')
      .replace(/^-+|-+$/g, '') || 'kernels'
  );
}

/** The loader passes params, results, temps, consts, in this order. */
function checkOrder(m: Manifest): void {
  const order = ['param', 'result', 'temp', 'const'];
  const roles = m.buffers.map((b) => order.indexOf(b.role));
  if (roles.some((r, i) => i > 0 && r < roles[i - 1]!))
    throw new Error(`the buffers of ${m.name} are not in the order ${order.join(', ')}`);
}

/** Every dim must be an axis of some argument by itself: a caller's shapes are all that is known. */
function checkDims(kernel: string, m: Manifest): void {
  if (kernel.endsWith('.unpack')) return;
  const bare = new Set(
    m.params.flatMap((p: ArgInfo) => p.shape.flatMap((s) => (s.length === 1 ? [s[0]] : []))),
  );
  for (const dim of m.dims) if (!bare.has(dim)) refuse('Q7007', { kernel, dim });
}
