// The caches of compiled kernels: what hits, what does not, and what damage does.
import { fork } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DiskCache, decodeEntry, defaultCacheDir, encodeEntry } from '../../runtime/cache.ts';
import { Jit } from '../../runtime/jit.ts';
import { fakeCompiler } from './fake-compiler.ts';

const test = suite('cache');
const root = mkdtempSync(join(tmpdir(), 'quern-cache-'));
let count = 0;

/** A fresh kernel file and cache folder. */
function fresh() {
  const dir = join(root, String(count++));
  mkdirSync(dir);
  const file = join(dir, 'kernels.ts');
  writeFileSync(file, 'export const version = 1;');
  const cache = join(dir, 'cache');
  return { file, cache, dir };
}
const entries = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => join(e.parentPath, e.name));

/** A process of its own, as far as caches are concerned. */
function session(cache: string | false, version = '1') {
  const compiler = fakeCompiler();
  const jit = new Jit({ cache, version, compiler: async () => compiler });
  return { jit, log: compiler.log };
}
const unreachable = () => Promise.reject(new Error('the compiler was loaded'));
const request = (file: string) => ({ file, name: 'add', target: 'wasm' }) as const;

test('a second process takes everything from disk and never loads the compiler', async () => {
  const { file, cache } = fresh();
  const first = session(cache);
  const made = await first.jit.artifact(request(file));
  const info = await first.jit.describe(file);
  const jit = new Jit({ cache, version: '1', compiler: unreachable });
  const again = await jit.artifact(request(file));
  assert.equal(again.manifest, made.manifest);
  assert.equal(again.code, made.code);
  assert.equal(again.constants, made.constants);
  assert.equal(await jit.describe(file), info);
  assert.equal(jit.stats, { memory: 0, disk: 2, compiled: 0 });
  await jit.artifact(request(file));
  assert.is(jit.stats.memory, 1);
});

test('requests that differ in any part are different entries', async () => {
  const { file, cache } = fresh();
  const { jit, log } = session(cache);
  const base = { file, name: 'scale', target: 'wasm' } as const;
  await jit.artifact({ ...base, statics: [undefined, undefined, 2] });
  await jit.artifact({ ...base, statics: [undefined, undefined, 3] });
  await jit.artifact({ ...base, statics: [undefined, undefined, 2] });
  const encode = { file, name: 'uniform.encode', target: 'wasm' } as const;
  await jit.artifact({ ...encode, formatArgs: [{ bits: 3, group: 64 }] });
  await jit.artifact({ ...encode, formatArgs: [{ bits: 4, group: 64 }] });
  await jit.artifact({ ...encode, formatArgs: [{ group: 64, bits: 3 }] });
  assert.is(log.length, 4);
});

test('a changed source is compiled again, in the same process and in the next', async () => {
  const { file, cache } = fresh();
  const first = session(cache);
  await first.jit.artifact(request(file));
  writeFileSync(file, 'export const version = 2;');
  const second = session(cache);
  await second.jit.artifact(request(file));
  assert.is(second.log.length, 1);
  await first.jit.artifact(request(file));
  assert.equal(first.jit.stats, { memory: 0, disk: 1, compiled: 1 });
});

test('a source that is gone is asked of the compiler, which says so', async () => {
  const { file, cache } = fresh();
  await session(cache).jit.artifact(request(file));
  rmSync(file);
  const jit = new Jit({ cache, version: '1', compiler: unreachable });
  let message = '';
  await jit.artifact(request(file)).catch((e: Error) => (message = e.message));
  assert.is(message, 'the compiler was loaded');
});

test('another version of the compiler does not use old entries', async () => {
  const { file, cache } = fresh();
  await session(cache, '1').jit.artifact(request(file));
  const next = session(cache, '2');
  await next.jit.artifact(request(file));
  assert.is(next.log.length, 1);
});

test('damaged entries are ignored and written anew', async () => {
  const { file, cache } = fresh();
  const made = await session(cache).jit.artifact(request(file));
  const [entry] = entries(cache);
  const good = readFileSync(entry!);
  const flipped = Buffer.from(good);
  flipped[good.length - 3]! ^= 1;
  const damages = [
    good.subarray(0, good.length / 2),
    Buffer.alloc(0),
    flipped,
    Buffer.from('QUERNC1\n'),
  ];
  for (const damage of damages) {
    writeFileSync(entry!, damage);
    const { jit, log } = session(cache);
    assert.equal((await jit.artifact(request(file))).code, made.code);
    assert.is(log.length, 1);
    assert.equal(readFileSync(entry!), good);
  }
});

test('no damage of an entry is ever believed', () => {
  const blobs = { code: new Uint8Array([1, 2, 3]), 'const:t': new Uint8Array(5) };
  const good = encodeEntry({ header: { a: [1, 'x'] }, blobs });
  assert.equal(decodeEntry(good), { header: { a: [1, 'x'] }, blobs });
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const bad = Uint8Array.from(good);
      bad[at]! ^= mask;
      assert.is(decodeEntry(bad), undefined);
      assert.is(decodeEntry(good.subarray(0, at)), undefined);
    }),
  );
});

test('without a disk cache, and with one that cannot be written, kernels compile all the same', async () => {
  const { file, dir } = fresh();
  const none = session(false);
  await none.jit.artifact(request(file));
  assert.equal(none.jit.stats, { memory: 0, disk: 0, compiled: 1 });
  const blocked = join(dir, 'blocked');
  writeFileSync(blocked, 'a file where the folder should be');
  const { jit } = session(blocked);
  await jit.artifact(request(file));
  assert.is(jit.stats.compiled, 1);
});

