// The examples, each run as its README says, with Quern installed from its tarball.
import { spawn } from 'node:child_process';
import { cpSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openBrowser, serve } from '../browser/browser.ts';
import { repo } from '../house/imports.ts';
import { skip } from '../support/skip.ts';
import { install, modules, packed, sh } from './installed.ts';

const test = suite('examples');
const project = install(packed().tarball);
symlinkSync(join(modules, 'vite'), join(project, 'node_modules/vite'));
const folder = (name: string): string => {
  cpSync(join(repo, 'examples', name), join(project, name), { recursive: true });
  return join(project, name);
};
const cli = (dir: string, ...args: string[]): string =>
  sh(dir, process.execPath, join(project, 'node_modules/quern/cli/quern.js'), ...args);

test('node-service answers, and says what is wrong with a request', async () => {
  const dir = folder('node-service');
  const child = spawn(process.execPath, ['--import', 'quern/register', 'server.js'], {
    cwd: dir,
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const line = await new Promise<string>((done, fail) => {
      child.stdout.on('data', (d) => done(String(d)));
      child.on('exit', () => fail(new Error('the service ended')));
    });
    const url = `http://127.0.0.1:${/\d+/.exec(line)![0]}`;
    const post = async (body: string) => {
      const response = await fetch(url, { method: 'POST', body });
      const answer = (await response.json()) as { scores: number[]; error: string };
      return { status: response.status, body: answer };
    };
    const good = await post(JSON.stringify(Array.from({ length: 64 }, (_, i) => i / 64)));
    assert.is(good.status, 200);
    assert.is(good.body.scores.length, 10);
    assert.ok(good.body.scores.every(Number.isFinite));
    const bad = await post('[1, 2, 3]');
    assert.is(bad.status, 400);
    assert.match(bad.body.error, 'classify: argument w: axis 1 is 64, but K = 3 from argument x');
  } finally {
    child.kill();
  }
});

const browser = await openBrowser();
if (typeof browser === 'string') skip('examples in a browser', browser);
else {
  test('vite-app builds and draws', async () => {
    const dir = folder('vite-app');
    sh(dir, process.execPath, join(modules, 'vite/bin/vite.js'), 'build', '--logLevel', 'error');
    const site = await serve(join(dir, 'dist'));
    try {
      const page = await browser.page();
      assert.is(await page.title(`${site.url}/`), 'done');
      const text = await page.evaluate(`document.querySelector('output').textContent`);
      assert.match(String(text), /^3 bits: error 0\.0\d+$/);
    } finally {
      site.close();
    }
  });

  test('semantic-search holds 100,000 embeddings in 1 and 4 bits and finds by meaning', async () => {
    const dir = folder('semantic-search');
    const exports = ['scores1=scores<bit1>', 'scores4=scores<bit4>', 'exact', 'bit1', 'bit4'];
    const list = exports.flatMap((e) => ['-e', e]);
    cli(dir, 'build', 'search.kernel.ts', '-o', 'ops', ...list);
    const site = await serve(dir);
    try {
      const page = await browser.page();
      assert.is(await page.title(`${site.url}/?n=100000`), 'done 100000');
      const cards = (await page.evaluate(
        `[...document.querySelectorAll('section')].map((s) => [...s.querySelectorAll('h2, dd, li')].map((e) => e.textContent))`,
      )) as string[][];
      const [one, four] = cards as [string[], string[]];
      assert.equal(one.slice(0, 2), ['1 bit', '4.0 MB, 26 times smaller than f32']);
      assert.equal(four.slice(0, 2), ['4 bits', '14.4 MB, 7 times smaller than f32']);
      // The query shares no noun with what it finds: only meanings.
      for (const [, , now, median, found, ...lines] of [one, four]) {
        assert.match(now!, /^\d+\.\d ms$/);
        assert.match(median!, /^\d+\.\d ms$/);
        assert.match(found!, /^\d+ % found in ten, \d+ % in a hundred$/);
        assert.is(lines.length, 5);
        for (const line of lines)
          assert.match(line, /(dog|puppy|hound) (eats|devours|chews) the (food|dinner|meal)/);
      }
      // More bits find more, and what is found in ten is found in a hundred.
      const shares = (card: string[]): number[] => card[4]!.match(/\d+/g)!.map(Number);
      assert.ok(shares(four)[0]! > shares(one)[0]! && shares(four)[0]! >= 80, four[4]);
      assert.ok(shares(one)[1]! > shares(one)[0]! && shares(one)[1]! >= 90, one[4]);
      // Isolated, it searches on several threads.
      const headers = {
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      };
      const isolated = await serve(dir, headers);
      try {
        const other = await browser.page();
        assert.is(await other.title(`${isolated.url}/?n=3000`), 'done 3000');
        const status = await other.evaluate(`document.getElementById('status').textContent`);
        const cores = Number(await other.evaluate('navigator.hardwareConcurrency'));
        assert.match(String(status), new RegExp(`threads: ${Math.min(8, cores)}$`));
      } finally {
        isolated.close();
      }
      console.log([one, four].map((c) => c.slice(0, 5).join('; ')).join('\n'));
    } finally {
      site.close();
    }
  });
  test.after(() => browser.close());
}

test.run();
