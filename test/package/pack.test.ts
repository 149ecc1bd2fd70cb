// Quern as npm publishes it: packed from a copy of the sources, installed into an empty project, and used there to
// write a format, check its types, build a package, and run that. Nothing is fetched: dependencies are linked.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporary } from '../aot/package.ts';
import { quern } from '../cli/run.ts';
import { Server } from '../editor/tsserver.ts';
import { install, modules, type Packed, packed, sh } from './installed.ts';

const test = suite('published package');
const { tarball, info } = packed();
const project = install(tarball);
const cli = (...args: string[]): string =>
  sh(project, process.execPath, 'node_modules/quern/cli/quern.js', ...args);

test('the tarball holds what runs, and nothing else', () => {
  const paths = info.files.map((f) => f.path);
  const top = new Set(
    paths.map((p) =>
      p
        .split('/')
        .slice(0, p.startsWith('dist/') ? 2 : 1)
        .join('/'),
    ),
  );
  assert.equal([...top].sort(), [
    'LICENSE',
    'README.md',
    'cli',
    'dist/LICENSE',
    'dist/aot',
    'dist/backends',
    'dist/cli',
    'dist/compiler',
    'dist/editor',
    'dist/index.js',
    'dist/ops',
    'dist/package.json',
    'dist/runtime',
    'dist/types',
    'editor',
    'package.json',
  ]);
  // Sources only where the compiler reads them: the library's kernels.
  const sources = paths.filter((p) => p.endsWith('.ts') && !p.endsWith('.d.ts'));
  assert.equal(
    sources.filter((p) => !p.startsWith('dist/ops/')),
    [],
  );
  assert.ok(sources.includes('dist/ops/formats/q4_0.ts'));
  assert.equal(
    paths.filter((p) =>
      /test|bench|\.map$|\.tsbuildinfo$|safetensors$/.test(p.replace('runtime/files/', '')),
    ),
    [],
  );
});

test('its size is bounded', () => {
  assert.ok(info.size < 1_160_000, `${info.size} bytes packed`);
  assert.ok(info.unpackedSize < 4_000_000, `${info.unpackedSize} bytes unpacked`);
});

const mine = `import { abs, amax, clamp, decode, f16, format, i4, matmul, round, transpose } from 'quern';
import type { Dim, Encoded, Tensor, f32 } from 'quern';

/** Codes of 4 bits, one scale per 16 values. */
export const mine = format({
  block: 16,
  encode(x: Tensor<f32, [16]>) {
    const d = f16(amax(abs(x)) / 7);
    return { d, q: i4(clamp(round(d === 0 ? 0 : x / d), -7, 7)) };
  },
  decode: ({ d, q }) => q * d,
});

/** x wᵀ */
export function linear<M extends Dim, N extends Dim, K extends Dim>(
  x: Tensor<f32, [M, K]>,
  w: Encoded<typeof mine, [N, K]>,
): Tensor<f32, [M, N]> {
  return matmul(x, transpose(decode(w)));
}
`;
writeFileSync(join(project, 'mine.kernel.ts'), mine);

test('a format written beside it passes the type check', () => {
  writeFileSync(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        noEmit: true,
        target: 'es2022',
        lib: ['es2023', 'dom'],
        module: 'nodenext',
        types: [],
      },
      files: ['mine.kernel.ts', 'use.ts'],
    }),
  );
  writeFileSync(
    join(project, 'use.ts'),
    `import { array, load } from 'quern';
import { q4_0 } from 'quern/formats';
const ops = await load<typeof import('./mine.kernel.js')>('./mine.kernel.ts');
const w = await ops.mine.encode(array(new Float32Array(64), [4, 16]));
const y = await ops.linear(array(new Float32Array(16), [1, 16]), w);
y.shape satisfies readonly number[];
// @ts-expect-error there is no such kernel
ops.gemm;
q4_0.kind satisfies 'format';
`,
  );
  sh(project, process.execPath, join(modules, 'typescript/lib/tsc.js'), '-p', '.');
});

