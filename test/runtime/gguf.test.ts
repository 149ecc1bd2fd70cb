// GGUF files: round trips, split files, every way in which a head can lie, and damage of any kind.
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { describe } from '../../compiler/index.ts';
import { dtypes } from '../../compiler/ir/dtype.ts';
import { QuernError } from '../../runtime/errors.ts';
import { encodeHead, type GgufPlan, NeedMore, parseHead } from '../../runtime/files/gguf/header.ts';
import { openGguf, partName } from '../../runtime/files/gguf/reader.ts';
import { ggmlTypes } from '../../runtime/files/gguf/types.ts';
import {
  arrayInfo,
  boolValue,
  describeValue,
  encodeString,
  type GgufValue,
  numberOf,
  numbersOf,
  numbersValue,
  numberValue,
  stringOf,
  stringsOf,
  stringsValue,
  stringValue,
  type ValueType,
  valueTypes,
} from '../../runtime/files/gguf/values.ts';

const test = suite('gguf');
const root = mkdtempSync(join(tmpdir(), 'quern-gguf-'));
test.after(() => rmSync(root, { recursive: true, force: true }));
const path = (name: string): string => join(root, name);

const u32 = (n: number): Buffer => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(n);
  return b;
};
const u64 = (n: number | bigint): Buffer => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt(n));
  return b;
};
const text = (s: string | Buffer, length: number | bigint = Buffer.byteLength(s)): Buffer =>
  Buffer.concat([u64(length), Buffer.from(s)]);
const start = (tensors: number | bigint, values: number | bigint, version = 3): Buffer =>
  Buffer.concat([Buffer.from('GGUF'), u32(version), u64(tensors), u64(values)]);
const listed = (
  name: string | Buffer,
  dims: (number | bigint)[],
  type: number,
  offset: number | bigint,
) => Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)]);
/** A file of these tensors without metadata, its data aligned to 32. */
const file = (tensors: Buffer[], data = 0): Buffer => {
  const head = Buffer.concat([start(tensors.length, 0), ...tensors]);
  return Buffer.concat([head, Buffer.alloc(Math.ceil(head.length / 32) * 32 - head.length + data)]);
};
const parse = (bytes: Uint8Array) => parseHead('f', bytes, bytes.length);
const refused = (bytes: Uint8Array): string => {
  const began = performance.now();
  const before = process.memoryUsage();
  try {
    parse(bytes);
  } catch (e) {
    assert.ok(e instanceof QuernError, String(e));
    assert.ok(performance.now() - began < 500, 'within milliseconds');
    const after = process.memoryUsage();
    assert.ok(after.arrayBuffers - before.arrayBuffers < 4e6, 'in a few MB');
    return e.message;
  }
  return 'accepted';
};

/** A whole file in memory. */
function make(metadata: Map<string, GgufValue>, plans: GgufPlan[]): Buffer {
  const { bytes, places, size } = encodeHead('f', metadata, plans);
  const out = Buffer.alloc(size);
  out.set(bytes);
  for (const [i, p] of places.entries()) out.fill(i + 1, p.offset, p.offset + p.bytes);
  return out;
}
const sample = (): Buffer =>
  make(
    new Map<string, GgufValue>([
      ['general.architecture', stringValue('llama')],
      ['general.alignment', numberValue('u32', 64)],
      ['tokens', stringsValue(['a', 'ü', '', '€'])],
      ['scores', numbersValue('f32', [1.5, -2])],
      ['tied', boolValue(true)],
    ]),
    [
      { name: 'a', type: 0, shape: [3, 5] },
      { name: 'b', type: 2, shape: [2, 3, 64] },
      { name: 'scalar', type: 1, shape: [] },
      { name: 'none', type: 0, shape: [0, 32] },
      { name: 'k', type: 12, shape: [2, 256] },
    ],
  );

