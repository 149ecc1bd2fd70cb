// Kernel files imported through each bundler: what they build runs, an error in a kernel stands in the bundler's own report with
// file, line, column and the author's line, and a change of a file that a kernel file imports is built anew.
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Plugin } from '@rollup/browser';
import esbuild from 'esbuild';
// It comes with Vite.
import { rolldown, watch as rolldownWatch } from 'rolldown';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { build as viteBuild } from 'vite';
import webpack from 'webpack';
import quern from '../../aot/plugin.ts';
import { buildFixture, fixture, run, temporary } from './package.ts';

const test = suite('bundlers');

const helper = (factor: number): string => `export const factor = ${factor};\n`;
const kernels = `import type { Dim, Tensor, f32 } from 'quern';
import { factor } from './factor.ts';
/** x, scaled. */
export function scaled<M extends Dim>(x: Tensor<f32, [M]>): Tensor<f32, [M]> {
  return x * factor;
}
`;
/** A project with a kernel file, one that it imports, and a program that prints 7 and three times the factor. */
function project(): string {
  const root = temporary();
  copyFileSync(fixture, join(root, 'q4.kernel.ts'));
  writeFileSync(join(root, 'factor.ts'), helper(5));
  writeFileSync(join(root, 'scale.kernel.ts'), kernels);
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(root, 'app.js'),
    `import { extent, mine } from './q4.kernel.ts';
import { scaled } from './scale.kernel.ts';
const w = await mine.encode(new Float32Array(16).fill(7), [1, 16]);
const { high } = await extent(await mine.decode(w));
console.log(high.data()[0], (await scaled({ data: [3], shape: [1] })).data()[0]);
`,
  );
  return root;
}

/** What a bundler said of a failure: all that a person sees. */
interface Failure {
  readonly text: string;
  /** Where the bundler itself thinks that it is. */
  readonly line?: number | undefined;
  readonly column?: number | undefined;
}
interface Bundler {
  /** Builds app.js into out.js; gives what went wrong. */
  build(root: string): Promise<Failure | undefined>;
  /** Builds at once and after each change, and says so; gives what ends it. */
  watch?(root: string, built: () => void): Promise<() => unknown>;
}

interface Located extends Error {
  readonly loc?: { readonly line: number; readonly column: number };
  readonly errors?: readonly Located[];
}
/** The first place that an error or one inside of it has. */
function failureOf(e: unknown): Failure {
  const error = e as Located;
  const inner = [error, ...(error.errors ?? [])].find((x) => x.loc);
  return { text: error.message, line: inner?.loc?.line, column: inner?.loc?.column };
}
const attempt = async (made: Promise<unknown>): Promise<Failure | undefined> =>
  made.then(() => undefined, failureOf);

const entry = (root: string): string => join(root, 'app.js');
const out = (root: string): string => join(root, 'out.js');

const webpackOf = (root: string) =>
  webpack({
    mode: 'development',
    devtool: false,
    context: root,
    entry: './app.js',
    target: 'node20',
    experiments: { outputModule: true },
    output: { path: root, filename: 'out.js', module: true, chunkFormat: 'module' },
    plugins: [quern.webpack()],
  })!;

/** Rollup as browsers run it, which is the same for every platform: it fetches its WebAssembly, and a plugin reads files. */
async function rollupIn(root: string): Promise<void> {
  const own = globalThis.fetch;
  globalThis.fetch = ((from: URL) =>
    Promise.resolve(
      new Response(readFileSync(from), { headers: { 'content-type': 'application/wasm' } }),
    )) as typeof fetch;
  try {
    const { rollup } = await import('@rollup/browser');
    const files = {
      name: 'files',
      resolveId: (id: string, from?: string) => (from ? join(dirname(from), id) : id),
      load: (id: string) => readFileSync(id, 'utf8'),
    };
    const plugins = [quern.rollup() as Plugin, files];
    const bundle = await rollup({ input: entry(root), plugins, onLog: () => {} });
    const { output } = await bundle.generate({ format: 'es' });
    writeFileSync(out(root), output[0].code);
  } finally {
    globalThis.fetch = own;
  }
}

const bundlers: { readonly [name: string]: Bundler } = {
  Rollup: { build: (root) => attempt(rollupIn(root)) },
  Vite: {
    build: (root) =>
      attempt(
        viteBuild({
          root,
          logLevel: 'silent',
          configFile: false,
          plugins: [quern.vite()],
          build: {
            target: 'es2022',
            outDir: '.',
            emptyOutDir: false,
            lib: { entry: entry(root), formats: ['es'], fileName: () => 'out.js' },
          },
        }),
      ),
  },
  Rolldown: {
    build: (root) =>
      attempt(
        rolldown({ input: entry(root), plugins: [quern.rolldown()], logLevel: 'silent' }).then(
          (b) => b.write({ file: out(root), format: 'es' }),
        ),
      ),
    watch: async (root, built) => {
      const watcher = rolldownWatch({
        input: entry(root),
        plugins: [quern.rolldown()],
        output: { file: out(root), format: 'es' },
      });
      watcher.on('event', (e) => {
        if (e.code === 'BUNDLE_END') void e.result.close();
        if (e.code === 'END') built();
      });
      return () => watcher.close();
    },
  },
  esbuild: {
    build: async (root) => {
      const options = { entryPoints: [entry(root)], outfile: out(root), bundle: true };
      const made = esbuild.build({
        ...options,
        format: 'esm',
        plugins: [quern.esbuild()],
        logLevel: 'silent',
      });
      return made.then(
        () => undefined,
        async (e: esbuild.BuildFailure) => {
          const { line, column } = e.errors[0]?.location ?? {};
          const text = await esbuild.formatMessages(e.errors, { kind: 'error' });
          return { text: text.join('\n'), line, column };
        },
      );
    },
    watch: async (root, built) => {
      const context = await esbuild.context({
        entryPoints: [entry(root)],
        outfile: out(root),
        bundle: true,
        format: 'esm',
        plugins: [quern.esbuild(), { name: 'told', setup: (b) => b.onEnd(() => built()) }],
        logLevel: 'silent',
      });
      await context.watch();
      return () => context.dispose();
    },
  },
  webpack: {
    build: (root) =>
      new Promise((done, fail) => {
        const compiler = webpackOf(root);
        compiler.run((e, stats) =>
          compiler.close(() => {
            if (e) return fail(e);
            const { errors = [] } = stats!.toJson({ errors: true, all: false, ids: true });
            if (errors.length === 0) return done(undefined);
            const [line, column] = (errors[0]!.loc ?? '').split(/\D/).map(Number);
            return done({ text: errors.map((x) => x.message).join('\n'), line, column });
          }),
        );
      }),
    watch: (root, built) =>
      Promise.resolve().then(() => {
        const compiler = webpackOf(root);
        const watching = compiler.watch({ aggregateTimeout: 20 }, () => built());
        return () =>
          new Promise<void>((done) => watching!.close(() => compiler.close(() => done())));
      }),
  },
};