test('the editor plugin of the package reports problems of what is typed', async () => {
  const tsconfig = { compilerOptions: { plugins: [{ name: 'quern/editor' }] }, include: ['*.ts'] };
  const folder = join(project, 'edited');
  mkdirSync(folder);
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
  const server = new Server(folder, project);
  try {
    const file = join(folder, 'mine.ts');
    writeFileSync(file, '');
    server.tell('open', {
      file,
      fileContent: mine.replace('transpose(decode', 'transposed(decode'),
    });
    const found = await server.problemsOnceChecked(file);
    assert.equal(
      found.map((d) => d.text.split('\n')[0]),
      ['Unknown name `transposed`'],
    );
  } finally {
    server.end();
  }
});

test('quern check, build and the JIT work from there', () => {
  assert.match(cli('--version'), /^\d+\.\d+\.\d+\n$/);
  assert.match(cli('check', 'mine.kernel.ts'), /ok.*3 functions compile/);
  assert.match(cli('build', 'mine.kernel.ts', '-o', 'out'), /built mine in out/);
  writeFileSync(
    join(project, 'jit.js'),
    `import { array, load } from 'quern';
const ops = await load('./mine.kernel.ts', { cache: false });
const wave = (n, step) => Float32Array.from({ length: n }, (_, i) => ((i * step) % 17) - 8);
const w = await ops.mine.encode(array(wave(64, 3), [4, 16]));
console.log((await (await ops.linear(array(wave(16, 5), [1, 16]), w)).data()).join(' '));`,
  );
  // The generated package runs where there is no Quern at all.
  const elsewhere = temporary();
  mkdirSync(join(elsewhere, 'node_modules'));
  cpSync(join(project, 'out'), join(elsewhere, 'node_modules/mine'), { recursive: true });
  writeFileSync(
    join(elsewhere, 'run.mjs'),
    `import { init } from 'mine';
const ops = await init();
const wave = (n, step) => Float32Array.from({ length: n }, (_, i) => ((i * step) % 17) - 8);
const w = ops.mine.encodeSync(wave(64, 3), [4, 16]);
console.log(ops.linearSync({ data: wave(16, 5), shape: [1, 16] }, w).data().join(' '));`,
  );
  const found = sh(elsewhere, process.execPath, 'run.mjs');
  assert.is(found, sh(project, process.execPath, 'jit.js'));
  assert.match(found, /^-?[\d.]+( -?[\d.]+){3}\n$/);
});

test('kernel files are imported through quern/register and quern/plugin', async () => {
  writeFileSync(
    join(project, 'app.js'),
    `import { mine } from './mine.kernel.ts';
console.log(mine.name, (await mine.encode(new Float32Array(16), [1, 16])).bytes);`,
  );
  assert.is(sh(project, process.execPath, '--import', 'quern/register', 'app.js'), 'mine 10\n');
  writeFileSync(
    join(project, 'bundle.js'),
    `import quern from 'quern/plugin';
import { build } from ${JSON.stringify(import.meta.resolve('esbuild'))};
await build({ entryPoints: ['app.js'], bundle: true, format: 'esm', outfile: 'app.out.js', plugins: [quern.esbuild()] });`,
  );
  sh(project, process.execPath, 'bundle.js');
  assert.is(sh(project, process.execPath, 'app.out.js'), 'mine 10\n');
});

test('a build from the published package is the one from the sources', async () => {
  const dir = join(temporary(), 'out');
  const { code, err } = await quern(['build', join(project, 'mine.kernel.ts'), '-o', dir]);
  assert.is(code, 0, err);
  for (const f of readdirSync(dir, { recursive: true }) as string[])
    if (/\.\w+$/.test(f))
      assert.ok(readFileSync(join(dir, f)).equals(readFileSync(join(project, 'out', f))), f);
});

test('npm accepts a generated package', () => {
  const text = sh(join(project, 'out'), 'npm', 'pack', '--json', '--dry-run', '--offline');
  const [out] = JSON.parse(text.slice(text.indexOf('[\n'))) as [Packed & { readonly name: string }];
  assert.is(out!.name, 'mine');
  const paths = out!.files.map((f) => f.path);
  for (const f of [
    'index.js',
    'index.d.ts',
    'runtime.js',
    'ops/linear.wasm',
    'kernels.h',
    'README.md',
  ])
    assert.ok(paths.includes(f), f);
  assert.ok(existsSync(join(project, 'out/ops/mine.encode.wasm')));
});

test.run();