test('what is written is read back, aligned, with its metadata', async () => {
  writeFileSync(path('a.gguf'), sample());
  const r = await openGguf(path('a.gguf'));
  assert.is(r.version, 3);
  assert.is(r.alignment, 64);
  assert.is(stringOf(r.metadata.get('general.architecture')), 'llama');
  assert.equal(stringsOf(r.metadata.get('tokens')), ['a', 'ü', '', '€']);
  assert.equal(numbersOf(r.metadata.get('scores')), [1.5, -2]);
  assert.is(numberOf(r.metadata.get('tied')), 1);
  assert.equal(
    [...r.tensors.values()].map((t) => [t.name, t.type, t.shape, t.bytes]),
    [
      ['a', 0, [3, 5], 60],
      ['b', 2, [2, 3, 64], 216],
      ['scalar', 1, [], 2],
      ['none', 0, [0, 32], 0],
      ['k', 12, [2, 256], 288],
    ],
  );
  for (const t of r.tensors.values()) assert.is(t.offset % 64, 0);
  assert.equal(await r.readBytes('b', 36, 40), new Uint8Array(4).fill(2));
  assert.equal(await r.readBytes('none'), new Uint8Array(0));
  const outside = await r.readBytes('b', 0, 217).catch((e: unknown) => String(e));
  assert.match(String(outside), /Q6105/);
  assert.match(String(await r.readBytes('zz').catch((e: unknown) => e)), /Q6104/);
  await r.close();
});

test('the bytes are those of the specification', () => {
  const { bytes } = encodeHead('f', new Map([['k', numberValue('u16', 7)]]), [
    { name: 't', type: 8, shape: [2, 32] },
  ]);
  const expected = Buffer.concat([
    start(1, 1),
    text('k'),
    u32(2),
    Buffer.from([7, 0]),
    listed('t', [32, 2], 8, 0),
  ]);
  assert.equal(Buffer.from(bytes.subarray(0, expected.length)), expected);
  assert.is(bytes.length, 96);
});