test('a failed compilation is not remembered', async () => {
  const { file } = fresh();
  let broken = true;
  const good = fakeCompiler();
  const compiler = {
    ...good,
    compile: (...args: Parameters<typeof good.compile>) =>
      broken ? Promise.reject(new Error('no')) : good.compile(...args),
  };
  const jit = new Jit({ cache: false, compiler: async () => compiler });
  await jit.artifact(request(file)).then(
    () => assert.unreachable(),
    (e: Error) => assert.is(e.message, 'no'),
  );
  broken = false;
  assert.ok((await jit.artifact(request(file))).code.length > 0);
});

test('calls at the same time share one compilation', async () => {
  const { file, cache } = fresh();
  const { jit, log } = session(cache);
  await Promise.all([1, 2, 3].map(() => jit.artifact(request(file))));
  assert.equal(log, ['compile add']);
});

test('writers at the same time leave one intact entry and no temporary files', async () => {
  const { cache } = fresh();
  const script = join(cache, '..', 'writer.ts');
  const module = JSON.stringify(new URL('../../runtime/cache.ts', import.meta.url).href);
  writeFileSync(
    script,
    `import { DiskCache } from ${module};
     const cache = new DiskCache(process.argv[2]);
     const n = Number(process.argv[3]);
     for (let i = 0; i < 200; i++) {
       cache.put('aabbcc', { header: n, blobs: { code: new Uint8Array(10000).fill(n) } });
       const got = cache.get('aabbcc');
       if (!got || got.blobs.code.some((x) => x !== got.header)) process.exit(1);
     }`,
  );
  const codes = await Promise.all(
    [1, 2].map(
      (n) =>
        new Promise((done) => {
          const child = fork(script, [cache, String(n)], {
            execArgv: ['--import', new URL('../../scripts/typescript.js', import.meta.url).href],
          });
          child.on('exit', done);
        }),
    ),
  );
  assert.equal(codes, [0, 0]);
  assert.is(entries(cache).length, 1);
  assert.ok(new DiskCache(cache).get('aabbcc'));
});

test('beyond its limit a cache drops what was not used for longest, never what it just wrote', () => {
  const { cache } = fresh();
  const day = 24 * 3600;
  const put = (disk: DiskCache, key: string) =>
    disk.put(key, { header: null, blobs: { code: new Uint8Array(10000) } });
  const age = (days: number, ...keys: string[]) => {
    const then = Date.now() / 1000 - days * day;
    for (const k of keys) utimesSync(join(cache, 'aa', `${k.slice(2)}.quern`), then, then);
  };
  // Room for two entries of about 10 kB in each of 256 folders.
  const disk = new DiskCache(cache, 256 * 25_000);
  for (const key of ['aa01', 'aa02']) assert.ok(put(disk, key));
  age(9, 'aa01');
  age(5, 'aa02');
  assert.ok(disk.get('aa01'), 'reading makes it new');
  assert.ok(put(disk, 'bb01'));
  assert.ok(put(disk, 'aa03'));
  assert.equal(
    ['aa01', 'aa02', 'aa03', 'bb01'].map((key) => disk.get(key) !== undefined),
    [true, false, true, true],
  );
  const tiny = new DiskCache(cache, 256);
  assert.ok(put(tiny, 'aa04'));
  assert.equal(readdirSync(join(cache, 'aa')), ['04.quern']);
  assert.ok(tiny.get('bb01'), 'a folder is looked at when it is written to');
});

test('the folder comes from QUERN_CACHE, XDG_CACHE_HOME or the home folder', () => {
  const { QUERN_CACHE, XDG_CACHE_HOME } = process.env;
  try {
    process.env.QUERN_CACHE = '/q';
    assert.is(defaultCacheDir(), '/q');
    process.env.QUERN_CACHE = 'false';
    assert.is(defaultCacheDir(), undefined);
    delete process.env.QUERN_CACHE;
    process.env.XDG_CACHE_HOME = '/x';
    assert.is(defaultCacheDir(), join('/x', 'quern'));
    delete process.env.XDG_CACHE_HOME;
    assert.match(defaultCacheDir()!, /\.cache.quern$/);
  } finally {
    for (const [k, v] of Object.entries({ QUERN_CACHE, XDG_CACHE_HOME }))
      if (v === undefined) delete process.env[k];
      else process.env[k] = v;
  }
});

test('in memory, sources of a custom host are compared through the host', async () => {
  let text = 'one';
  const good = fakeCompiler();
  const { createHash } = await import('node:crypto');
  const hash = () => createHash('sha256').update(text).digest('hex');
  const compiler = {
    ...good,
    compile: async (...args: Parameters<typeof good.compile>) => ({
      ...(await good.compile(...args)),
      dependencies: [{ path: 'mem.ts', sha256: hash() }],
    }),
  };
  const jit = new Jit({ compiler: async () => compiler, host: { readFile: () => text } });
  await jit.artifact(request('mem.ts'));
  await jit.artifact(request('mem.ts'));
  text = 'two';
  await jit.artifact(request('mem.ts'));
  assert.equal(jit.stats, { memory: 1, disk: 0, compiled: 2 });
});

test.after(() => rmSync(root, { recursive: true, force: true }));
test.run();
