// Safetensors files: round trips, shards, every way in which a header can lie, and bounded memory.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { QuernError } from '../../runtime/errors.ts';
import { headerLength, parseHeader } from '../../runtime/files/header.ts';
import { duplicateKey } from '../../runtime/files/json.ts';
import {
  SafetensorsWriter,
  type TensorPlan,
  openSafetensors,
  storedAs,
} from '../../runtime/files/safetensors.ts';
import { pack } from '../../runtime/pack.ts';
import { skip } from '../support/skip.ts';

const test = suite('safetensors');
/** For `then`, where only a rejection is right. */
const succeeded = (): void => assert.unreachable('nothing was thrown');
const root = mkdtempSync(join(tmpdir(), 'quern-files-'));
let count = 0;
const path = (name = `${count++}.safetensors`): string => join(root, name);

const encoder = new TextEncoder();
/** A file from header text and data, lies included. */
function raw(
  header: string | Uint8Array,
  data: number | Uint8Array = 0,
  claim?: bigint,
): Uint8Array {
  const text = typeof header === 'string' ? encoder.encode(header) : header;
  const body = typeof data === 'number' ? new Uint8Array(data) : data;
  const out = new Uint8Array(8 + text.length + body.length);
  new DataView(out.buffer).setBigUint64(0, claim ?? BigInt(text.length), true);
  out.set(text, 8);
  out.set(body, 8 + text.length);
  return out;
}
/** Opens bytes as openSafetensors does, without a disk. */
function parse(bytes: Uint8Array) {
  const length = headerLength('f', bytes.subarray(0, 8), bytes.length);
  return parseHeader('f', bytes.subarray(8, 8 + length), bytes.length);
}
const entry = (dtype: unknown, shape: unknown, data_offsets: unknown) => ({
  dtype,
  shape,
  data_offsets,
});
const file = (header: object, data = 0) => raw(JSON.stringify(header), data);
const refuses = (bytes: Uint8Array, pattern: RegExp) => assert.throws(() => parse(bytes), pattern);

const write = async (
  to: string,
  tensors: readonly TensorPlan[],
  data: readonly Uint8Array[],
  metadata = {},
) => {
  const w = await SafetensorsWriter.create(to, tensors, metadata);
  for (const [i, t] of tensors.entries()) await w.append(t.name, data[i]!);
  await w.finish();
};
const plan = (name: string, dtype: TensorPlan['dtype'], ...shape: number[]): TensorPlan => ({
  name,
  dtype,
  shape,
});

test('what is written in chunks is read back, by rows, as bytes and as f32', async () => {
  const to = path();
  const tensors = [
    plan('a', 'F32', 4, 3),
    plan('s', 'F16'),
    plan('empty', 'U8', 0, 9),
    plan('b', 'BF16', 2, 2),
  ];
  const a = Float32Array.from({ length: 12 }, (_, i) => i / 4);
  const bytes = new Uint8Array(a.buffer);
  const w = await SafetensorsWriter.create(to, tensors, { format: 'quern', a: 'ü"' });
  await w.append('a', bytes.subarray(0, 5));
  await w.append('a', bytes.subarray(5));
  await w.append('s', pack('f16', [], [1.5]));
  await w.append('b', pack('bf16', [2, 2], [1, -2, 3, 0.5]));
  assert.not(existsSync(to));
  await w.finish();
  const r = await openSafetensors(to);
  assert.equal(r.names, ['a', 's', 'empty', 'b']);
  assert.equal(r.metadata, { a: 'ü"', format: 'quern' });
  assert.is((r.info('a').offset - 0) % 8, 0);
  assert.equal(await r.readRows('a', 1, 3), a.slice(3, 9));
  assert.equal(await r.readRows('a'), a);
  assert.equal(await r.readRows('s'), new Float32Array([1.5]));
  assert.equal(await r.readRows('empty'), new Float32Array(0));
  assert.equal(await r.readRows('b', 1), new Float32Array([3, 0.5]));
  const chunks = [];
  for await (const c of r.chunks('a', 7)) chunks.push(...c);
  assert.equal(chunks, [...bytes]);
  await r.close();
});