for (const [name, { build, watch }] of Object.entries(bundlers)) {
  test(`${name} builds kernel files, and what it builds runs`, async () => {
    const root = project();
    assert.is(await build(root), undefined);
    const alone = temporary();
    writeFileSync(join(alone, 'package.json'), '{ "type": "module" }');
    assert.is(run(alone, readFileSync(out(root), 'utf8')), '7 15\n');
  });

  test(`${name} shows an error of a kernel where its author wrote it`, async () => {
    const root = project();
    const bad = kernels.replace('x * factor', 'x * facter');
    writeFileSync(join(root, 'scale.kernel.ts'), bad);
    const failure = await build(root);
    assert.ok(failure, 'it was built');
    const { text, line, column } = failure!;
    assert.match(text, /Q1003: Unknown name `facter`/);
    assert.match(text, 'return x * facter;');
    assert.match(text, 'Did you mean `factor`');
    const places = bad.split('\n');
    const wanted = places.findIndex((l) => l.includes('facter'));
    const at = places[wanted]!.indexOf('facter');
    assert.equal([line, column], [wanted + 1, at]);
    // Nothing that only follows from it.
    assert.not.match(text, /not exported|not found|No matching export/i);
  });

  if (!watch) continue;
  test(`${name} builds anew when a file changes that a kernel file imports`, async () => {
    const root = project();
    let count = 0;
    let told = (): void => {};
    const close = await watch(root, () => {
      count += 1;
      told();
    });
    const after = (n: number): Promise<void> =>
      new Promise((done, fail) => {
        const late = setTimeout(() => fail(new Error(`no build ${n} within 10 s`)), 10_000);
        told = () => {
          if (count < n) return;
          clearTimeout(late);
          done();
        };
        told();
      });
    try {
      await after(1);
      const alone = temporary();
      writeFileSync(join(alone, 'package.json'), '{ "type": "module" }');
      const first = readFileSync(out(root), 'utf8');
      assert.is(run(alone, first), '7 15\n');
      // File systems whose times are coarse must see a change.
      await new Promise((done) => setTimeout(done, 50));
      const before = count;
      writeFileSync(join(root, 'factor.ts'), helper(11));
      // Files that were written just before the start may be taken for changed ones, and built once more.
      for (let n = before + 1; readFileSync(out(root), 'utf8') === first; n += 1) await after(n);
      assert.is(run(alone, readFileSync(out(root), 'utf8')), '7 33\n');
    } finally {
      await close();
    }
  });
}

test('of a package, importing one kernel brings that one and its code', async () => {
  const root = temporary();
  const flags = ['--variants', 'none'];
  await buildFixture(join(root, 'node_modules/q4'), ['extent', 'look', 'mine'], { flags });
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
  writeFileSync(entry(root), "import { look } from 'q4';\nglobalThis.ready = look.ready();\n");
  const page = '<!doctype html><script type="module" src="./app.js"></script>';
  writeFileSync(join(root, 'index.html'), page);
  const made: { readonly [name: string]: () => Promise<unknown> } = {
    Vite: () =>
      viteBuild({
        root,
        logLevel: 'silent',
        configFile: false,
        build: { outDir: 'Vite', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
      }),
    webpack: () =>
      new Promise((done, fail) => {
        const compiler = webpack({
          mode: 'production',
          context: root,
          entry: './app.js',
          output: { path: join(root, 'webpack'), assetModuleFilename: '[name][ext]' },
        })!;
        compiler.run((e, stats) =>
          compiler.close(() => (e || stats!.hasErrors() ? fail(e ?? stats!.toString()) : done(0))),
        );
      }),
    Rolldown: () =>
      rolldown({ input: entry(root), logLevel: 'silent' }).then((b) =>
        b.write({ dir: join(root, 'Rolldown'), format: 'es' }),
      ),
  };
  for (const [name, build] of Object.entries(made)) {
    await build();
    const files = readdirSync(join(root, name), { recursive: true }) as string[];
    const scripts = files.filter((f) => f.endsWith('.js'));
    const text = scripts.map((f) => readFileSync(join(root, name, f), 'utf8')).join('');
    assert.match(text, 'look.wasm', name);
    assert.not.match(text, /extent|mine/, name);
    // Vite writes each file that a module names before it knows which modules stay (nobody asks for the others); Rolldown writes none.
    if (name !== 'webpack') continue;
    assert.equal(
      files.filter((f) => f.endsWith('.wasm')),
      ['look.wasm'],
    );
  }
});

test.run();
