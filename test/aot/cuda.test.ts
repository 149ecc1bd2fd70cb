// The CUDA part of a package: a program in C++ that knows its header alone runs on the CPU, nvcc takes every file without a
// warning where there is one, and the manifest's launches are what the files hold.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { buildPackage } from '../../aot/index.ts';
import { quern } from '../cli/run.ts';
import { hasCompiler } from '../cuda/host.ts';
import { skip } from '../support/skip.ts';
import { fixture, temporary } from './package.ts';

const test = suite('CUDA packages');
const example = fileURLToPath(new URL('../../examples/cuda-cpp/main.cpp', import.meta.url));
const shim = fileURLToPath(new URL('../cuda/shim/', import.meta.url));
const dir = temporary();
const out = join(dir, 'out');
const sources = (): string[] =>
  readdirSync(join(out, 'cuda'))
    .filter((f) => f.endsWith('.cu'))
    .map((f) => join(out, 'cuda', f));
const sh = (command: string, ...args: string[]): string => {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: dir, encoding: 'utf8' });
  assert.is(status, 0, `${stdout}${stderr}`);
  return stdout;
};

interface Manifest {
  readonly kernels: {
    readonly [name: string]: {
      readonly cuda: {
        readonly file: string;
        readonly buffers: readonly unknown[];
        readonly launches: readonly {
          readonly name: string;
          readonly buffers: readonly number[];
        }[];
      };
    };
  };
}

test.before(async () => {
  const exports = ['linear=linear<mine>', 'wide=linear<nf4>', 'quantize', 'extent', 'look'];
  const list = exports.flatMap((e) => ['-e', e]);
  const { code, err } = await quern([
    ...['build', fixture, '-t', 'cuda', '--preset', 'sm_80', '--name', 'q4', ...list, '-o', out],
  ]);
  assert.is(code, 0, err);
});

test('it has a file a kernel, a header, and the launches that the files hold', () => {
  const files = readdirSync(join(out, 'cuda'));
  assert.ok(
    files.includes('linear.cu') && files.includes('mine.encode.cu') && files.includes('q4.h'),
  );
  assert.not.ok(readdirSync(out).includes('index.js'), 'JavaScript without a module to load');
  const { kernels } = JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8')) as Manifest;
  for (const [name, { cuda }] of Object.entries(kernels)) {
    const text = readFileSync(join(out, cuda.file), 'utf8');
    for (const l of cuda.launches) {
      assert.ok(
        text.includes(`__global__ void`) && text.includes(` ${l.name}(\n`),
        `${name}: ${l.name}`,
      );
      assert.ok(l.buffers.every((b) => cuda.buffers[b] !== undefined));
    }
  }
});

test('the same sources give the same bytes', async () => {
  const request = {
    file: fixture,
    exports: [{ name: 'quantize', of: 'quantize' }],
    targets: ['wasm', 'cuda'] as const,
  };
  const [a, b] = [await buildPackage(request), await buildPackage(request)];
  assert.equal([...a.files], [...b.files]);
  const files = [...a.files.keys()];
  assert.ok(files.includes('index.js') && files.includes('cuda/quantize.cu'));
  // What the JavaScript of a package is does not depend on its other targets.
  const alone = await buildPackage({ ...request, targets: ['wasm'] });
  assert.equal(a.files.get('index.js'), alone.files.get('index.js'));
});

if (!hasCompiler('g++')) skip('a C++ program on a CUDA package', 'no g++ at hand');
else
  test('a C++ program that knows the header alone encodes, multiplies and decodes', () => {
    const flags = ['-std=c++20', '-w', '-fwrapv', '-fno-strict-aliasing', '-ffp-contract=off'];
    // The shim's state is that of one file.
    const files = ['linear', 'quantize', 'mine.decode'].map((f) => join(out, 'cuda', `${f}.cu`));
    const all = [...files, example].map((f, i) => {
      const text = readFileSync(f, 'utf8');
      // Device functions have the same names in every file.
      const [kernels, host] = text.split('#ifndef __CUDACC_RTC__');
      return host === undefined
        ? text
        : `namespace n${i} {\n${kernels}\n}\nusing namespace n${i};\n${host.replace(/#endif\s*$/, '')}`;
    });
    writeFileSync(
      join(dir, 'all.cpp'),
      `#include <cuda_runtime.h>\n#include <cuda_fp16.h>\n${all.join('\n')}`,
    );
    sh('g++', ...flags, `-I${shim}`, `-I${join(out, 'cuda')}`, '-o', 'program', 'all.cpp');
    for (const rows of ['0', '1', '5', '33', '100'])
      assert.match(sh('./program', rows), /largest difference \S+; K \+ 1 gives error 1/);
  });

if (!hasCompiler('nvcc')) skip('nvcc on a CUDA package', 'no nvcc at hand');
else
  test('nvcc takes every file, with its launcher, without a warning', () => {
    const flags = ['-std=c++17', '-arch=sm_80', '-Werror', 'all-warnings', '-Xcompiler', '-Wall'];
    const files = sources().filter((f) => /(linear|look)\.cu$/.test(f));
    for (const f of files) sh('nvcc', ...flags, '-c', '-o', 'x.o', f);
    sh('nvcc', ...flags, '-I', join(out, 'cuda'), '-c', '-o', 'x.o', example);
  });

const python = spawnSync('python3', ['--version']).status === 0;
if (!python) skip('the examples in Python', 'no python3 at hand');
else
  test('the examples in Python are Python, and read sizes as the runtime does', () => {
    const folder = fileURLToPath(new URL('../../examples/cuda-python/', import.meta.url));
    for (const f of readdirSync(folder).filter((f) => f.endsWith('.py')))
      sh(
        'python3',
        '-c',
        `compile(open(${JSON.stringify(join(folder, f))}).read(), '${f}', 'exec')`,
      );
    // The evaluator of sizes runs without a GPU.
    const text = readFileSync(join(folder, 'cupy_linear.py'), 'utf8');
    const value = /def value[\s\S]*?return stack\[0\]\n/.exec(text)![0];
    writeFileSync(
      join(dir, 'sizes.py'),
      `${value}\nprint(value(["N", 3, "+", 4, "div", -1, "M", "*", "+"], {"N": 70, "M": 2}))\n`,
    );
    assert.is(sh('python3', 'sizes.py').trim(), '16');
  });
test.run();
