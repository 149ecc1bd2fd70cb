// Generated packages in a browser: a plain page under a strict policy, and an application that Vite builds.
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { build as viteBuild } from 'vite';
import quern from '../../aot/plugin.ts';
import { buildFixture, fixture, temporary } from '../aot/package.ts';
import { skip } from '../support/skip.ts';
import { openBrowser, serve } from './browser.ts';

const test = suite('packages in a browser');
const browser = await openBrowser();

const program = (from: string): string => `import { init, memoryUsed } from '${from}';
try {
  const ops = await init();
  const wave = (n, step) => Float32Array.from({ length: n }, (_, i) => ((i * step) % 17) - 8);
  const w = await ops.mine.encode(wave(5 * 64, 3), [5, 64]);
  const out = ops.empty([1, 5]);
  ops.linearSync({ data: wave(64, 5), shape: [1, 64] }, w, out);
  const y = await ops.linear({ data: wave(64, 5), shape: [1, 64] }, w);
  if (String(y.data()) !== String(out.data())) throw new Error('the two forms disagree');
  let refused = '';
  try { ops.linearSync(out, w); } catch (e) { refused = e.code; }
  document.title = 'done ' + [...out.data()].map((v) => v.toFixed(3)).join(' ') + ' ' + refused;
} catch (e) {
  document.title = 'failed ' + e.message;
}
`;
const page =
  '<!doctype html><meta charset="utf-8"><title>wait</title><script type="module" src="./app.js"></script>';
/** No inline script, no eval, nothing from elsewhere: what a careful site sends. */
const policy = {
  'content-security-policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'",
};

if (typeof browser === 'string') skip('packages in a browser', browser);
else {
  let plain = '';

  test('a plain page loads the package under a strict policy, and streams the code', async () => {
    const root = temporary();
    await buildFixture(join(root, 'ops'), ['linear=linear<mine>']);
    writeFileSync(join(root, 'index.html'), page);
    writeFileSync(join(root, 'app.js'), program('./ops/index.js'));
    const site = await serve(root, policy);
    try {
      plain = await (await browser.page()).title(`${site.url}/`);
    } finally {
      site.close();
    }
    assert.match(plain, /^done( -?\d+\.\d{3}){5} Q5005$/);
    assert.ok(site.seen.some((f) => /^\/ops\/ops\/linear(\.relaxed)?\.wasm$/.test(f)));
    assert.not.ok(site.seen.includes('/ops/manifest.json'));
  });

  test('a policy without wasm-unsafe-eval, and a missing file, are errors that say so', async () => {
    const root = temporary();
    await buildFixture(join(root, 'ops'), ['linear=linear<mine>']);
    writeFileSync(join(root, 'index.html'), page);
    writeFileSync(join(root, 'app.js'), program('./ops/index.js'));
    const strict = { 'content-security-policy': "script-src 'self'" };
    const site = await serve(root, strict);
    const other = await serve(root);
    try {
      const blocked = await (await browser.page()).title(`${site.url}/`);
      assert.match(
        blocked,
        /^failed Q510[67]: (linear|mine\.\w+): .*(Content Security Policy|unsafe-eval)/,
      );
      writeFileSync(
        join(root, 'app.js'),
        program('./ops/index.js').replace('init()', "init({ source: (f) => '/none/' + f })"),
      );
      const missing = await (await browser.page()).title(`${other.url}/`);
      assert.match(missing, /^failed Q5107: .*cannot load http.*status 404$/);
    } finally {
      site.close();
      other.close();
    }
  });

  test('an application built by Vite gives the same, from the plugin and from the package', async () => {
    const titles: string[] = [];
    for (const from of ['./q4.kernel.ts', './ops/index.js']) {
      const root = temporary();
      mkdirSync(join(root, 'ops'));
      await buildFixture(join(root, 'ops'), ['linear=linear<mine>']);
      copyFileSync(fixture, join(root, 'q4.kernel.ts'));
      writeFileSync(join(root, 'index.html'), page);
      writeFileSync(join(root, 'app.js'), program(from));
      await viteBuild({
        root,
        base: './',
        logLevel: 'silent',
        configFile: false,
        plugins: [quern.vite()],
        build: { target: 'es2022', modulePreload: { polyfill: false } },
      });
      const site = await serve(join(root, 'dist'), policy);
      try {
        titles.push(await (await browser.page()).title(`${site.url}/`));
      } finally {
        site.close();
      }
    }
    assert.equal(titles, [plain, plain]);
  });

  test('a package for gpu.js runs on WebGL2 where it is given the library, and in a bundle', async () => {
    const root = temporary();
    await buildFixture(join(root, 'ops'), ['linear=linear<mine>'], {
      flags: ['--target', 'gpujs'],
    });
    const library = new URL('dist/gpu-browser.min.js', import.meta.resolve('gpu.js/package.json'));
    copyFileSync(library, join(root, 'gpu.js'));
    const script = '<script src="./gpu.js"></script>';
    writeFileSync(join(root, 'index.html'), page.replace('<script', `${script}<script`));
    const own = program('./ops/gpujs/index.js')
      .replace('init()', 'init({ GPU })')
      .replace('refused;\n', "refused + ' ' + ops.linear.variant();\n");
    writeFileSync(join(root, 'app.js'), own);
    const bundled = temporary();
    for (const f of ['index.html', 'gpu.js']) copyFileSync(join(root, f), join(bundled, f));
    await viteBuild({
      root,
      base: './',
      logLevel: 'silent',
      configFile: false,
      build: {
        target: 'es2022',
        minify: true,
        rollupOptions: { output: { chunkFileNames: '[name].js' } },
        outDir: bundled,
        emptyOutDir: false,
        lib: { entry: join(root, 'app.js'), formats: ['es'], fileName: () => 'app.js' },
      },
    });
    const numbers = (title: string): number[] => title.split(' ').slice(1, 6).map(Number);
    for (const dir of [root, bundled]) {
      const site = await serve(dir);
      try {
        const title = await (await browser.page()).title(`${site.url}/`);
        assert.match(title, /^done( -?\d+\.\d{3}){5} Q5005 webgl2$/, title);
        const want = numbers(plain);
        numbers(title).forEach((v, i) => assert.ok(Math.abs(v - want[i]!) < 2e-3, title));
      } finally {
        site.close();
      }
    }
  });

  test.after(() => browser.close());
}

test.run();
