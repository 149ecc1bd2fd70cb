// The JavaScript of a package besides runtime.js: one module an export, so that bundlers drop what is not
// imported, and index.js and init.js, which only list them.
import type { ArgInfo, PolyCode, TensorInfo } from '../compiler/artifact.ts';
import { javascript, plain } from './expression.ts';
import type { BuiltFormat, BuiltKernel, BuiltVariant, PackagePlan } from './plan.ts';
import { formatKey } from './plan.ts';

type Files = Map<string, string>;
/** How a module of a package finds the code of a variant. */
type CodeUrl = (v: BuiltVariant) => string;
const beside: CodeUrl = (v) => `new URL('./${v.file}', import.meta.url)`;
const inline: CodeUrl = (v) =>
  `new URL('data:application/wasm;base64,${Buffer.from(v.code).toString('base64')}')`;

const quoted = (text: string): string =>
  `'${text.replace(/[\\']/g, '\\$&').replace(/\n/g, '\\n')}'`;

/** Text of the kernels and formats of a plan, by path. */
export function scripts(plan: PackagePlan): Files {
  const files: Files = new Map();
  for (const k of plan.kernels) files.set(`ops/${k.name}.js`, kernelModule(k, plan));
  for (const f of plan.formats) files.set(`ops/${f.name}.js`, formatModule(f, plan));
  files.set('init.js', initModule(plan));
  files.set('index.js', indexModule(plan));
  return files;
}

const kernelModule = (k: BuiltKernel, plan: PackagePlan): string => `${comment(k.doc)}\
import { kernel, syncOf } from '../runtime.js';

${kernelText(k, plan, beside)}`;

const kernelText = (k: BuiltKernel, plan: PackagePlan, url: CodeUrl): string => `\
export const ${k.name} = /* @__PURE__ */ kernel(${specOf(k, plan, '', url)});
export const ${k.name}Sync = /* @__PURE__ */ syncOf(${k.name});
`;

const formatModule = (f: BuiltFormat, plan: PackagePlan): string => `${comment(f.doc)}\
import { format } from '../runtime.js';

${formatText(f, plan, beside)}`;

function formatText(f: BuiltFormat, plan: PackagePlan, url: CodeUrl): string {
  const { manifest } = f.parts.encode!;
  const stored = manifest.results[0]!;
  const fields = stored.kind === 'encoded' ? stored.fields : [];
  const parts = Object.entries(f.parts).map(
    ([p, k]) => `    ${p}: ${specOf(k, plan, '    ', url)},\n`,
  );
  return `export const ${f.name} = /* @__PURE__ */ format({
  name: ${quoted(f.name)},
  dims: ${list(manifest.dims.map(quoted))},
  fields: [
${fields.map((x) => `    ${tensorSpec(x, manifest.dims)},\n`).join('')}  ],
  kernels: {
${parts.join('')}  },
});
`;
}

/** All of a plan as one module with the code inside, for bundlers and loaders; `runtime` is where it imports from. */
export const singleModule = (plan: PackagePlan, runtime: string): string =>
  [
    `import { empty, format, kernel, syncOf, tensor } from '${runtime}';`,
    `export { Encoded, QuernError, Tensor, empty, memoryUsed, tensor } from '${runtime}';`,
    ...plan.kernels.map((k) => kernelText(k, plan, inline)),
    ...plan.formats.map((f) => formatText(f, plan, inline)),
    initFunction(plan),
  ].join('\n');

function indexModule(plan: PackagePlan): string {
  const lines = [
    "export { init } from './init.js';",
    "export { Encoded, QuernError, Tensor, empty, memoryUsed, tensor } from './runtime.js';",
    ...plan.kernels.map((k) => `export { ${k.name}, ${k.name}Sync } from './ops/${k.name}.js';`),
    ...plan.formats.map((f) => `export { ${f.name} } from './ops/${f.name}.js';`),
  ];
  return `${lines.join('\n')}\n`;
}

function initModule(plan: PackagePlan): string {
  const kernels = plan.kernels.map((k) => k.name);
  const formats = plan.formats.map((f) => f.name);
  const imports = [
    ...kernels.map((n) => `import { ${n}, ${n}Sync } from './ops/${n}.js';`),
    ...formats.map((n) => `import { ${n} } from './ops/${n}.js';`),
    "import { empty, tensor } from './runtime.js';",
  ];
  return `${imports.join('\n')}\n\n${initFunction(plan)}`;
}