test('every kind of value makes the round trip, and is described', () => {
  const values: [GgufValue, unknown, string][] = [
    [numberValue('u8', 255), 255, '255'],
    [numberValue('i8', -3), -3, '-3'],
    [numberValue('i16', -300), -300, '-300'],
    [numberValue('i32', -70000), -70000, '-70000'],
    [numberValue('f32', 0.5), 0.5, '0.5'],
    [numberValue('u64', 2 ** 40), 2 ** 40, String(2 ** 40)],
    [numberValue('i64', -(2 ** 40)), -(2 ** 40), String(-(2 ** 40))],
    [numberValue('f64', 0.1), 0.1, '0.1'],
    [boolValue(false), 0, 'false'],
  ];
  const map = new Map<string, GgufValue>(values.map(([v], i) => [`k${i}`, v]));
  const long = numbersValue('i32', [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  map.set('long', long);
  const read = parse(make(map, [])).metadata;
  assert.equal([...read.keys()], [...map.keys()]);
  for (const [i, [v, x, shown]] of values.entries()) {
    const got = read.get(`k${i}`)!;
    assert.is(got.type, v.type);
    assert.is(numberOf(got), x);
    assert.is(describeValue(got), shown);
  }
  assert.equal(arrayInfo(read.get('long')!), { type: 'i32', count: 9 });
  assert.is(describeValue(long), 'i32[9]');
  assert.is(describeValue(stringsValue(['a'])), '["a"]');
  assert.is(describeValue(stringValue('x"')), '"x\\""');
});

const aligned = (n: number): Buffer => Buffer.concat([text('general.alignment'), u32(4), u32(n)]);
const hostile: [string, () => Buffer, RegExp][] = [
  ['nothing', () => Buffer.alloc(0), /Q6108.*truncated/],
  ['another format', () => Buffer.from('PK\u0003\u0004aaaaaaaaaaaaaaaaaaaaaa'), /Q6108.*GGUF/],
  ['version 1', () => start(0, 0, 1), /Q6108.*version 1;/],
  ['a version of the future', () => start(0, 0, 9), /Q6108.*version 9/],
  ['big-endian', () => Buffer.from('GGUF\0\0\0\u0003'), /Q6108.*big-endian/],
  ['2^60 tensors', () => start(2n ** 60n, 0), /Q6108.*tensors/],
  ['2^52 tensors', () => start(2 ** 52, 0), /Q6108.*number of tensors.*truncated/],
  ['2^63 values', () => start(0, 2n ** 63n), /Q6108.*values/],
  ['a key of 2^62 bytes', () => Buffer.concat([start(0, 1), text('x', 2n ** 62n)]), /Q6108/],
  [
    'a string past the end',
    () => Buffer.concat([start(0, 1), text('k'), u32(8), text('x', 99)]),
    /Q6108.*"k".*99/,
  ],
  [
    'an array of 2^40 bytes',
    () => Buffer.concat([start(0, 1), text('k'), u32(9), u32(0), u64(2 ** 40)]),
    /Q6108.*length of "k"/,
  ],
  [
    'an array whose bytes overflow',
    () => Buffer.concat([start(0, 1), text('k'), u32(9), u32(12), u64(2n ** 61n + 1n)]),
    /Q6108/,
  ],
  [
    'arrays nested without end',
    () =>
      Buffer.concat([
        start(0, 1),
        text('k'),
        u32(9),
        ...Array.from({ length: 5000 }, () => Buffer.concat([u32(9), u64(1)])),
      ]),
    /Q6108.*nests/,
  ],
  [
    'an unknown value type',
    () => Buffer.concat([start(0, 1), text('k'), u32(99), u64(0)]),
    /Q6108.*type 99/,
  ],
  [
    'an unknown element type',
    () => Buffer.concat([start(0, 1), text('k'), u32(9), u32(13), u64(0)]),
    /Q6108.*type 13/,
  ],
  [
    'a key twice',
    () =>
      Buffer.concat([
        start(0, 2),
        ...[1, 2].map((n) => Buffer.concat([text('k'), u32(4), u32(n)])),
      ]),
    /Q6108.*"k" twice/,
  ],
  [
    'a key that is not UTF-8',
    () => Buffer.concat([start(0, 1), text(Buffer.from([0xff, 0xfe])), u32(4), u32(0)]),
    /Q6108.*UTF-8/,
  ],
  [
    'a token that is not UTF-8',
    () =>
      Buffer.concat([start(0, 1), text('k'), u32(9), u32(8), u64(1), text(Buffer.from([0xc3]))]),
    /Q6108.*"k".*UTF-8/,
  ],
  [
    'a cut value',
    () => Buffer.concat([start(0, 1), text('k'), u32(4), Buffer.from([1, 2])]),
    /Q6108.*truncated/,
  ],
  ['an alignment of 0', () => Buffer.concat([start(0, 1), aligned(0)]), /Q6108.*alignment/],
  ['an alignment of 24', () => Buffer.concat([start(0, 1), aligned(24)]), /Q6108.*alignment/],
  [
    'an alignment that is text',
    () => Buffer.concat([start(0, 1), text('general.alignment'), u32(8), text('32')]),
    /Q6108.*alignment/,
  ],
  [
    'a tensor twice',
    () => file([listed('t', [32], 0, 0), listed('t', [32], 0, 128)], 256),
    /Q6109.*taken/,
  ],
  ['a tensor without a name', () => file([listed('', [32], 0, 0)], 128), /Q6109.*name/],
  ['a name of 64 bytes', () => file([listed('n'.repeat(64), [32], 0, 0)], 128), /Q6109.*63/],
  [
    'a name that is not UTF-8',
    () => file([listed(Buffer.from([0x80]), [32], 0, 0)], 128),
    /Q6108.*UTF-8/,
  ],
  ['5 dims', () => file([listed('t', [1, 1, 1, 1, 1], 0, 0)], 32), /Q6109.*5 dims/],
  [
    'a shape that overflows',
    () => file([listed('t', [2 ** 40, 2 ** 40], 0, 0)], 32),
    /Q6109.*too large/,
  ],
  [
    'an overflow hidden by a zero',
    () => file([listed('t', [0, 2 ** 50, 2 ** 50], 0, 0)], 32),
    /Q6109|accepted/,
  ],
  [
    'an overflow before a zero',
    () => file([listed('t', [2 ** 50, 2 ** 50, 0], 0, 0)], 32),
    /Q6109.*too large/,
  ],
  ['a dim of 2^64 - 1', () => file([listed('t', [2n ** 64n - 1n], 0, 0)], 32), /Q6108/],
  ['a removed type', () => file([listed('t', [32], 4, 0)], 128), /Q6109.*type 4,/],
  ['an unknown type', () => file([listed('t', [32], 4000, 0)], 128), /Q6109.*4000/],
  ['half a block', () => file([listed('t', [48], 2, 0)], 128), /Q6109.*48.*32/],
  ['an offset that is not aligned', () => file([listed('t', [8], 0, 16)], 128), /Q6109.*alignment/],
  [
    'an offset past the end',
    () => file([listed('t', [32], 0, 2 ** 50)], 128),
    /Q6109.*after the file/,
  ],
  ['an offset of 2^64 - 32', () => file([listed('t', [32], 0, 2n ** 64n - 32n)], 128), /Q6108/],
  ['data past the end', () => file([listed('t', [64], 0, 0)], 128), /Q6109.*truncated/],
  [
    'data that overlaps',
    () => file([listed('a', [64], 0, 0), listed('b', [32], 0, 128)], 256),
    /Q6109.*"b".*overlaps "a"/,
  ],
];
for (const [what, bytes, message] of hostile)
  test(`${what} is refused`, () => assert.match(refused(bytes()), message));

test('a file that is cut anywhere is refused with the place', () => {
  const whole = sample();
  const { tensors } = parse(whole);
  const last = [...tensors.values()].at(-1)!;
  for (let n = 0; n < last.offset + last.bytes; n++)
    assert.match(refused(whole.subarray(0, n)), /Q610[89]/);
  parse(whole.subarray(0, last.offset + last.bytes));
});

test('a head that is longer than what was read asks for more, and never beyond the file', () => {
  const whole = sample();
  const { dataStart } = parse(whole);
  for (let n = 0; n < dataStart - 40; n++)
    try {
      parseHead('f', whole.subarray(0, n), whole.length);
      assert.unreachable('it cannot be complete');
    } catch (e) {
      assert.ok(e instanceof NeedMore, String(e));
      assert.ok(e.length > n && e.length <= dataStart);
    }
});

test('changed bytes are refused or read, never worse', () => {
  const whole = sample();
  const { dataStart } = parse(whole);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(dataStart - 1), fc.integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 6,
      }),
      fc.nat(whole.length),
      (changes, cut) => {
        const bytes = Buffer.from(whole);
        for (const [at, b] of changes) bytes[at] = b;
        for (const input of [bytes, bytes.subarray(0, cut)]) {
          let head: ReturnType<typeof parse>;
          const began = performance.now();
          try {
            head = parse(input);
          } catch (e) {
            assert.ok(e instanceof QuernError, String(e));
            continue;
          } finally {
            assert.ok(performance.now() - began < 500);
          }
          for (const t of head.tensors.values())
            assert.ok(t.bytes === 0 || t.offset + t.bytes <= input.length);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('random bytes behind a true beginning are refused or read, never worse', () => {
  fc.assert(
    fc.property(
      fc.nat(3),
      fc.nat(3),
      fc.uint8Array({ maxLength: 400 }),
      (tensors, values, rest) => {
        assert.match(refused(Buffer.concat([start(tensors, values), rest])), /Q610[89]|accepted/);
      },
    ),
    { numRuns: 2000 },
  );
});

test('any metadata and tensors make the round trip, the same each time', () => {
  const value = fc.oneof(
    fc.string({ unit: 'binary' }).map(stringValue),
    fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 5 }).map(stringsValue),
    fc
      .array(fc.integer({ min: -100, max: 100 }), { maxLength: 9 })
      .map((a) => numbersValue('i32', a)),
    fc
      .tuple(fc.constantFrom<ValueType>(...valueTypes), fc.integer({ min: 0, max: 1 }))
      .map(([t, n]) => (t === 'string' || t === 'array' ? stringValue('s') : numberValue(t, n))),
  );
  const types = Object.keys(ggmlTypes).map(Number);
  const tensor = fc
    .tuple(fc.constantFrom(...types), fc.array(fc.nat(3), { maxLength: 3 }), fc.nat(2))
    .map(([type, outer, blocks]) => ({ type, shape: [...outer, blocks * ggmlTypes[type]!.block] }));
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), value),
      fc.array(tensor, { maxLength: 5 }),
      (dictionary, list) => {
        const metadata = new Map(Object.entries(dictionary));
        const plans = list.map((t, i) => ({ name: `t${i}`, ...t }));
        const bytes = make(metadata, plans);
        assert.equal(make(metadata, plans), bytes);
        const head = parse(bytes);
        assert.equal([...head.metadata], [...metadata]);
        assert.equal(
          [...head.tensors.values()].map(({ name, type, shape }) => ({ name, type, shape })),
          plans,
        );
      },
    ),
    { numRuns: 200 },
  );
});

