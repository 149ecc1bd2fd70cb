// Imports of kernel files: through Vite and esbuild, with watching and with diagnostics at the author's line, and in
// Node by the loader.
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildFailure, build as esbuild } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createServer, build as viteBuild } from 'vite';
import quern, { type Compiled } from '../../aot/plugin.ts';
import { gpuMissing, vulkanEnvironment } from '../support/vulkan.ts';
import { fixture, run, temporary } from './package.ts';

const test = suite('bundler plugin');

/** A project with the fixture and a program that uses two of its exports. */
function project(): string {
  const root = temporary();
  copyFileSync(fixture, join(root, 'q4.kernel.ts'));
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(root, 'app.js'),
    `import { extent, mine } from './q4.kernel.ts';
const w = await mine.encode(new Float32Array(16).fill(7), [1, 16]);
const { high } = await extent(await mine.decode(w));
console.log(high.data()[0]);
`,
  );
  return root;
}
const root = project();
/** Runs a bundle in a folder of its own. */
const bundled = (file: string): string => run(temporaryModule(), readFileSync(file, 'utf8')).trim();
function temporaryModule(): string {
  const dir = temporary();
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
  return dir;
}

test('esbuild compiles kernel files, and drops kernels that are not imported', async () => {
  const outfile = join(temporary(), 'out.js');
  await esbuild({
    entryPoints: [join(root, 'app.js')],
    bundle: true,
    format: 'esm',
    outfile,
    plugins: [quern.esbuild()],
    logLevel: 'silent',
  });
  assert.is(bundled(outfile), '7');
  const text = readFileSync(outfile, 'utf8');
  assert.match(text, 'extent.wasm');
  for (const other of ['linear.wasm', 'quantize.wasm', 'look.wasm'])
    assert.not.match(text, other, other);
});

test('Vite builds them, and kernels with formats and constants come by options', async () => {
  const dir = project();
  writeFileSync(
    join(dir, 'app.js'),
    `import { q8_0, wide, norm } from './q4.kernel.ts';
const w = await q8_0.encode(new Float32Array(64).fill(2), [2, 32]);
const y = await wide({ data: new Float32Array(32).fill(1), shape: [1, 32] }, w);
console.log(Math.round(y.data()[1]), (await norm(y, 3)).data()[0].toFixed(2));
`,
  );
  await viteBuild({
    root: dir,
    logLevel: 'silent',
    configFile: false,
    plugins: [
      quern.vite({
        exports: {
          './q4.kernel.ts': {
            wide: { of: 'linear', formats: ['q8_0'] },
            norm: { constants: [1e-5] },
          },
        },
      }),
    ],
    build: {
      target: 'es2022',
      lib: { entry: join(dir, 'app.js'), formats: ['es'], fileName: () => 'out.js' },
    },
  });
  assert.is(bundled(join(dir, 'dist/out.js')), '64 3.00');
});

