// index.d.ts of a package: each export with its dtypes and named dims, under the documentation of the source.
// A dim that is an axis of some argument is a type parameter; later mentions of it must agree with the first.
import type { ArgInfo, PolyCode } from '../compiler/artifact.ts';
import { plain } from './expression.ts';
import type { Flavor } from './kernel-spec.ts';
import { type BuiltFormat, type BuiltKernel, formatKey, type PackagePlan } from './plan.ts';
import { preambleOf } from './preamble.ts';
import type { ScriptTarget } from './targets.ts';

export function declarations(plan: PackagePlan, flavor: Flavor): string {
  const parts = [preambleOf(flavor.target)];
  for (const k of plan.kernels) parts.push(kernelType(k, plan, flavor));
  for (const f of plan.formats) parts.push(formatType(f, flavor));
  const members = [
    ...plan.kernels.flatMap((k) => (flavor.sync ? [k.name, `${k.name}Sync`] : [k.name])),
    ...plan.formats.map((f) => f.name),
    'empty',
    'tensor',
  ];
  const threads =
    flavor.target === 'wasm'
      ? '  /** The threads that kernels run on. */\n  readonly threads: Threads;\n'
      : '';
  parts.push(`/** All of the package, loaded. */
export interface Ops {
${members.map((m) => `  readonly ${m}: typeof ${m};\n`).join('')}${threads}}

/** ${loads[flavor.target]} */
export declare function init(options?: InitOptions): Promise<Ops>;
`);
  return parts.join('\n');
}

const everything = 'Loads every kernel, so that the synchronous forms may be called too.';
const loads: { readonly [T in ScriptTarget]: string } = {
  wasm: everything,
  wgsl: 'Opens the GPU and loads every kernel. Call it before anything else.',
  gpujs: everything,
};

const doc = (text: string | undefined, more: readonly string[]): string => {
  const lines = [...(text?.split('\n') ?? []), ...(text && more.length ? [''] : []), ...more];
  const safe = lines.map((l) => ` * ${l.replace(/\*\//g, '* /')}`.trimEnd());
  return lines.length ? `/**\n${safe.join('\n')}\n */\n` : '';
};

const valid = (name: string): boolean => /^[A-Za-z_$][\w$]*$/.test(name);

function kernelType(k: BuiltKernel, plan: PackagePlan, flavor: Flavor): string {
  const { params, results, returns, dims, constraints } = k.manifest;
  const seen = new Set<string>();
  const own = new Set(
    params.flatMap((p) =>
      p.shape.map(plain).filter((d) => typeof d === 'string' && dims.includes(d)),
    ),
  );
  /** The first mention of a dim settles it. */
  const dim = (code: PolyCode, first: boolean): string => {
    const d = plain(code);
    if (typeof d === 'number') return String(d);
    if (d === undefined || !own.has(d)) return 'number';
    if (!first || seen.has(d)) return first ? `NoInfer<${d}>` : d;
    seen.add(d);
    return d;
  };
  const type = (a: ArgInfo, kind: 'input' | 'output' | 'result'): string => {
    const shape = `[${a.shape.map((s) => dim(s, kind === 'input')).join(', ')}]`;
    const name = a.kind === 'tensor' ? a.dtype : plan.formatNames.get(formatKey(a.format))!;
    const encoded = { input: 'EncodedInput', output: 'EncodedInput', result: 'Encoded' };
    const tensor = { input: 'Input', output: 'Output', result: 'Tensor' };
    return `${(a.kind === 'tensor' ? tensor : encoded)[kind]}<'${name}', ${shape}>`;
  };
  const inputs = params.map((p) => `${valid(p.name) ? p.name : `_${p.name}`}: ${type(p, 'input')}`);
  const whole = (kind: 'output' | 'result'): string => {
    if (returns === 'value') return type(results[0]!, kind);
    const parts = results.map((r) => type(r, kind));
    if (returns === 'tuple') return `[${parts.join(', ')}]`;
    return `{ ${results.map((r, i) => `readonly ${JSON.stringify(r.name)}: ${parts[i]}`).join('; ')} }`;
  };
  const result = whole('result');
  const generics = [...own].map((d) => `${d} extends number`);
  const head = (extra: readonly string[]): string => {
    const all = [...generics, ...extra];
    return all.length ? `<${all.join(', ')}>` : '';
  };
  const signature = (wrap: (r: string) => string): string => {
    const plainCall = `  ${head([])}(${inputs.join(', ')}): ${wrap(result)};\n`;
    const output = `O extends ${whole('output')}`;
    return `${plainCall}  /** Writes into \`out\`, which must have the result's shape, and gives it back. */
  ${head([output])}(${[...inputs, 'out: O'].join(', ')}): ${wrap('O')};\n`;
  };
  const rules = constraints.map(
    (c) => `\`${c.text}\` must be a multiple of ${c.modulus}: ${c.reason}.`,
  );
  const synchronous = (): string => {
    const how = `The synchronous form: after \`init()\` or \`${k.name}.ready()\`.`;
    return `${doc(k.doc, [how])}export declare const ${k.name}Sync: {\n${signature((r) => r)}};\n`;
  };
  return `${doc(k.doc, rules)}export declare const ${k.name}: {
${signature((r) => `Promise<${r}>`)}} & Loadable;
${flavor.sync ? synchronous() : ''}`;
}

function formatType(f: BuiltFormat, flavor: Flavor): string {
  const stored = f.parts.decode!.manifest.params[0]!;
  const fields = stored.kind === 'encoded' ? stored.fields : [];
  const rows = fields.map((x) => `- \`${x.name}\`: ${x.dtype}${x.text}, once a ${x.level}`);
  const record = fields.map((x) => `readonly ${JSON.stringify(x.name)}: '${x.dtype}'`).join('; ');
  const packed = f.parts.pack?.manifest.results;
  const planes = packed?.map((r) => `readonly ${JSON.stringify(r.name)}: Uint8Array`).join('; ');
  const layout = !packed
    ? 'never'
    : f.parts.pack!.manifest.returns === 'value'
      ? 'Uint8Array'
      : `{ ${planes} }`;
  const type = `Format<'${f.name}', { ${record} }, ${layout}>`;
  const refused = flavor.target === 'gpujs' ? Object.keys(f.refused) : [];
  const without = refused.flatMap((p) => [`'${p}'`, `'${p}Sync'`]).join(' | ');
  const why = refused.length ? ['', `gpu.js cannot express ${refused.join(', ')}.`] : [];
  return `${doc(f.doc, ['Fields for a matrix [N, K]:', '', ...rows, ...why])}export declare const ${f.name}: ${without ? `Omit<${type}, ${without}>` : type};
`;
}