test('a writer refuses what no reader would take', () => {
  const write = (metadata: Map<string, GgufValue>, plans: GgufPlan[]) => () =>
    encodeHead('f', metadata, plans);
  const one = (p: Partial<GgufPlan>) =>
    write(new Map(), [{ name: 't', type: 0, shape: [32], ...p }]);
  assert.throws(one({ name: 'n'.repeat(64) }), /Q6109.*63/);
  assert.throws(one({ type: 5 }), /Q6109.*no ggml type/);
  assert.throws(one({ shape: [1, 1, 1, 1, 1] }), /Q6109.*5 dims/);
  assert.throws(one({ shape: [-1] }), /Q6109.*not a shape/);
  assert.throws(one({ type: 2, shape: [33] }), /Q6109.*q4_0/);
  assert.throws(
    write(
      new Map(),
      [1, 2].map(() => ({ name: 't', type: 0, shape: [] })),
    ),
    /Q6109.*taken/,
  );
  assert.throws(
    write(new Map([['general.alignment', numberValue('u32', 3)]]), []),
    /Q6108.*alignment/,
  );
});

const split = (no: number, count: number, total: number) =>
  new Map<string, GgufValue>([
    ...(no === 0 ? ([['general.name', stringValue('whole')]] as const) : []),
    ['split.no', numberValue('u16', no)],
    ['split.count', numberValue('u16', count)],
    ['split.tensors.count', numberValue('i32', total)],
  ]);

