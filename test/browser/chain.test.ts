// Chains in a page that is cross-origin isolated: its main thread may not wait, so the workers run the whole chain.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { skip } from '../support/skip.ts';
import { openBrowser, serve } from './browser.ts';

const test = suite('chains in a page');
const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const kernels = at('test/threads/kernels.ts');

const page = `import { chain } from ${JSON.stringify(at('runtime/chain.ts'))};
import { WasmDevice } from ${JSON.stringify(at('runtime/devices/wasm.ts'))};
import { ThreadPool } from ${JSON.stringify(at('runtime/devices/pool.ts'))};
import { DeviceTensor } from ${JSON.stringify(at('runtime/tensor.ts'))};
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
try {
  const { manifest, code, threads, constants } = await (await fetch('data.json')).json();
  const kept = Object.fromEntries(Object.entries(constants).map(([name, text]) => [name, bytesOf(text)]));
  const artifact = { manifest, code: bytesOf(code), variants: { threads: bytesOf(threads) }, constants: kept };
  const device = new WasmDevice({ threads: 2, worth: 0 });
  await device.start();
  let sent = 0;
  const original = ThreadPool.prototype.runAsync;
  ThreadPool.prototype.runAsync = function (...args) {
    sent += 1;
    return original.apply(this, args);
  };
  const softmax = await device.load(artifact);
  const dims = [40, 30];
  const x = DeviceTensor.from(device, {
    data: Float32Array.from({ length: 1200 }, (_, i) => ((i * 7) % 23) - 11),
    shape: dims,
  });
  const calls = async () => {
    let last = x;
    for (let i = 0; i < 6; i++) {
      const made = await softmax.run([last.buffer], dims);
      last = DeviceTensor.own(device, made[0], 'f32', dims);
      if (i === 2) last.write(3, new Float32Array(30).fill(i));
    }
    return last;
  };
  const want = await (await calls()).data();
  const alone = sent;
  const got = await (await chain(calls)).data();
  if (!got.every((v, i) => v === want[i])) throw new Error('the results differ');
  document.title = ['done', device.threads, alone, sent - alone].join(' ');
} catch (e) {
  document.title = 'failed ' + e.message;
}
`;

const browser = await openBrowser();
if (typeof browser === 'string') skip('chains in a page', browser);
else {
  test('a chain goes to the workers in one message, and gives the same bits', async () => {
    const root = mkdtempSync(join(tmpdir(), 'quern-chain-page-'));
    const { artifact } = await compile({
      file: kernels,
      name: 'softmax',
      target: 'wasm',
      threads: true,
    });
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    const data = {
      manifest: artifact.manifest,
      code: base64(artifact.code),
      threads: base64(artifact.variants!.threads!),
      constants: Object.fromEntries(
        Object.entries(artifact.constants).map(([name, bytes]) => [name, base64(bytes)]),
      ),
    };
    writeFileSync(join(root, 'data.json'), JSON.stringify(data));
    const html = '<!doctype html><meta charset="utf-8"><title>wait</title>';
    writeFileSync(join(root, 'index.html'), `${html}<script type="module" src="app.js"></script>`);
    await build({
      stdin: { contents: page, resolveDir: root, loader: 'ts' },
      bundle: true,
      format: 'esm',
      outfile: join(root, 'app.js'),
    });
    const site = await serve(root, {
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    try {
      assert.is(await (await browser.page()).title(`${site.url}/`), 'done 2 6 1');
    } finally {
      site.close();
      rmSync(root, { recursive: true });
    }
  });
  test.after(() => browser.close());
}

test.run();