test('every dtype of a file reads as f32', async () => {
  const to = path();
  const arrays = {
    F64: new Float64Array([1, -2]),
    I64: new BigInt64Array([1n, -2n]),
    I32: new Int32Array([1, -2]),
    I16: new Int16Array([1, -2]),
    I8: new Int8Array([1, -2]),
    U32: new Uint32Array([1, 4294967295]),
    U16: new Uint16Array([1, 65535]),
    U8: new Uint8Array([1, 255]),
    BOOL: new Uint8Array([1, 0]),
    F8_E4M3: pack('f8e4m3', [2], [1, -448]),
    F8_E5M2: pack('f8e5m2', [2], [1, -57344]),
  };
  const names = Object.keys(arrays) as (keyof typeof arrays)[];
  await write(
    to,
    names.map((n) => plan(n, n, 2)),
    names.map((n) => new Uint8Array(arrays[n].buffer)),
  );
  const r = await openSafetensors(to);
  const want = [-2, -2, -2, -2, -2, 4294967296, 65535, 255, 0, -448, -57344];
  for (const [i, n] of names.entries()) assert.equal([...(await r.readRows(n))], [1, want[i]], n);
  await r.close();
});

test('random tensors survive the round trip, and equal input gives equal bytes', async () => {
  const names = fc.uniqueArray(
    fc.string({ maxLength: 6 }).filter((s) => s !== '__metadata__'),
    { maxLength: 5 },
  );
  const cases = names.chain((list) =>
    fc.tuple(
      ...list.map((name) =>
        fc.record({
          name: fc.constant(name),
          shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
          dtype: fc.constantFrom('F32' as const, 'U8' as const, 'F16' as const),
        }),
      ),
    ),
  );
  await fc.assert(
    fc.asyncProperty(cases, async (tensors) => {
      const width = { F32: 4, U8: 1, F16: 2 };
      const data = tensors.map((t, i) =>
        new Uint8Array(t.shape.reduce((p, n) => p * n, 1) * width[t.dtype]).fill(i + 1),
      );
      const [one, two] = [path(), path()];
      await write(one, tensors, data, { b: '2', a: '1' });
      await write(two, tensors, data, { a: '1', b: '2' });
      assert.ok(readFileSync(one).equals(readFileSync(two)));
      const r = await openSafetensors(one);
      for (const [i, t] of tensors.entries()) {
        assert.equal(r.info(t.name).shape, t.shape);
        assert.equal(await r.readBytes(t.name), data[i]);
      }
      await r.close();
    }),
    { numRuns: 40 },
  );
});

test('fields below a byte are stored as the bytes of their rows', () => {
  assert.equal(storedAs('u4', [8, 3, 32]), { dtype: 'U8', shape: [8, 3, 16] });
  assert.equal(storedAs('u3', [5, 9]), { dtype: 'U8', shape: [5, 6] });
  assert.equal(storedAs('f4e2m1', []), { dtype: 'U8', shape: [4] });
  assert.equal(storedAs('e8m0', [7]), { dtype: 'U8', shape: [7] });
  assert.equal(storedAs('f16', [7]), { dtype: 'F16', shape: [7] });
});

