// One kernel for each code of the table: what an author might write, and what the compiler then says.
import { dirname, resolve } from 'node:path';
import type { Code } from '../../compiler/diagnostics/codes.ts';
import { CompileError, diagnostic, noSpan } from '../../compiler/diagnostics/diagnostic.ts';
import { renderDiagnostics } from '../../compiler/diagnostics/render.ts';
import { type StageRequest, stage } from '../../compiler/frontend/entry.ts';
import { SourceFiles } from '../../compiler/frontend/modules.ts';

interface Case {
  readonly source: string;
  readonly name?: string;
  readonly request?: Partial<StageRequest>;
  readonly files?: Readonly<Record<string, string>>;
}

const q40 = `export const q4_0 = format({
  block: 32,
  encode(x: Tensor<f32, [32]>) {
    const d = at(x, argmax(abs(x))) / -8;
    const inverse = d === 0 ? 0 : 1 / d;
    return { d: f16(d), q: u4(clamp(floor(x * inverse + 8.5), 0, 15)) };
  },
  decode: ({ d, q }) => (q - 8) * d,
});`;
const imports =
  "import { abs, any, argmax, at, clamp, decode, encode, f16, f32, floor, format, i32, map, matmul, range, reshape, set, slice, sum, transpose, u4, upTo } from 'quern';\n" +
  "import type { Dim, Encoded, Format, Tensor } from 'quern';\n\n";
const k = (text: string): string => `${imports}${text}\n`;
const norm = (body: string, params = 'x: Tensor<f32, [M, K]>'): string =>
  k(
    `export function norm<M extends Dim, K extends Dim>(${params}) {\n${body.replace(/^(?=.)/gm, '  ')}\n}`,
  );

const path = '/kernels/norm.ts';

