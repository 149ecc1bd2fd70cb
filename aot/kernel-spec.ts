// What the modules of a package say of a kernel, as text: its signature and sizes. What differs between the targets, such as
// where the code lies, is a flavor (flavors.ts). No spaces and no comments: manifest.json is for people.
import type { ArgInfo, PolyCode, TensorInfo } from '../compiler/artifact.ts';
import type { BuiltFile } from './built.ts';
import type { RuntimeName } from './carried.ts';
import { javascript as spaced, plain } from './expression.ts';
import type { BuiltKernel, PackagePlan } from './plan.ts';
import { formatKey } from './plan.ts';
import type { ScriptTarget } from './targets.ts';

/** How a module of a package finds a file of code. */
export type CodeUrl = (f: BuiltFile) => string;

/** What is different between the targets that JavaScript loads. */
export interface Flavor {
  readonly target: ScriptTarget;
  /** Before the paths of its files. */
  readonly folder: string;
  /** Whether kernels have synchronous forms. */
  readonly sync: boolean;
  /** The text of its runtime.js. */
  readonly carried: RuntimeName;
  /** What `init` does first, and gives besides the kernels. */
  opening(plan: PackagePlan, from: string): { readonly code: string; readonly gives: string[] };
  /** What `init` imports from the runtime. */
  readonly imports: readonly string[];
  /** The compilations of a kernel, as text; none where the target cannot express it. */
  variants(k: BuiltKernel, url: CodeUrl): readonly string[];
  /** What the module of a kernel imports besides. */
  uses?(k: BuiltKernel): string;
  /** The same where everything is in one module. */
  within?(k: BuiltKernel): string;
  /** The files of code, by their paths below ops/. */
  files(k: BuiltKernel): readonly BuiltFile[];
}

export const quoted = (text: string): string =>
  `'${text.replace(/[\\']/g, '\\$&').replace(/\n/g, '\\n')}'`;

export const list = (items: readonly string[]): string => `[${items.join(',')}]`;
export const record = (members: readonly string[]): string => `{${members.join(',')}}`;

export const javascript = (code: PolyCode): string => spaced(code).replaceAll(' ', '');

/** A function of the dims; only as many of them as are needed to reach the last one used. */
export function lambda(codes: readonly PolyCode[], dims: readonly string[], body: string): string {
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
  members.push(`variants:${list(flavor.variants(k, url))}`);
  return record(members);
}