test('a header that lies about lengths or is no JSON object is refused', () => {
  refuses(new Uint8Array(3), /Q6102: f is not a valid.*3 bytes, and its length field takes 8/);
  refuses(raw('{}', 0, 100_000_001n), /claims a header of 100000001 bytes; at most/);
  refuses(raw('{}', 0, 2n ** 63n), /claims a header of 9223372036854775808/);
  refuses(raw('{}', 0, 50n), /only 2 follow \(truncated\?\)/);
  refuses(raw(new Uint8Array([0x7b, 0xff, 0x7d])), /not UTF-8/);
  refuses(raw('[]'), /does not begin with \{/);
  refuses(raw(' {}'), /does not begin with \{/);
  refuses(raw(''), /does not begin with \{/);
  refuses(raw('{"a":'), /not JSON/);
  refuses(raw('{}', 5), /5 bytes after the last tensor belong to none/);
});

test('each entry is checked, and the tensor is named', () => {
  const one = (e: unknown, data = 0) => file({ w: e as object }, data);
  const ok = entry('F32', [2], [0, 8]);
  assert.is(parse(one(ok, 8)).tensors.get('w')!.bytes, 8);
  refuses(one(7), /Q6103: f: tensor "w": its entry is not an object/);
  refuses(one(entry('F31', [2], [0, 8]), 8), /unknown dtype "F31"; known are F64 F32/);
  refuses(one(entry('toString', [2], [0, 8]), 8), /unknown dtype/);
  refuses(one(entry(undefined, [2], [0, 8]), 8), /unknown dtype/);
  for (const shape of [[-1], [1.5], ['2'], 2, null, [2 ** 60], [[2]]])
    refuses(one(entry('F32', shape, [0, 8]), 8), /the shape .* is not a list of whole numbers/);
  refuses(one(entry('F32', [2 ** 40, 2 ** 40], [0, 8]), 8), /is too large/);
  refuses(one(entry('F32', [2 ** 52, 2 ** 52, 0], [0, 0])), /is too large/);
  for (const range of [[0], [0, 8, 9], [0, '8'], [-4, 4], [0.5, 8.5], 'x', null])
    refuses(one(entry('F32', [2], range), 8), /data_offsets .* are not two whole numbers/);
  refuses(one(entry('F32', [2], [8, 0]), 8), /begin at 8, after their end 0/);
  refuses(one(entry('F32', [2], [0, 8]), 7), /end at 8, but the file holds 7 bytes/);
  refuses(one(entry('F32', [3], [0, 8]), 8), /F32 \[3\] takes 12 bytes, but data_offsets span 8/);
});

test('data may neither overlap nor leave a hole, and names are unique', () => {
  const a = entry('U8', [4], [0, 4]);
  refuses(file({ a, b: entry('U8', [4], [2, 6]) }, 6), /tensor "b": its data overlaps "a" by 2/);
  refuses(
    file({ a, b: entry('U8', [4], [6, 10]) }, 10),
    /tensor "b": a hole of 2 bytes lies between "a"/,
  );
  refuses(file({ b: entry('U8', [4], [2, 6]) }, 6), /a hole of 2 bytes lies between the header/);
  refuses(file({ a, b: entry('U8', [4], [0, 4]) }, 4), /overlaps/);
  const twice = `{"a":${JSON.stringify(a)},"\\u0061":${JSON.stringify(a)}}`;
  refuses(raw(twice, 4), /has the key "a" twice/);
  refuses(
    raw('{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
    /"dtype" twice/,
  );
  refuses(file({ __metadata__: { a: 1 } }), /__metadata__ is not a map of strings/);
  refuses(file({ __metadata__: ['x'] }), /__metadata__ is not a map/);
  const zero = entry('U8', [0], [4, 4]);
  assert.is(parse(file({ z: zero, a, y: zero }, 4)).tensors.size, 3);
  assert.is(
    parse(raw('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1)).tensors.size,
    1,
  );
});

test('a duplicate key is found at any depth, and nothing else is taken for one', () => {
  assert.is(duplicateKey('{"a":{"b":1},"c":{"b":2}}'), undefined);
  assert.is(duplicateKey('{"a":[{"b":1,"b":2}]}'), 'b');
  assert.is(duplicateKey('{"a":"a","b":["a","a"],"c":"\\"a\\":{"}'), undefined);
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.is(duplicateKey(JSON.stringify(value)), undefined);
    }),
  );
});

test('no header, however mangled, does anything but parse or fail with a code', () => {
  const good = file({ a: entry('F32', [2, 2], [0, 16]), b: entry('U8', [3], [16, 19]) }, 19);
  const soup = fc.oneof(
    fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, v]) => {
      const bad = Uint8Array.from(good);
      bad[at] = v;
      return bad;
    }),
    fc.uint8Array({ maxLength: 200 }),
    fc.nat(good.length).map((n) => good.subarray(0, n)),
    fc.jsonValue().map((v) => raw(JSON.stringify({ a: v }), 4)),
    fc
      .record({
        dtype: fc.constantFrom('F32', 'U8', 'I64', 3, null),
        shape: fc.array(fc.oneof(fc.integer(), fc.double()), { maxLength: 3 }),
        data_offsets: fc.array(fc.oneof(fc.integer(), fc.double()), { maxLength: 3 }),
      })
      .map((e) => file({ a: e }, 16)),
  );
  fc.assert(
    fc.property(soup, (bytes) => {
      try {
        const { tensors, dataStart } = parse(bytes);
        let end = dataStart;
        for (const t of tensors.values()) end = Math.max(end, t.offset + t.bytes);
        assert.ok(end <= bytes.length);
      } catch (e) {
        assert.instance(e, QuernError, String(e));
      }
    }),
    { numRuns: 2000 },
  );
});