test('an error stands at the line of the author, and goes when it is mended', async () => {
  const dir = project();
  const file = join(dir, 'q4.kernel.ts');
  const good = readFileSync(file, 'utf8');
  const bad = good.replace('{ low: amin(x, 1),', '{ low: amin(x, 5),');
  const line = bad.split('\n').findIndex((l) => l.includes('amin(x, 5)')) + 1;
  const server = await createServer({
    root: dir,
    logLevel: 'silent',
    configFile: false,
    plugins: [quern.vite()],
    server: { middlewareMode: true, ws: false },
    optimizeDeps: { noDiscovery: true, include: [] },
  });
  try {
    writeFileSync(file, bad);
    const error = await server.transformRequest('/q4.kernel.ts').then(
      () => assert.unreachable('the mistake was not found'),
      (e: Error & { loc?: { file: string; line: number }; frame?: string }) => e,
    );
    assert.match(error!.message, /^Q2003: amin names axis 5[^\n]*$/);
    assert.match(error!.frame!, / return \{ low: amin\(x, 5\),.*\n +\| +\^+\n/);
    assert.is(error!.loc?.line, line);
    assert.is(error!.loc?.file, file);
    writeFileSync(file, good);
    server.moduleGraph.onFileChange(file);
    assert.match((await server.transformRequest('/q4.kernel.ts'))!.code, /name: ?['"]extent['"]/);
  } finally {
    await server.close();
  }
});

test('a file that a kernel file imports is watched', async () => {
  const dir = project();
  const half = join(dir, 'half.ts');
  writeFileSync(half, 'export const factor = 3;\n');
  writeFileSync(
    join(dir, 'scale.kernel.ts'),
    `import type { Dim, Tensor, f32 } from 'quern';
import { factor } from './half.ts';
export function scaled<M extends Dim>(x: Tensor<f32, [M]>): Tensor<f32, [M]> {
  return x * factor;
}
`,
  );
  const server = await createServer({
    root: dir,
    logLevel: 'silent',
    configFile: false,
    plugins: [quern.vite()],
    server: { middlewareMode: true, ws: false },
    optimizeDeps: { noDiscovery: true, include: [] },
  });
  try {
    const before = (await server.transformRequest('/scale.kernel.ts'))!.code;
    writeFileSync(half, 'export const factor = 5;\n');
    server.moduleGraph.onFileChange(half);
    assert.is.not((await server.transformRequest('/scale.kernel.ts'))!.code, before);
  } finally {
    await server.close();
  }
});

test('the overlay of Vite is sent the sentence, the place and the lines', async () => {
  const dir = project();
  const file = join(dir, 'q4.kernel.ts');
  const bad = readFileSync(file, 'utf8').replace('amin(x, 1)', 'amni(x, 1)');
  writeFileSync(file, bad);
  const server = await createServer({
    root: dir,
    logLevel: 'silent',
    configFile: false,
    plugins: [quern.vite()],
    server: { port: 0, host: '127.0.0.1' },
    optimizeDeps: { noDiscovery: true, include: [] },
  });
  try {
    await server.listen();
    const { port } = server.httpServer!.address() as AddressInfo;
    // What goes over the socket.
    const { hot } = server.environments.client;
    const sent = new Promise<Record<string, unknown>>((done) => {
      hot.send = ((m: { type: string; err: Record<string, unknown> }) =>
        m.type === 'error' && done(m.err)) as typeof hot.send;
    });
    await fetch(`http://127.0.0.1:${port}/q4.kernel.ts`);
    const { message, frame, loc, id, plugin } = await sent;
    const lines = bad.split('\n');
    const at = lines.findIndex((l) => l.includes('amni'));
    assert.is(message, 'Q1003: Unknown name `amni`');
    assert.equal(loc, { file, line: at + 1, column: lines[at]!.indexOf('amni') });
    assert.is(id, file);
    assert.is(plugin, 'quern');
    assert.match(String(frame), `${at + 1} | ${lines[at]}\n`);
    assert.match(String(frame), /\n +\| +\^\^\^\^\n[\s\S]*Did you mean `amin`/);
  } finally {
    await server.close();
  }
});

test('errors of calls lead to the line of the kernel in the stack trace', async () => {
  const dir = project();
  const source = readFileSync(join(dir, 'q4.kernel.ts'), 'utf8').split('\n');
  writeFileSync(
    join(dir, 'app.js'),
    `import { init, extent, extentSync } from './q4.kernel.ts';
await init();
try { extentSync(1); } catch (e) { console.log(e.stack); }
try { await extent(2); } catch (e) { console.log(e.stack); }
`,
  );
  const line = source.findIndex((l) => l.startsWith('export function extent')) + 1;
  const wanted = new RegExp(`\\(\\S*q4\\.kernel\\.ts:${line}:\\d+\\)`, 'g');
  const bundleOf: { readonly [name: string]: (outfile: string) => Promise<unknown> } = {
    esbuild: (outfile) =>
      esbuild({
        entryPoints: [join(dir, 'app.js')],
        bundle: true,
        format: 'esm',
        sourcemap: 'inline',
        outfile,
        plugins: [quern.esbuild()],
        logLevel: 'silent',
      }),
    Vite: (outfile) =>
      viteBuild({
        root: dir,
        logLevel: 'silent',
        configFile: false,
        plugins: [quern.vite()],
        build: {
          target: 'es2022',
          sourcemap: 'inline',
          outDir: join(outfile, '..'),
          emptyOutDir: false,
          lib: { entry: join(dir, 'app.js'), formats: ['es'], fileName: () => 'out.js' },
        },
      }),
  };
  for (const [name, bundle] of Object.entries(bundleOf)) {
    const where = temporaryModule();
    const outfile = join(where, 'out.js');
    await bundle(outfile);
    const { stdout, stderr } = spawnSync(process.execPath, ['--enable-source-maps', outfile], {
      cwd: where,
      encoding: 'utf8',
    });
    assert.is(stdout.match(wanted)?.length, 2, `${name}: ${stdout}${stderr}`);
  }
});

test('kernels for WebGPU and for gpu.js are modules as well', async () => {
  const dir = project();
  for (const target of ['gpujs', 'wgsl'] as const) {
    const outfile = join(temporary(), 'out.js');
    if (target === 'wgsl')
      writeFileSync(
        join(dir, 'app.js'),
        `import { init } from './q4.kernel.ts';\nawait init().catch((e) => console.log(e.code));\n`,
      );
    await esbuild({
      entryPoints: [join(dir, 'app.js')],
      bundle: true,
      format: 'esm',
      outfile,
      plugins: [quern.esbuild({ target })],
      logLevel: 'silent',
    });
    assert.is(bundled(outfile), target === 'wgsl' ? 'Q5106' : '7');
    const made = readFileSync(outfile, 'utf8');
    assert.not.match(made, 'application/wasm');
    if (target === 'wgsl' && !gpuMissing) {
      writeFileSync(
        join(dir, 'app.js'),
        `import { create } from ${JSON.stringify(import.meta.resolve('webgpu'))};
import { init } from './q4.kernel.ts';
const ops = await init({ gpu: create([]) });
const w = await ops.mine.encode(new Float32Array(16).fill(7), [1, 16]);
const { high } = await ops.extent(await ops.mine.decode(w));
console.log((await high.data())[0]);
process.exit(0);
`,
      );
      await esbuild({
        entryPoints: [join(dir, 'app.js')],
        bundle: true,
        external: ['file:*'],
        format: 'esm',
        outfile,
        plugins: [quern.esbuild({ target })],
        logLevel: 'silent',
      });
      const root = temporaryModule();
      const out = run(
        root,
        readFileSync(outfile, 'utf8'),
        [],
        process.execPath,
        vulkanEnvironment(),
      );
      assert.match(out, /^7$/m);
    }
  }
});

test('esbuild reports every diagnostic of the file', async () => {
  const dir = project();
  const file = join(dir, 'q4.kernel.ts');
  writeFileSync(file, readFileSync(file, 'utf8').replace('amin(x, 1)', 'amni(x, 1)'));
  const options = { entryPoints: [join(dir, 'app.js')], bundle: true, format: 'esm' as const };
  const plugins = [quern.esbuild()];
  const error = await esbuild({ ...options, write: false, plugins, logLevel: 'silent' }).then(
    () => assert.unreachable('the mistake was not found'),
    (e: BuildFailure) => e,
  );
  const [first] = error!.errors;
  assert.match(first!.text, 'Q1003: Unknown name `amni`');
  assert.match(first!.location!.lineText, 'amni(x, 1)');
  assert.is(first!.location!.length, 4);
  assert.match(first!.notes[0]!.text, 'Did you mean `amin`');
});

const loader = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const node = (dir: string) =>
  spawnSync(
    process.execPath,
    ['--import', loader('scripts/typescript.js'), '--import', loader('aot/register.ts'), 'app.js'],
    { cwd: dir, encoding: 'utf8' },
  );

type Ops = Compiled<typeof import('./fixtures/q4.kernel.ts')>;
/** Checked by tsc alone: what an importer in TypeScript may write. */
export async function typed(source: Ops): Promise<number> {
  const ops = await source.init();
  const x = ops.tensor([1, 2], [1, 2]);
  const { low } = await ops.extent(x);
  const w = ops.mine.encodeSync(x);
  const y = ops.linearSync(low, w, ops.empty([1, 1]));
  // @ts-expect-error weights are encoded
  ops.linearSync(x, x);
  // @ts-expect-error there is no such kernel
  ops.gemm;
  return y.data()[0]! + (await source.linear(x, w)).data()[0]!;
}

type GpuOps = Compiled<typeof import('./fixtures/q4.kernel.ts'), 'wgsl'>;
export async function typedOnGpu(source: GpuOps): Promise<number> {
  const ops = await source.init({});
  const x = ops.tensor([1, 2], [1, 2]);
  const { low } = await ops.extent(x);
  const y = await ops.linear(low, await ops.mine.encode(x));
  // @ts-expect-error reading is asynchronous
  y.data()[0];
  // @ts-expect-error nothing is synchronous
  ops.linearSync;
  return (await y.data())[0]!;
}

test('Node imports kernel files through the loader', () => {
  const { stdout, stderr } = node(root);
  assert.is(stdout, '7\n', stderr);
});

test('Node shows the diagnostic of a broken kernel file', () => {
  const dir = project();
  const file = join(dir, 'q4.kernel.ts');
  writeFileSync(file, readFileSync(file, 'utf8').replace('amin(x, 1)', 'amni(x, 1)'));
  const { status, stderr } = node(dir);
  assert.is(status, 1);
  assert.match(stderr, /Q1003[\s\S]*amni\(x, 1\)/);
});

test.run();