test('a split file is read through any of its parts', async () => {
  for (const no of [0, 1])
    writeFileSync(
      path(partName('m', no, 2)),
      make(split(no, 2, 2), [{ name: `t${no}`, type: 0, shape: [4] }]),
    );
  for (const no of [0, 1]) {
    const r = await openGguf(path(partName('m', no, 2)));
    assert.equal([...r.tensors.keys()], ['t0', 't1']);
    assert.equal([...r.metadata.keys()], ['general.name']);
    assert.is(r.parts.length, 2);
    assert.equal(await r.readBytes('t1', 0, 2), new Uint8Array([1, 1]));
    await r.close();
  }
});

test('parts that do not fit together are refused', async () => {
  const fails = async (name: string, pattern: RegExp) =>
    assert.match(String(await openGguf(path(name)).catch((e: unknown) => e)), pattern);
  writeFileSync(path('renamed.gguf'), make(split(0, 2, 2), []));
  await fails('renamed.gguf', /Q6110.*does not end in/);
  writeFileSync(
    path(partName('n', 0, 2)),
    make(split(0, 2, 2), [{ name: 't', type: 0, shape: [4] }]),
  );
  await fails(partName('n', 0, 2), /Q6101/);
  writeFileSync(path(partName('n', 1, 2)), make(split(0, 2, 2), []));
  await fails(partName('n', 0, 2), /Q6110.*part 0/);
  writeFileSync(
    path(partName('n', 1, 2)),
    make(split(1, 2, 2), [{ name: 't', type: 0, shape: [4] }]),
  );
  await fails(partName('n', 0, 2), /Q6110.*two parts/);
  writeFileSync(path(partName('n', 1, 2)), make(split(1, 2, 2), []));
  await fails(partName('n', 0, 2), /Q6110.*1 tensors.*2/);
});

test('a file that claims to be huge is refused without reading it', async () => {
  // Sparse: 64 GB that take no disk, with an array that goes through all of it.
  const f = openSync(path('sparse.gguf'), 'w');
  writeSync(f, Buffer.concat([start(0, 1), text('k'), u32(9), u32(0), u64(60e9)]));
  ftruncateSync(f, 64e9);
  closeSync(f);
  const began = performance.now();
  const message = String(await openGguf(path('sparse.gguf')).catch((e: unknown) => e));
  assert.match(message, /Q6108.*metadata takes more/);
  assert.ok(performance.now() - began < 500);
});

test('every ggml type has a format of as many bytes a block, or is plain numbers', () => {
  const formats = new Map(describe('quern/formats').exports.map((e) => [e.name, e]));
  for (const { name, block, bytes, dtype, format } of Object.values(ggmlTypes)) {
    if (!format) {
      assert.is(block, 1, name);
      if (dtype) assert.is((dtypes[dtype].bits / 8) * block, bytes, name);
      continue;
    }
    const e = formats.get(format);
    assert.ok(e?.kind === 'format' && e.hasLayout, `${name} has a format with a layout`);
    // An element, a group or a block of the format each divide the block of the file.
    assert.is(block % e.block.reduce((a, b) => a * b, 1), 0, name);
  }
});

test('a string is its length and its UTF-8', () =>
  assert.equal(Buffer.from(encodeString('ü')), Buffer.concat([u64(2), Buffer.from('ü')])));

test.run();
