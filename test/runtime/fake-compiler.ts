// A compiler for the tests of the runtime: a fixed table of kernels, each hand-made WebAssembly beside its
// meaning in TypeScript. It counts its work, so that tests can tell a cache hit from a compilation.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { Artifact, ArgInfo, FieldInfo, Manifest, PolyCode } from '../../compiler/artifact.ts';
import { type DType, dtypes, scalarOf } from '../../compiler/ir/dtype.ts';
import type {
  CompilerApi,
  Dependency,
  ExportInfo,
  HostArray,
  KernelRequest,
} from '../../runtime/compiler-api.ts';

const tensor = (name: string, dtype: DType, ...shape: PolyCode[]): ArgInfo => ({
  kind: 'tensor',
  name,
  dtype,
  shape,
  text: `[${shape.map((s) => (s.length === 3 ? `${s[0]} ${s[2]} ${s[1]}` : s[0])).join(', ')}]`,
});
const field = (name: string, dtype: DType, ...shape: PolyCode[]): FieldInfo => ({
  ...(tensor(name, dtype, ...shape) as Extract<ArgInfo, { kind: 'tensor' }>),
  level: 'block',
});

/** Blocks of 32 with a scale each: q = trunc(x * scale), or of 16 for the format "wide". */
const encoded = (name: string, file: string, format: string, args: readonly never[]): ArgInfo => {
  const block = format === 'wide' ? 16 : 32;
  const blocks: PolyCode = ['K', block, '/'];
  return {
    kind: 'encoded',
    name,
    format: { file, name: format, ...(args.length ? { args } : {}) },
    shape: [['N'], ['K']],
    text: '[N, K]',
    fields: [field('d', 'f32', ['N'], blocks), field('q', 'i8', ['N'], blocks, [block])],
  };
};

/** The same, as the result of a kernel that returns it alone. */
const result = (info: ArgInfo): ArgInfo => ({ ...info, name: 'result' });

const header = '(module (import "env" "memory" (memory 1))';
/** A loop over $i in 0..$n around a body. */
const loop = (body: string): string =>
  `(local.set $i (i32.const 0))
   (block $end (loop $next (br_if $end (i32.ge_u (local.get $i) (local.get $n))) ${body}
     (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next)))`;
const word = (base: string): string =>
  `(i32.add (local.get ${base}) (i32.shl (local.get $i) (i32.const 2)))`;
const params = (...names: string[]): string => names.map((n) => `(param $${n} i32)`).join(' ');

interface Fake {
  readonly dims: readonly string[];
  readonly params: readonly ArgInfo[];
  readonly results: readonly ArgInfo[];
  readonly extra?: readonly { name: string; role: 'temp' | 'const'; bytes: PolyCode }[];
  readonly constraints?: Manifest['constraints'];
  readonly constants?: { readonly [name: string]: Uint8Array };
  readonly wat: string;
  readonly mean: (inputs: readonly HostArray[]) => readonly HostArray['data'][];
}

const bias = new Uint8Array(new Float32Array([0.5]).buffer);
const multipleOf32: Manifest['constraints'] = [
  { poly: ['K'], modulus: 32, text: 'K', reason: 'format q, argument w' },
];

