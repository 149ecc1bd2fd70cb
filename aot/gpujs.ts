// Kernels for gpu.js in a package: a module of functions, which run as they are, and the same functions as text, which only
// gpu.js reads: bundlers may rewrite the former, and must not the latter.
import type { Artifact, LaunchInfo } from '../compiler/artifact.ts';
import type { BuiltFile } from './built.ts';
import { javascript, lambda, list, quoted, record } from './kernel-spec.ts';
import type { BuiltKernel } from './plan.ts';

interface Function {
  readonly name: string;
  readonly params: readonly string[];
  readonly text: string;
}

/** The functions of a text of the backend, without comments and indentation. */
function functionsOf({ code }: Artifact): readonly Function[] {
  const text = new TextDecoder().decode(code);
  return [...text.matchAll(/^function (\w+)\((.*?)\) \{\n.*?^\}/gms)].map(
    ([whole, name, params]) => ({
      name: name!,
      params: params ? params.split(', ') : [],
      text: whole.replace(/^\s*\/\/.*\n/gm, '').replace(/^ +/gm, ''),
    }),
  );
}

/** Numbers that have no literal in a shader come as the last arguments. */
const specials: { readonly [name: string]: string | undefined } = {
  infinity: 'Infinity',
  notANumber: 'NaN',
};

export const codeFile = (kernel: string): string => `${kernel}.functions.js`;
const textFile = (kernel: string): string => `${kernel}.text.js`;
/** What the module of the kernel calls the functions. */
export const codeName = (kernel: string): string => `functions_${kernel.replace('.', '_')}`;

const launchesOf = (made: Artifact): readonly LaunchInfo[] => made.manifest.launches ?? [];

/** The functions as code that gives the launches, and as text. */
function written(made: Artifact): {
  readonly code: string;
  names: string[];
  readonly text: string;
} {
  const all = functionsOf(made);
  const launches = new Set(launchesOf(made).map((l) => l.name));
  const own = all.filter((f) => launches.has(f.name));
  const helpers = all.filter((f) => !launches.has(f.name)).map((f) => [f.text, f.params.length]);
  const texts = { helpers, launches: Object.fromEntries(own.map((f) => [f.name, f.text])) };
  return {
    code: all.map((f) => f.text).join('\n'),
    names: own.map((f) => f.name),
    text: JSON.stringify(texts),
  };
}

export function gpujsFiles(kernel: string, made: Artifact): readonly BuiltFile[] {
  const { code, names, text } = written(made);
  const encoded = (text: string): Uint8Array => new TextEncoder().encode(text);
  return [
    { file: codeFile(kernel), code: encoded(`${code}\nexport{${names}};\n`) },
    { file: textFile(kernel), code: encoded(`export default ${text};\n`) },
  ];
}

/** The functions as a value, where everything is in one module. */
export function functionsWithin(kernel: string, made: Artifact): string {
  const { code, names } = written(made);
  return `const ${codeName(kernel)}=/*@__PURE__*/(()=>{${code}\nreturn{${names}}})();\n`;
}

/** What the package says of the functions of a kernel. */
export function functionVariant(k: BuiltKernel, made: Artifact, inside: boolean): string {
  const { buffers } = made.manifest;
  const { dims } = k.manifest;
  const params = new Map(functionsOf(made).map((f) => [f.name, f.params]));
  const temps = buffers.filter((b) => b.role === 'temp').map((b) => b.bytes);
  const constants = buffers.flatMap((b) =>
    b.role === 'const' ? [quoted(Buffer.from(made.constants[b.name]!).toString('base64'))] : [],
  );
  const launches = launchesOf(made).map((l) => {
    const last = params.get(l.name)!.slice(l.buffers.length - 1 + l.dims.length);
    const values = last.map((name) => specials[name] ?? missing(`a value for ${name}`));
    if (l.when.length) missing(`a condition of ${l.name}`);
    return record([
      `name:${quoted(l.name)}`,
      `count:${lambda([l.grid[0]], dims, javascript(l.grid[0]))}`,
      `buffers:${list(l.buffers.map(String))}`,
      `dims:${list(l.dims.map((d) => String(dims.indexOf(d))))}`,
      ...(values.length ? [`specials:${list(values)}`] : []),
    ]);
  });
  return record([
    `buffers:${list(buffers.map((b) => `[${quoted(b.name)},'${b.dtype}']`))}`,
    ...(temps.length ? [`temps:${lambda(temps, dims, list(temps.map(javascript)))}`] : []),
    ...(constants.length ? [`constants:${list(constants)}`] : []),
    `launches:${list(launches)}`,
    `functions:${codeName(k.name)}`,
    inside
      ? `text:()=>Promise.resolve({default:${written(made).text}})`
      : `text:()=>import('./${textFile(k.name)}')`,
  ]);
}

const missing = (what: string): never => {
  throw new Error(`packages for gpu.js know nothing of ${what}`);
};
