// The JavaScript of a package besides runtime.js: one module an export, so that bundlers drop what is not
// imported, and index.js and init.js, which only list them.
import { beside, inline } from './flavors.ts';
import {
  type CodeUrl,
  type Flavor,
  list,
  quoted,
  record,
  specOf,
  tensorSpec,
} from './kernel-spec.ts';
import type { BuiltFormat, BuiltKernel, Origin, PackagePlan } from './plan.ts';

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
${flavor.uses?.(k) ?? ''}${kernelText(k, plan, flavor)}`;

function kernelText(k: BuiltKernel, plan: PackagePlan, flavor: Flavor): string {
  const lines = [
    `export const ${k.name}=/*@__PURE__*/kernel(${specOf(k, plan, beside, flavor)});`,
    ...(flavor.sync ? [`export const ${k.name}Sync=/*@__PURE__*/syncOf(${k.name});`] : []),
  ];
  return `${lines.join('\n')}\n`;
}

const formatModule = (
  f: BuiltFormat,
  plan: PackagePlan,
  flavor: Flavor,
): string => `import{format}from'../runtime.js';
${partsOf(f, flavor)
  .map(([, k]) => flavor.uses?.(k) ?? '')
  .join('')}${formatText(f, plan, beside, flavor)}`;

/** The functions of a format that a target has. */
const partsOf = (f: BuiltFormat, flavor: Flavor): [part: string, k: BuiltKernel][] =>
  Object.entries(f.parts).filter(([p]) => flavor.target !== 'gpujs' || !(p in f.refused));

function formatText(f: BuiltFormat, plan: PackagePlan, url: CodeUrl, flavor: Flavor): string {
  // Kernels need decode, so it is always there.
  const { manifest } = f.parts.decode!;
  const stored = manifest.params[0]!;
  const fields = stored.kind === 'encoded' ? stored.fields : [];
  const parts = partsOf(f, flavor).map(([p, k]) => `${p}:${specOf(k, plan, url, flavor)}`);
  const refused = flavor.target === 'gpujs' ? Object.entries(f.refused) : [];
  const spec = record([
    `name:${quoted(f.name)}`,
    `dims:${list(manifest.dims.map(quoted))}`,
    `fields:${list(fields.map((x) => tensorSpec(x, manifest.dims)))}`,
    `kernels:${record(parts)}`,
    ...(refused.length
      ? [`lacks:${record(refused.map(([p, why]) => `${p}:${quoted(why)}`))}`]
      : []),
  ]);
  return `export const ${f.name}=/*@__PURE__*/format(${spec});\n`;
}

/** A piece of a module, and where its author wrote what it says. */
export interface Piece {
  readonly text: string;
  readonly origin?: Origin;
}

/**
 * All of a plan as one module with the code inside, for bundlers and loaders; `runtime` is where it imports from. Kernels are
 * functions of the module itself, so that they stand in stack traces.
 */
export function singleModule(
  plan: PackagePlan,
  flavor: Flavor,
  runtime: string,
  threads: string,
): readonly Piece[] {
  const imports = ['empty', 'format', 'kernel', 'tensor', ...flavor.imports];
  const piece = (made: BuiltKernel | BuiltFormat, text: string): Piece =>
    made.origin ? { text, origin: made.origin } : { text };
  return [
    { text: `import{${imports}}from'${runtime}';\nexport{${general}}from'${runtime}';\n` },
    ...plan.kernels.map((k) => piece(k, functionText(k, plan, flavor))),
    ...plan.formats.map((f) => {
      const inside = partsOf(f, flavor).map(([, k]) => flavor.within?.(k) ?? '');
      return piece(f, `${inside.join('')}${formatText(f, plan, inline, flavor)}`);
    }),
    { text: initFunction(plan, flavor, threads) },
  ];
}

function functionText(k: BuiltKernel, plan: PackagePlan, flavor: Flavor): string {
  const own = `${k.name}$kernel`;
  const lines = [
    `${flavor.within?.(k) ?? ''}const ${own}=/*@__PURE__*/kernel(${specOf(k, plan, inline, flavor)});`,
    `export const ${k.name}=/*@__PURE__*/Object.assign(function ${k.name}(...args){return ${own}(...args)},${own});`,
  ];
  if (flavor.sync)
    lines.push(`export function ${k.name}Sync(...args){return ${own}.sync(...args)}`);
  return `${lines.join('\n')}\n`;
}

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
