// The JavaScript of a package besides runtime.js: one module an export, so that bundlers drop what is not
// imported, and index.js and init.js, which only list them.
import {
  beside,
  type CodeUrl,
  type Flavor,
  inline,
  list,
  quoted,
  record,
  specOf,
  tensorSpec,
  wasmFlavor,
} from './kernel-spec.ts';
import type { BuiltFormat, BuiltKernel, PackagePlan } from './plan.ts';

type Files = Map<string, string>;

/** Text of the kernels and formats of a plan, by path. */
export function scripts(plan: PackagePlan, flavor: Flavor): Files {
  const files: Files = new Map();
  const { folder } = flavor;
  for (const k of plan.kernels)
    files.set(`${folder}ops/${k.name}.js`, kernelModule(k, plan, flavor));
  for (const f of plan.formats)
    files.set(`${folder}ops/${f.name}.js`, formatModule(f, plan, flavor));
  files.set(`${folder}init.js`, initModule(plan, flavor));
  files.set(`${folder}index.js`, indexModule(plan, flavor));
  return files;
}

const kernelModule = (
  k: BuiltKernel,
  plan: PackagePlan,
  flavor: Flavor,
): string => `import{kernel${flavor.sync ? ',syncOf' : ''}}from'../runtime.js';
${kernelText(k, plan, beside, flavor)}`;

function kernelText(k: BuiltKernel, plan: PackagePlan, url: CodeUrl, flavor: Flavor): string {
  const lines = [
    `export const ${k.name}=/*@__PURE__*/kernel(${specOf(k, plan, url, flavor)});`,
    ...(flavor.sync ? [`export const ${k.name}Sync=/*@__PURE__*/syncOf(${k.name});`] : []),
  ];
  return `${lines.join('\n')}\n`;
}

const formatModule = (
  f: BuiltFormat,
  plan: PackagePlan,
  flavor: Flavor,
): string => `import{format}from'../runtime.js';
${formatText(f, plan, beside, flavor)}`;

function formatText(f: BuiltFormat, plan: PackagePlan, url: CodeUrl, flavor: Flavor): string {
  const { manifest } = f.parts.encode!;
  const stored = manifest.results[0]!;
  const fields = stored.kind === 'encoded' ? stored.fields : [];
  const parts = Object.entries(f.parts).map(([p, k]) => `${p}:${specOf(k, plan, url, flavor)}`);
  const spec = record([
    `name:${quoted(f.name)}`,
    `dims:${list(manifest.dims.map(quoted))}`,
    `fields:${list(fields.map((x) => tensorSpec(x, manifest.dims)))}`,
    `kernels:${record(parts)}`,
  ]);
  return `export const ${f.name}=/*@__PURE__*/format(${spec});\n`;
}

/** All of a plan as one module with the code inside, for bundlers and loaders; `runtime` is where it imports from. */
export const singleModule = (plan: PackagePlan, runtime: string, threads: string): string =>
  [
    `import{empty,format,kernel,syncOf,tensor}from'${runtime}';`,
    `export{${general}}from'${runtime}';`,
    ...plan.kernels.map((k) => kernelText(k, plan, inline, wasmFlavor)),
    ...plan.formats.map((f) => formatText(f, plan, inline, wasmFlavor)),
    initFunction(plan, wasmFlavor, threads),
  ].join('\n');

/** What every package exports besides kernels and formats. */
const general = ['Encoded', 'QuernError', 'Tensor', 'empty', 'memoryUsed', 'tensor'];

/** The exports of a kernel. */
const namesOf = (k: BuiltKernel, { sync }: Flavor): string[] =>
  sync ? [k.name, `${k.name}Sync`] : [k.name];

function indexModule(plan: PackagePlan, flavor: Flavor): string {
  const lines = [
    "export{init}from'./init.js';",
    `export{${general.join(',')}}from'./runtime.js';`,
    ...plan.kernels.map((k) => `export{${namesOf(k, flavor)}}from'./ops/${k.name}.js';`),
    ...plan.formats.map((f) => `export{${f.name}}from'./ops/${f.name}.js';`),
  ];
  return `${lines.join('\n')}\n`;
}

function initModule(plan: PackagePlan, flavor: Flavor): string {
  const imports = [
    ...plan.kernels.map((k) => `import{${namesOf(k, flavor)}}from'./ops/${k.name}.js';`),
    ...plan.formats.map(({ name }) => `import{${name}}from'./ops/${name}.js';`),
    `import{${['empty', ...flavor.imports, 'tensor']}}from'./runtime.js';`,
  ];
  return `${imports.join('\n')}\n${initFunction(plan, flavor, './threads.js')}`;
}

function initFunction(plan: PackagePlan, flavor: Flavor, from: string): string {
  const kernels = plan.kernels.map((k) => k.name);
  const formats = plan.formats.map((f) => f.name);
  const { code, gives } = flavor.opening(plan, from);
  const members = [
    ...plan.kernels.flatMap((k) => namesOf(k, flavor)),
    ...formats,
    ...['empty', 'tensor', ...gives],
  ];
  return `export async function init(options){
${code}
await Promise.all([${[...kernels, ...formats]}].map(op=>op.ready(options)));
return Object.freeze({${members}});
}
`;
}