function initFunction(plan: PackagePlan): string {
  const kernels = plan.kernels.map((k) => k.name);
  const formats = plan.formats.map((f) => f.name);
  const members = [...kernels.flatMap((n) => [n, `${n}Sync`]), ...formats, 'empty', 'tensor'];
  return `/** Loads every kernel, so that the synchronous forms may be called. */
export async function init(options) {
  await Promise.all([${[...kernels, ...formats].join(', ')}].map((op) => op.ready(options)));
  return Object.freeze({ ${members.join(', ')} });
}
`;
}

const comment = (doc: string | undefined): string =>
  doc === undefined
    ? ''
    : `/**\n${doc
        .replace(/\*\//g, '* /')
        .split('\n')
        .map((l) => ` * ${l}`.trimEnd())
        .join('\n')}\n */\n`;
const list = (items: readonly string[]): string => `[${items.join(', ')}]`;

/** A function of the dims; only as many of them as are needed to reach the last one used. */
function lambda(codes: readonly PolyCode[], dims: readonly string[], body: string): string {
  const used = codes.flat().filter((x) => typeof x === 'string');
  const last = Math.max(-1, ...used.map((name) => dims.indexOf(name as string)));
  return `(${dims.slice(0, last + 1).join(', ')}) => ${body}`;
}

function shapeSpec(shape: readonly PolyCode[], dims: readonly string[]): string {
  const simple = shape.map(plain);
  if (simple.every((s) => s !== undefined))
    return list(simple.map((s) => (typeof s === 'number' ? String(s) : quoted(s!))));
  return lambda(shape, dims, list(shape.map(javascript)));
}

const tensorSpec = (t: TensorInfo, dims: readonly string[]): string =>
  `{ name: ${quoted(t.name)}, dtype: '${t.dtype}', shape: ${shapeSpec(t.shape, dims)} }`;

function argSpec(a: ArgInfo, plan: PackagePlan, dims: readonly string[], at: string): string {
  if (a.kind === 'tensor') return tensorSpec(a, dims);
  const fields = a.fields.map((f) => `${at}    ${tensorSpec(f, dims)},\n`).join('');
  const format = quoted(plan.formatNames.get(formatKey(a.format))!);
  return `{
${at}  name: ${quoted(a.name)}, format: ${format}, shape: ${shapeSpec(a.shape, dims)},
${at}  fields: [
${fields}${at}  ],
${at}}`;
}

function specOf(k: BuiltKernel, plan: PackagePlan, at: string, url: CodeUrl): string {
  const { dims, params, results, returns, constraints, buffers } = k.manifest;
  const lines = [`name: ${quoted(k.name)}`, `dims: ${list(dims.map(quoted))}`];
  const args = (all: readonly ArgInfo[]): string =>
    `[\n${all.map((a) => `${at}    ${argSpec(a, plan, dims, `${at}    `)},\n`).join('')}${at}  ]`;
  lines.push(`params: ${args(params)}`, `results: ${args(results)}`);
  if (returns !== 'value') lines.push(`returns: '${returns}'`);
  if (constraints.length) {
    const rows = constraints.map(
      (c) =>
        `${at}    { text: ${quoted(c.text)}, multiple: ${c.modulus}, reason: ${quoted(c.reason)}, value: ${lambda([c.poly], dims, javascript(c.poly))} },\n`,
    );
    lines.push(`requires: [\n${rows.join('')}${at}  ]`);
  }
  const temps = buffers.flatMap((b) => (b.role === 'temp' ? [b.bytes] : []));
  if (temps.length) lines.push(`temps: ${lambda(temps, dims, list(temps.map(javascript)))}`);
  const consts = buffers.flatMap((b) => (b.role === 'const' ? [quoted(b.name)] : []));
  if (consts.length) lines.push(`constants: ${list(consts)}`);
  const variants = k.variants.map(
    (v) =>
      `${at}    { variant: '${v.variant}', file: '${v.file}', bytes: ${v.code.length}, url: () => ${url(v)} },\n`,
  );
  lines.push(`variants: [\n${variants.join('')}${at}  ]`);
  return `{\n${lines.map((l) => `${at}  ${l},\n`).join('')}${at}}`;
}