test('shards open by index, by folder and one by one', async () => {
  const dir = path('sharded');
  mkdirSync(dir);
  const one = new Uint8Array(new Float32Array([1, 2]).buffer);
  await write(join(dir, 'm-1.safetensors'), [plan('a', 'F32', 2)], [one], { from: 'one' });
  await write(join(dir, 'm-2.safetensors'), [plan('b', 'U8', 8)], [one], {
    from: 'two',
    also: 'x',
  });
  const index = join(dir, 'm.safetensors.index.json');
  for (const open of [dir, index]) {
    if (open === index)
      writeFileSync(
        index,
        JSON.stringify({ weight_map: { b: 'm-2.safetensors', a: 'm-1.safetensors' } }),
      );
    const r = await openSafetensors(open);
    assert.equal([...r.names].sort(), ['a', 'b']);
    assert.equal(await r.readRows('a'), new Float32Array([1, 2]));
    assert.equal(await r.readBytes('b'), one);
    assert.equal(r.metadata, { from: 'one', also: 'x' });
    await r.close();
  }
  const refused = async (content: string, pattern: RegExp) => {
    writeFileSync(index, content);
    await openSafetensors(index).then(succeeded, (e: Error) => assert.match(e.message, pattern));
  };
  const map = (m: object) => JSON.stringify({ weight_map: m });
  await refused('{', /Q6106.*not JSON/);
  await refused('{}', /no "weight_map"/);
  await refused('{"weight_map":{"a":"x","a":"y"}}', /the key "a" twice/);
  for (const bad of ['../m-1.safetensors', '/etc/passwd', '..', '', 7, 'a\\b'])
    await refused(map({ a: bad }), /not a file name/);
  await refused(map({ c: 'm-1.safetensors' }), /m-1.safetensors has no tensor "c"/);
  await refused(map({ c: 'm-9.safetensors' }), /Q6101: Cannot read .*m-9.safetensors/);
  rmSync(index);
  await write(join(dir, 'm-3.safetensors'), [plan('a', 'F32', 2)], [one]);
  await openSafetensors(dir).then(succeeded, (e: Error) =>
    assert.match(e.message, /m-3.safetensors: tensor "a": m-1.safetensors has it too/),
  );
});

test('unknown names, rows and paths are refused', async () => {
  const to = path();
  await write(to, [plan('a', 'U8', 2, 2)], [new Uint8Array(4)]);
  const r = await openSafetensors(to);
  assert.throws(() => r.info('b'), /Q6104: .*no tensor "b"[\s\S]*expected: a/);
  for (const [from, end] of [
    [0, 3],
    [-1, 1],
    [2, 1],
    [0.5, 1],
  ])
    await r
      .readRows('a', from, end)
      .then(succeeded, (e: Error) => assert.match(e.message, /Q6105/));
  truncateSync(to, 66);
  await r.readRows('a').then(succeeded, (e: Error) => assert.match(e.message, /became shorter/));
  await r.close();
  for (const nowhere of [path('none'), path('none.safetensors.index.json')])
    await openSafetensors(nowhere).then(succeeded, (e: Error) => assert.match(e.message, /Q6101/));
  const bare = path('bare');
  mkdirSync(bare);
  await openSafetensors(bare).then(succeeded, (e: Error) =>
    assert.match(e.message, /holds no .safetensors file/),
  );
});

