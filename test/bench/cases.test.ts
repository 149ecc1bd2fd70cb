// The benchmarks' cases at small sizes: every kernel of Quern in them compiles and is right. Nothing is timed here, and the peers,
// which are no dependencies of the project, take no part.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { groups, idsOf } from '../../bench/cases/index.ts';
import { matmulCases, ownFormats } from '../../bench/cases/matmul.ts';
import type { Context } from '../../bench/contest.ts';
import { type Codes, Product, perChannel, transpose } from '../../bench/product.ts';
import { type CaseResult, quern } from '../../bench/results.ts';
import { laneRows, panels } from '../../bench/subjects/hand-layout.ts';
import { handOver } from '../../bench/subjects/hand-over.ts';
import { onnxModel } from '../../bench/subjects/onnx.ts';
import { packedCodes } from '../../bench/subjects/ort.ts';
import { skip } from '../support/skip.ts';

const repo = fileURLToPath(new URL('../..', import.meta.url));

async function resultsOf(
  run: (c: Context) => Promise<void>,
  wants: (id: string) => boolean = () => true,
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  await run({
    quick: true,
    pace: { rounds: 1, turn: 0, warm: 0, settle: 0, clock: 'elapsed' },
    coldBytes: 0,
    peers: false,
    wants,
    report: (r) => void results.push(r),
  });
  return results;
}

const failures = (results: readonly CaseResult[]): string[] =>
  results.flatMap((r) =>
    r.absent.filter((a) => a.failed).map((a) => `${r.id}: ${a.column}: ${a.reason}`),
  );

const test = suite('cases of the benchmarks');

test('products in every format are right, odd number of blocks and all', async () => {
  const results = await resultsOf(
    (c) => matmulCases(c, 64, 768),
    (id) => !id.includes('M=16 '),
  );
  assert.equal(failures(results), []);
  const missing = results.filter((r) => !quern(r)).map((r) => r.id);
  // Formats that are named before they are in the library are absent, by name.
  const known = readFileSync(`${repo}/ops/formats/index.ts`, 'utf8');
  const unknown = ownFormats.filter((f) => !new RegExp(`\\b${f.name}\\b`).test(known));
  assert.equal(
    missing,
    unknown.map((f) => `gemv ${f.label} 64x768 cold`),
  );
  // The hand-written kernels are read from outside, and need instructions that not every engine has.
  if (!existsSync(new URL('../../../shared/perf/wat_kernels.mjs', import.meta.url)))
    skip('hand-written kernels', 'no ../shared/perf beside this checkout');
  else if (results[0]!.absent.some((a) => a.reason.includes('relaxed SIMD')))
    skip('hand-written kernels', 'this engine has no relaxed SIMD');
  else
    for (const r of results.filter((c) => /^gemv (q4_0|q8_0|2-bit|f32)/.test(c.id)))
      assert.ok(
        r.timed.some((t) => t.column === 'hand'),
        r.id,
      );
});

test('encoders, attention, rows and threads are right', async () => {
  const wanted = [
    'encode q8_0',
    'encode nf4',
    'attention 2-bit',
    'threads q4_0 M=1 ',
    'rows argmax',
    'rows column-sum',
    'rows softmax',
  ];
  const chosen = groups(true).filter((g) =>
    ['encode', 'attention', 'rows', 'threads'].includes(g.name),
  );
  for (const group of chosen) {
    const results = await resultsOf(
      (c) => group.run(c),
      (id) => wanted.some((w) => id.startsWith(w)),
    );
    assert.ok(results.length > 0, group.name);
    assert.equal(failures(results), []);
    assert.ok(results.every((r) => quern(r)));
  }
});

if (availableParallelism() < 2) skip('handing over a line of memory', 'there is one core');
else
  test('handing a line of memory from one thread to another takes a small part of the trials', async () => {
    const begin = performance.now();
    const ns = await handOver();
    const elapsed = (performance.now() - begin) * 1e6;
    assert.ok(ns > 0.5 && 100 * ns < elapsed, `${ns} ns of ${elapsed}`);
  });