function kernel(request: KernelRequest): Fake {
  const { name, file, formats, statics, formatArgs } = request;
  const x = tensor('x', 'f32', ['N']);
  const y = tensor('y', 'f32', ['N']);
  switch (name) {
    case 'add':
    case 'broken':
      return {
        dims: ['N'],
        params: [x, y],
        results: [tensor('result', 'f32', ['N'])],
        extra: [
          { name: 't', role: 'temp', bytes: ['N', 4, '*'] },
          { name: 'bias', role: 'const', bytes: [4] },
        ],
        constants: { bias },
        wat: `${header} (func (export "run") ${params('x', 'y', 'o', 't', 'c', 'n')} (local $i i32)
          ${loop(`(f32.store ${word('$t')} (f32.add (f32.load ${word('$x')}) (f32.load ${word('$y')})))`)}
          ${loop(`(f32.store ${word('$o')} (f32.add (f32.load ${word('$t')}) (f32.load (local.get $c))))`)}
          ${name === 'broken' ? '(f32.store offset=4 (local.get $o) (f32.const 9))' : ''}))`,
        mean: ([a, b]) => [Float32Array.from(a!.data, (v, i) => v + b!.data[i]! + 0.5)],
      };
    case 'scale': {
      const times = (statics?.[2] ?? 1) as number;
      return {
        dims: ['N'],
        params: [x, tensor('s', 'f32')],
        results: [tensor('result', 'f32', ['N'])],
        wat: `${header} (func (export "run") ${params('x', 's', 'o', 'n')} (local $i i32)
          ${loop(`(f32.store ${word('$o')} (f32.mul (f32.load ${word('$x')}) (f32.mul (f32.load (local.get $s)) (f32.const ${times}))))`)}))`,
        mean: ([a, s]) => [Float32Array.from(a!.data, (v) => v * s!.data[0]! * times)],
      };
    }
    case 'both':
      return {
        dims: ['N'],
        params: [x],
        results: [tensor('first', 'f32', ['N']), tensor('second', 'i32', ['N'])],
        wat: `${header} (func (export "run") ${params('x', 'a', 'b', 'n')} (local $i i32)
          ${loop(`(f32.store ${word('$a')} (f32.load ${word('$x')})) (i32.store ${word('$b')} (local.get $i))`)}))`,
        mean: ([a]) => [a!.data, Int32Array.from(a!.data, (_, i) => i)],
      };
    case 'trap':
      return {
        dims: ['N'],
        params: [x],
        results: [tensor('result', 'f32', ['N'])],
        wat: `${header} (func (export "run") ${params('x', 'o', 'n')} (unreachable)))`,
        mean: ([a]) => [a!.data],
      };
    case 'codes': {
      // The codes of an encoded matrix, two of which must share a format.
      const f = formats![0]!;
      const args = (f.args ?? []) as never[];
      return {
        dims: ['N', 'K'],
        params: [encoded('w', f.file, f.name, args), encoded('v', f.file, f.name, args)],
        results: [tensor('result', 'i8', ['N'], ['K'])],
        constraints: multipleOf32,
        wat: `${header} (func (export "run") ${params('wd', 'wq', 'vd', 'vq', 'o', 'r', 'k')}
          (memory.copy (local.get $o) (local.get $wq) (i32.mul (local.get $r) (local.get $k)))))`,
        mean: ([, q]) => [q!.data],
      };
    }
    default: {
      const [format, part] = name.split('.') as [string, string];
      const w = encoded('w', file, format, (formatArgs ?? []) as never[]);
      const matrix = tensor('x', 'f32', ['N'], ['K']);
      const bytes = tensor('bytes', 'u8', ['N'], ['K', 32, '/'], [32]);
      const cells = '(local.set $n (i32.mul (local.get $n) (local.get $k)))';
      const at = (base: string): string => `(i32.add (local.get ${base}) (local.get $i))`;
      const base = { dims: ['N', 'K'], constraints: multipleOf32 };
      if (part === 'encode')
        return {
          ...base,
          params: [matrix],
          results: [result(w)],
          wat: `${header} (func (export "run") ${params('x', 'd', 'q', 'n', 'k')} (local $i i32) ${cells}
            ${loop(`(i32.store8 ${at('$q')} (i32.trunc_f32_s (f32.load ${word('$x')})))`)}
            (local.set $n (i32.div_u (local.get $n) (i32.const 32)))
            ${loop(`(f32.store ${word('$d')} (f32.const 1))`)}))`,
          mean: ([a]) => [
            new Float32Array(a!.data.length / 32).fill(1),
            Int32Array.from(a!.data, Math.trunc),
          ],
        };
      if (part === 'decode')
        return {
          ...base,
          params: [w],
          results: [result(matrix)],
          wat: `${header} (func (export "run") ${params('d', 'q', 'x', 'n', 'k')} (local $i i32) ${cells}
            ${loop(`(f32.store ${word('$x')} (f32.convert_i32_s (i32.load8_s ${at('$q')})))`)}))`,
          mean: ([, q]) => [Float32Array.from(q!.data)],
        };
      const pack = part === 'pack';
      return {
        ...base,
        params: pack ? [w] : [bytes],
        results: [result(pack ? bytes : w)],
        wat: `${header} (func (export "run") ${pack ? params('d', 'q', 'b', 'n', 'k') : params('b', 'd', 'q', 'n', 'k')}
          (memory.copy (local.get ${pack ? '$b' : '$q'}) (local.get ${pack ? '$q' : '$b'}) (i32.mul (local.get $n) (local.get $k)))))`,
        mean: () => [],
      };
    }
  }
}

const bytesOf = (t: { dtype: DType; shape: readonly PolyCode[] }): PolyCode => [
  dtypes[t.dtype].bits / 8,
  ...t.shape.flatMap((s) => [...s, '*']),
];

/** As the names of the results say. */
function returnsOf(results: readonly ArgInfo[]): Manifest['returns'] {
  if (results[0]?.name === 'result') return 'value';
  return results.every((r, i) => r.name === `${i}`) ? 'tuple' : 'record';
}