test('a writer refuses data out of order, too much and too little, and leaves no traces', async () => {
  const dir = path('writes');
  mkdirSync(dir);
  const to = join(dir, 'x.safetensors');
  const rejects = (p: Promise<unknown>, pattern: RegExp) =>
    p.then(succeeded, (e: Error) => assert.match(e.message, pattern));
  const two = [plan('a', 'U8', 2), plan('b', 'U8', 2)];
  await rejects(SafetensorsWriter.create(to, [two[0]!, two[0]!]), /tensor "a": the name is taken/);
  await rejects(SafetensorsWriter.create(to, [plan('__metadata__', 'U8', 1)]), /the name is taken/);
  await rejects(SafetensorsWriter.create(to, [plan('a', 'U8', -1)]), /is not a shape/);
  await rejects(SafetensorsWriter.create(join(dir, 'no', 'x'), two), /Q6107: Cannot write/);
  const w = await SafetensorsWriter.create(to, two);
  await rejects(
    w.append('b', new Uint8Array(1)),
    /Q6105.*out of order[\s\S]*found: b[\s\S]*expected: a/,
  );
  await rejects(w.append('a', new Uint8Array(3)), /too much data for a[\s\S]*at most 2 more/);
  await w.append('a', new Uint8Array(2));
  await rejects(w.finish(), /not complete[\s\S]*2 bytes of b missing/);
  assert.is(readdirSync(dir).length, 1);
  await w.abort();
  await w.abort();
  assert.equal(readdirSync(dir), []);
  await rejects(w.append('b', new Uint8Array(2)), /it is closed/);
  await rejects(w.finish(), /it is closed/);
});

test('a sparse file of 4 GB opens at once and reads in bounded memory', async () => {
  const to = path('big.safetensors');
  const rows = 2 ** 20;
  const header = JSON.stringify({
    a: entry('F32', [rows, 1024], [0, rows * 4096]),
    b: entry('U8', [3], [rows * 4096, rows * 4096 + 3]),
  });
  const bytes = raw(header.padEnd(Math.ceil(header.length / 8) * 8));
  writeFileSync(to, bytes);
  try {
    truncateSync(to, bytes.length + rows * 4096 + 3);
  } catch (e) {
    skip('sparse file of 4 GB', (e as Error).message);
    return;
  }
  const start = performance.now();
  const r = await openSafetensors(to);
  const opened = performance.now() - start;
  const before = process.memoryUsage().rss;
  for (const from of [0, rows / 2, rows - 100]) {
    const values = await r.readRows('a', from, from + 100);
    assert.is(values.length, 102400);
  }
  let seen = 0;
  for await (const chunk of r.chunks('a', 2 ** 20)) {
    seen += chunk.length;
    if (seen >= 2 ** 28) break;
  }
  assert.equal(await r.readBytes('b'), new Uint8Array(3));
  const grown = process.memoryUsage().rss - before;
  console.log(
    `4 GB file: opened in ${opened.toFixed(1)} ms, memory grew by ${(grown / 2 ** 20).toFixed(0)} MiB`,
  );
  assert.ok(grown < 200 * 2 ** 20);
  await r.close();
  rmSync(to);
});

test('real model files open, and their rows add up', async () => {
  const models = join(import.meta.dirname, '../../../shared/models');
  for (const name of ['mnist-mlp/model', 'verse-4m/model']) {
    const from = join(models, `${name}.safetensors`);
    if (!existsSync(from)) {
      skip(`safetensors of ${name}`, 'the sample models are not here');
      continue;
    }
    const r = await openSafetensors(from);
    assert.ok(r.names.length > 0);
    for (const t of r.tensors.values()) {
      const rows = t.shape[0] ?? 1;
      const middle = Math.floor(rows / 2);
      const all = await r.readRows(t.name);
      const parts = [
        ...(await r.readRows(t.name, 0, middle)),
        ...(await r.readRows(t.name, middle)),
      ];
      assert.equal(parts.length, all.length);
      assert.ok(
        all.every((x, i) => Object.is(x, parts[i]) && Number.isFinite(x)),
        t.name,
      );
    }
    await r.close();
  }
});

test.after(() => rmSync(root, { recursive: true, force: true }));
test.run();