/** Kernels by code; `-` and a word make further cases of one code. */
export const cases: Readonly<Record<string, Case>> = {
  Q1001: { source: norm('const y = x * ;\nreturn y;') },
  Q1002: { source: norm('const y = x[0];\nreturn y;') },
  'Q1002-statement': { source: norm('switch (1) {}\nreturn x;') },
  'Q1002-map': {
    source: norm(
      'let total = 0;\nconst y = map(4, (i) => {\n  total += i;\n  return total;\n});\nreturn y;',
    ),
  },
  Q1003: { source: norm('return matmull(x, transpose(x));') },
  'Q1003-import': {
    source: k(
      "import { soft } from 'quern';\nexport function norm(x: Tensor<f32, [4]>) {\n  return soft(x);\n}",
    ),
  },
  'Q1003-dtype': { source: k('export function norm(x: Tensor<f23, [4]>) {\n  return x;\n}') },
  Q1004: { source: norm('return x;'), request: { name: 'nrom' } },
  'Q1004-import': {
    source: k(
      "import { scales } from './tables.ts';\nexport function norm(x: Tensor<f32, [4]>) {\n  return x * scales;\n}",
    ),
    files: { './tables.ts': 'export const scale = 2;\n' },
  },
  Q1005: {
    source: k(
      "import { scale } from './tables.ts';\nexport function norm(x: Tensor<f32, [4]>) {\n  return x * scale;\n}",
    ),
  },
  'Q1005-package': {
    source: k(
      "import { chunk } from 'lodash';\nexport function norm(x: Tensor<f32, [4]>) {\n  return chunk(x);\n}",
    ),
  },
  Q1006: {
    source: norm('let n = 0;\nwhile_: for (;;) n += 1;\nreturn x;'.replace('while_: ', '')),
  },
  'Q1006-recursion': {
    source: norm('const depth = (n: number) => depth(n + 1);\nreturn x * depth(0);'),
  },
  'Q1006-array': { source: norm('const table = Array.from({ length: 1e9 });\nreturn x;') },
  Q1007: {
    source: norm('const total = 0;\nfor (const v of [1, 2]) total += v;\nreturn x * total;'),
  },
  Q1008: { source: norm('const size = sum(x);\nreturn reshape(x, [size, -1]);') },
  Q1009: { source: norm('if (any(x > 1)) {\n  return x;\n}\nreturn x * 2;') },
  Q1010: { source: norm('let y = x;\nif (x > 0) y = -x;\nreturn y;') },
  Q1011: {
    source: norm('let best = x;\nfor (const i of range(4)) best = sum(best, 0);\nreturn best;'),
  },
  'Q1011-branch': { source: norm('let y = x;\nif (any(x > 1)) y = sum(x);\nreturn y;') },
  Q1012: { source: norm('return matmul(x);') },
  'Q1012-closure': { source: norm('const scale = (v, by) => v * by;\nreturn scale(x);') },
  'Q1012-operator': { source: norm("const bits = 'four';\nreturn x * (bits * 2);") },
  'Q1012-encoded': {
    source: `${k(q40)}export function norm<N extends Dim, K extends Dim>(w: Encoded<typeof q4_0, [N, K]>) {\n  return w * 2;\n}\n`,
  },
  Q1013: { source: norm('const scale = 2;\nreturn scale(x);') },
  Q1014: { source: norm('return x.sum();') },
  'Q1014-record': { source: norm('const options = { scale: 2 };\nreturn x * options.scael;') },
  Q1015: { source: k('export function norm(x, scale: number) {\n  return x * scale;\n}') },
  'Q1015-dtype': {
    source: k('export function norm<D extends DType>(x: Tensor<D, [4]>) {\n  return x;\n}'),
  },
  Q1016: { source: norm('let total;\nconst y = x * total;\nreturn y;') },
  'Q1016-branch': { source: norm('let y;\nif (any(x > 1)) y = x * 2;\nreturn y;') },
  Q1017: {
    source: norm(
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the source of a kernel
      'const bits = 5;\nif (bits > 4) throw new Error(`bits is ${bits}, at most 4`);\nreturn x;',
    ),
  },
  Q1018: {
    source: k('export function norm<M extends Dim>(x: Tensor<f32, [M, K]>) {\n  return x;\n}'),
  },
  'Q1018-format': {
    source: k('export function norm<F extends Format>(x: Tensor<f32, [F]>) {\n  return x;\n}'),
  },

  Q2001: { source: norm('return x + sum(x, 1);') },
  Q2002: {
    source: k(
      'export function norm<M extends Dim, N extends Dim, K extends Dim>(\n  x: Tensor<f32, [M, K]>,\n  w: Tensor<f32, [N, K]>,\n) {\n  return matmul(x, w);\n}',
    ),
  },
  Q2003: { source: norm('return sum(x, 2);') },
  Q2004: { source: norm('return x & 15;') },
  Q2005: { source: norm('return reshape(x, [M2, 3]);'.replace('M2', '4')) },
  'Q2004-set': { source: norm('return set(u4(x), 16, 0, 0);') },
  Q2006: { source: norm('return at(x, 0, 1, 2);') },
  Q2007: {
    source: k(
      'export function norm<M extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>): Tensor<f32, [M]> {\n  return sum(x, 0);\n}',
    ),
  },
  'Q2007-argument': {
    source: k(
      'function dot<A extends Dim>(a: Tensor<f32, [A]>, b: Tensor<f32, [A]>) {\n  return sum(a * b);\n}\nexport function norm<M extends Dim, K extends Dim>(x: Tensor<f32, [M]>, y: Tensor<f32, [K]>) {\n  return dot(x, y);\n}',
    ),
  },
  Q1019: { source: norm('const y = x * 2;') },
  Q1020: {
    source: k(
      'export function norm<M extends Dim>(x: Tensor<f32, [M]>) {\n  return upTo(x, 2);\n}',
    ),
  },
  'Q2006-set': { source: norm('return set(x, 1, 0, 0, 0);') },
  Q2008: { source: k('export function norm(x: Tensor<f32, [8]>) {\n  return slice(x, 4, 12);\n}') },

  Q3001: {
    source: k(
      'export const bad = format({ block: 32, encode: (x) => ({ q: u4(x) }) });\nexport function norm(x: Tensor<f32, [32]>) {\n  return decode(encode(bad, x));\n}',
    ),
  },
  'Q3001-fields': {
    source: k(
      'export const bad = format({\n  block: 32,\n  encode: (x: Tensor<f32, [32]>) => x,\n  decode: (x) => x,\n});\nexport function norm(x: Tensor<f32, [32]>) {\n  return decode(encode(bad, x));\n}',
    ),
  },
  'Q3001-block': {
    source: k(
      'export const bad = format({ block: 0, encode: (x) => ({ q: u4(x) }), decode: ({ q }) => q });\nexport function norm(x: Tensor<f32, [32]>) {\n  return x;\n}',
    ),
  },
  Q3002: {
    source: `${k(q40)}export function norm(x: Tensor<f32, [4, 100]>) {\n  return decode(encode(q4_0, x));\n}\n`,
  },
  Q3003: {
    source: k(
      'export const bad = format({\n  block: 32,\n  encode: (x) => ({ d: f16(sum(x)) }),\n  decode: ({ d }) => d,\n});',
    ),
    request: { name: 'bad.decode' },
  },
  Q3004: {
    source: k(
      "export const bad = format({\n  block: 32,\n  encode: (x) => ({ q: u4(x), kind: 'q4' }),\n  decode: ({ q }) => q,\n});",
    ),
    request: { name: 'bad.encode' },
  },
  Q3005: {
    source: k(
      'export function norm<F extends Format, N extends Dim, K extends Dim>(w: Encoded<F, [N, K]>) {\n  return decode(w);\n}',
    ),
  },
  Q3006: {
    source: `${k(`${q40}
export function norm<N extends Dim, K extends Dim>(x: Tensor<f32, [N, K]>, w: Tensor<f32, [K]>) {
  return encode(q4_0, x, { weights: w });
}`)}`,
  },
  Q3007: {
    source: k(
      'export const bad = format({\n  block: 32,\n  encode(x: Tensor<f32, [32]>, _, weights) {\n    const q = weights === undefined ? f16(x) : f32(x * weights);\n    return { q };\n  },\n  decode: ({ q }) => q,\n});',
    ),
    request: { name: 'bad.encodeWeighted' },
  },
  Q3008: {
    source: `import { assemble, dim } from 'quern';\n${k(q40)}export function norm<N extends Dim>(d: Tensor<f32, [N, 1]>) {\n  return decode(assemble(q4_0, { d, q: d }, [dim(d, 0), 32]));\n}\n`,
  },
  Q3009: {
    source: k(
      'const mine = format({ block: 32, encode: (x) => ({ q: f16(x) }), decode: ({ q }) => q });\nexport function norm(x: Tensor<f32, [32]>) {\n  return encode(mine, x);\n}',
    ),
  },
  'Q3001-weigh': {
    source: k(
      'export const bad = format({\n  block: 32,\n  weigh: (r, w) => sum(r * w),\n  encode: (x: Tensor<f32, [32]>, _, weights) => ({ q: weights === undefined ? x : x * weights }),\n  decode: ({ q }) => q,\n});',
    ),
    request: { name: 'bad.encodeWeighted' },
  },
  Q3010: {
    source: k(
      "export const bad = format({\n  block: 32,\n  encode: (x) => ({ q: u4(x) }),\n  decode: ({ q }) => q,\n  layout: {\n    of: 'tensor',\n    pack: ({ q }) => ({ codes: q }),\n    unpack: ({ codes }, [n, k]) => ({ q: reshape(codes, [n, k]) }),\n  },\n});",
    ),
    request: { name: 'bad.unpack' },
  },
  Q3011: {
    source: `import { factors } from 'quern';\n${k(
      'const halves = format({ block: 32, encode: (x) => ({ q: f16(x) }), decode: ({ q }) => q });\nexport function norm<N extends Dim, K extends Dim>(x: Tensor<f32, [N, K]>) {\n  return factors(encode(halves, x)).scale;\n}',
    )}`,
  },

  'several problems': {
    source: norm(
      'const a = matmull(x, x);\nconst b = sum(x, 5);\nconst c = a + b;\nreturn c.sum();',
    ),
  },
};