/** Codes 0, 1, 2, ... of a tiny matrix. */
function counted(n: number, k: number, bits: 2 | 4 | 8): Codes {
  const mask = 2 ** bits - 1;
  const codes = Array.from({ length: n * k }, (_, i) => (i * 7 + (i >> 5)) & mask);
  const halves = Uint16Array.from({ length: (n * k) / 32 }, (_, i) => 100 + i);
  return { n, k, bits, codes, scales: new Float32Array(halves.length), halves };
}

test('lanes are rows: four consecutive weights of a row are a word of the vector', () => {
  for (const bits of [2, 4, 8] as const)
    for (const groups of [1, 2]) {
      const c = counted(16, 64, bits);
      const bytes = laneRows(c, groups);
      const fields = 8 / bits;
      const block = groups * (8 + 16 * bits);
      assert.is(bytes.length, 4 * 2 * (8 + 16 * bits));
      const halves = new Uint16Array(bytes.buffer);
      for (const [row, b, i] of [
        [0, 0, 0],
        [3, 1, 5],
        [7, 0, 31],
        [14, 1, 18],
      ] as const) {
        const tile = Math.floor(row / (4 * groups));
        const at = (tile * 2 + b) * block;
        const inTile = row % (4 * groups);
        assert.is(halves[at / 2 + inTile], c.halves[row * 2 + b]);
        const stride = 32 / fields;
        const [field, place] = [Math.floor(i / stride), i % stride];
        const body = at + 8 * groups + (inTile >> 2) * 16 * bits;
        const byte = bytes[body + (place >> 2) * 16 + (inTile & 3) * 4 + (place & 3)]!;
        assert.is((byte >> (field * bits)) & (2 ** bits - 1), c.codes[row * 64 + b * 32 + i]);
      }
    }
});

test('panels, transposes and codes of other engines hold every weight once', () => {
  const w = Float32Array.from({ length: 16 * 40 }, (_, i) => i);
  const packed = panels(w, 16, 40);
  assert.is(packed[(1 * 40 + 7) * 8 + 3], w[(8 + 3) * 40 + 7]);
  const turned = transpose(w, 16, 40);
  assert.is(turned[7 * 16 + 11], w[11 * 40 + 7]);
  assert.equal(transpose(turned, 40, 16), w);
  const c = counted(2, 32, 4);
  assert.is(packedCodes(c)[5], c.codes[10]! | (c.codes[11]! << 4));
  assert.is(packedCodes(counted(1, 32, 2)).length, 8);
  assert.is(packedCodes({ ...c, bits: 8, codes: [-127, 0, 127] }).join(), '1,128,255');
});

test('the int8 weights of peers are within half a step of the weights', () => {
  const p = new Product(48, 64);
  const { codes, scales } = perChannel(p);
  for (let i = 0; i < codes.length; i += 1) {
    const scale = scales[Math.floor(i / 64)]!;
    assert.ok(Math.abs(codes[i]! * scale - p.weights[i]!) <= scale * 0.501);
  }
});

test('expected values are those of the whole product', () => {
  const p = new Product(48, 64);
  const { at, values } = p.expected(128, p.weights);
  const last = at.at(-1)!;
  let sum = 0;
  for (let k = 0; k < 64; k += 1)
    sum += p.activations[Math.floor(last / 48) * 64 + k]! * p.weights[(last % 48) * 64 + k]!;
  assert.is(values.at(-1), sum);
  assert.ok(at.some((i) => i < 48) && at.some((i) => i >= 127 * 48));
  assert.ok(at.every((i) => Number.isInteger(i) && i < 128 * 48));
});