function manifestOf(request: KernelRequest, fake: Fake): Manifest {
  const flat = (args: readonly ArgInfo[], role: 'param' | 'result') =>
    args.flatMap((a) =>
      (a.kind === 'tensor' ? [a] : a.fields).map((t) => ({
        name: `${a.name}.${t.name}`,
        role,
        dtype: t.dtype,
        bytes: bytesOf(t),
      })),
    );
  return {
    version: 1,
    name: request.name,
    target: 'wasm',
    compiler: 'fake',
    dims: fake.dims,
    params: fake.params,
    results: fake.results,
    returns: returnsOf(fake.results),
    constraints: fake.constraints ?? [],
    buffers: [
      ...flat(fake.params, 'param'),
      ...flat(fake.results, 'result'),
      ...(fake.extra ?? []).map((e) => ({ ...e, dtype: 'u8' as const })),
    ],
    kernels: [{ name: request.name, schedule: 'elementwise' }],
  };
}

const t = (name: string, text: string, optional = false) =>
  ({ name, kind: 'tensor', text, optional }) as const;
const exported: readonly ExportInfo[] = [
  ...['add', 'broken'].map(
    (name): ExportInfo => ({
      name,
      kind: 'kernel',
      params: [t('x', 'Tensor<f32, [N]>'), t('y', 'Tensor<f32, [N]>')],
      formatParams: [],
    }),
  ),
  {
    name: 'scale',
    kind: 'kernel',
    params: [
      t('x', 'Tensor<f32, [N]>'),
      t('s', 'Scalar'),
      { name: 'times', kind: 'static', text: 'number', optional: true },
    ],
    formatParams: [],
  },
  { name: 'both', kind: 'kernel', params: [t('x', 'Tensor<f32, [N]>')], formatParams: [] },
  { name: 'trap', kind: 'kernel', params: [t('x', 'Tensor<f32, [N]>')], formatParams: [] },
  {
    name: 'codes',
    kind: 'kernel',
    params: ['w', 'v'].map((name) => ({
      name,
      kind: 'encoded' as const,
      text: 'Encoded<F, [N, K]>',
      optional: false,
      formatParam: 0,
    })),
    formatParams: ['F'],
  },
  { name: 'q', kind: 'format', block: [32], hasLayout: true, fields: [] },
  { name: 'wide', kind: 'format', block: [16], hasLayout: false, fields: [] },
  { name: 'uniform', kind: 'other' },
];

// The TypeScript loader of the tests takes seconds over binaryen's 15 MB; a child without it takes none.
const script = `
  import binaryen from ${JSON.stringify(import.meta.resolve('binaryen'))};
  process.on('message', (wat) => {
    const module = binaryen.parseText(wat);
    module.setFeatures(binaryen.Features.All);
    const code = module.validate() ? Buffer.from(module.emitBinary()).toString('base64') : '';
    module.dispose();
    process.send(code);
  });`;
let child: ChildProcess | undefined;
const waiting: ((code: string) => void)[] = [];

/** WebAssembly text to bytes; answers come in the order of the questions. */
async function assemble(wat: string): Promise<Uint8Array> {
  if (!child) {
    const flags = ['--input-type=module', '-e', script];
    child = spawn(process.execPath, flags, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    child.on('message', (code: string) => waiting.shift()!(code));
    child.unref();
  }
  child.channel!.ref();
  const code = await new Promise<string>((done) => {
    waiting.push(done);
    child!.send(wat);
  });
  if (waiting.length === 0) child.channel!.unref();
  if (code === '') throw new Error(`not valid: ${wat}`);
  return new Uint8Array(Buffer.from(code, 'base64'));
}

export interface FakeCompiler extends CompilerApi {
  /** Names of what was compiled, described and interpreted, in order. */
  readonly log: string[];
}

const dependenciesOf = (file: string): Dependency[] =>
  existsSync(file)
    ? [{ path: file, sha256: createHash('sha256').update(readFileSync(file)).digest('hex') }]
    : [];

export function fakeCompiler(): FakeCompiler {
  const log: string[] = [];
  return {
    log,
    async compile(request) {
      log.push(`compile ${request.name}`);
      const fake = kernel(request);
      const code = await assemble(fake.wat);
      const manifest = manifestOf(request, fake);
      const artifact: Artifact = { manifest, code, constants: fake.constants ?? {} };
      return { artifact, dependencies: dependenciesOf(request.file), stages: [] };
    },
    async interpret(request, inputs) {
      log.push(`interpret ${request.name}`);
      const fake = kernel(request);
      for (const x of inputs) {
        const type = { f32: Float32Array, i32: Int32Array, u32: Uint32Array, bool: Uint8Array };
        if (!(x.data instanceof type[scalarOf(x.dtype)]))
          throw new Error(`${x.dtype} as the wrong array`);
      }
      const results = fake
        .mean(inputs)
        .map((data): HostArray => ({ dtype: 'f32', shape: [], data }));
      return { manifest: manifestOf(request, fake), results };
    },
    signature(request) {
      log.push(`signature ${request.name}`);
      return { ...manifestOf(request, kernel(request)), buffers: [], kernels: [] };
    },
    describe(file) {
      log.push(`describe`);
      return { exports: exported, dependencies: dependenciesOf(file) };
    },
  };
}