/** The diagnostics of targets, which no kernel can reach yet, from the table itself. */
const direct = {
  Q4001: diagnostic('Q4001', noSpan, {
    op: 'atomicAdd',
    dtype: 'f32',
    target: 'webgpu',
    instead: 'Use sum().',
  }),
  Q4002: diagnostic('Q4002', noSpan, {
    what: '12 storage buffers',
    limit: '8',
    target: 'webgpu',
    instead: 'Split the kernel, or pass fewer tensors.',
  }),
  Q4003: diagnostic('Q4003', noSpan, {
    target: 'cuda',
    preset: 'sm_42',
    known: 'sm_75, sm_80, sm_90',
  }),
  Q9001: diagnostic(
    'Q9001',
    { file: path, start: 0, end: 0 },
    { detail: 'Error: value 12 has no definition' },
  ),
};

/** The code that a case stands for; undefined for cases of several. */
export const codeOf = (name: string): Code | undefined =>
  /^Q\d{4}/.exec(name)?.[0] as Code | undefined;
export const names = (): string[] => [...Object.keys(cases), ...Object.keys(direct)];

/** What a user sees, without colour. */
export function rendered(name: string): string {
  const one = direct[name as keyof typeof direct];
  if (one) return renderDiagnostics([one], () => undefined);
  const { source, files = {}, request } = cases[name]!;
  const texts = new Map([[path, source]]);
  for (const [file, text] of Object.entries(files)) texts.set(resolve(dirname(path), file), text);
  const readFile = (file: string): string => {
    const text = texts.get(file);
    if (text === undefined) throw Object.assign(new Error(file), { code: 'ENOENT' });
    return text;
  };
  try {
    stage(new SourceFiles({ readFile }), { file: path, name: 'norm', ...request });
  } catch (e) {
    if (e instanceof CompileError)
      return renderDiagnostics(e.diagnostics, (file) => texts.get(file));
    throw e;
  }
  return 'no problem';
}

export const snapshotPath = (name: string): string =>
  resolve(import.meta.dirname, 'snapshots', `${name.replace(/ /g, '-')}.txt`);