/** The fields of a protocol buffer message, by number: varints as numbers, the rest as bytes. */
function fieldsOf(bytes: Uint8Array): [number, number | Uint8Array][] {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const out: [number, number | Uint8Array][] = [];
  while (at < bytes.length) {
    const key = varint();
    if ((key & 7) === 0) out.push([key >> 3, varint()]);
    else {
      assert.is(key & 7, 2);
      const length = varint();
      out.push([key >> 3, bytes.subarray(at, at + length)]);
      at += length;
    }
  }
  assert.is(at, bytes.length);
  return out;
}

test('ONNX models hold one node, its attributes and its constants', () => {
  const data = Uint8Array.from({ length: 300 }, (_, i) => i & 255);
  const model = onnxModel(
    {
      type: 'Op',
      domain: 'com.microsoft',
      inputs: ['X', 'B'],
      attributes: { K: { int: 300 }, z: { int: -1 } },
    },
    [{ name: 'B', type: 'u8', dims: [300, 1], data }],
    300,
    1,
  );
  const part = (bytes: Uint8Array, field: number): Uint8Array[] =>
    fieldsOf(bytes).flatMap(([f, v]) => (f === field && typeof v !== 'number' ? [v] : []));
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  const [graph] = part(model, 7);
  const [node] = part(graph!, 1);
  assert.equal(part(node!, 1).map(text), ['X', 'B']);
  assert.equal([...part(node!, 4), ...part(node!, 7)].map(text), ['Op', 'com.microsoft']);
  const [size] = part(node!, 5);
  assert.equal(
    fieldsOf(size!).filter(([f]) => f === 3),
    [[3, 300]],
  );
  const [constant] = part(graph!, 5);
  assert.equal(
    fieldsOf(constant!).filter(([f]) => f <= 2),
    [
      [1, 300],
      [1, 1],
      [2, 2],
    ],
  );
  assert.equal(part(constant!, 9), [data]);
  assert.is(part(graph!, 11).length + part(graph!, 12).length, 2);
});

const bench = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', './scripts/typescript.js', 'bench/run.ts', ...args], {
    cwd: repo,
    encoding: 'utf8',
  });

test('--list names the cases of a run, and --only picks by words', async () => {
  const { status, stdout } = bench('--list', '--only', 'gemm f32 M=16,encode q4');
  assert.is(status, 0);
  const ids = (await Promise.all(groups(false).map((g) => idsOf(g, false)))).flat();
  const picked = ids.filter((id) => /^gemm f32 M=16 |^encode q4/.test(id));
  assert.is(picked.length, 6);
  assert.is(stdout.trim(), picked.join('\n'));
});

test('wrong usage is told, with nothing installed or measured', () => {
  for (const [args, said] of [
    [['--only', 'no such case'], /no case matches --only no such case/],
    [['--fast'], /Unknown option '--fast'/],
    [['gemv'], /Unexpected argument 'gemv'/],
    [['--write', '--quick'], /publishes a full run/],
    [['--write', '--only', 'encode'], /publishes a full run/],
    [['--write', '--cpu'], /publishes a full run/],
  ] as const) {
    const { status, stderr, stdout } = bench(...args);
    assert.is(status, 2, stderr);
    assert.match(stderr, said);
    assert.is(stdout, '');
  }
});

test('peers are dependencies of the benchmarks alone, and exact', () => {
  const read = (file: string) =>
    JSON.parse(readFileSync(`${repo}/${file}`, 'utf8')) as {
      readonly [group: string]: { readonly [name: string]: string };
    };
  const own = read('package.json');
  const peers = read('bench/package.json');
  const names = Object.keys({ ...peers.dependencies, ...peers.optionalDependencies });
  assert.ok(names.length > 5);
  // But what a device of Quern's own runs on is there for its tests.
  for (const name of names.filter((n) => !(n in own.peerDependencies!)))
    assert.not.ok(name in { ...own.dependencies, ...own.devDependencies });
  const versions = Object.values({ ...peers.dependencies, ...peers.optionalDependencies });
  assert.ok(versions.every((v) => /^\d+\.\d+\.\d+$/.test(v)));
});

test.run();
