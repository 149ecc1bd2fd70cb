// The same bits from one thread and from several, whatever is computed and however small or odd it is.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { pack, unpack } from '../../runtime/pack.ts';
import { DimSolver, compilePoly } from '../../runtime/poly.ts';
import type { ArgInfo, Artifact, TensorInfo } from '../../compiler/artifact.ts';
import type { HostArray } from '../../compiler/index.ts';
import { type Case, hostOf, requestOf, sourceOf } from '../conformance/case.ts';
import { cases } from '../conformance/coverage.ts';
import { counts, noise, same, threaded } from './harness.ts';

const test = suite('the same bits on any number of threads');
const one = new WasmDevice({ threads: 1 });
const devices = [one, ...(await Promise.all(counts.map((n) => threaded(n))))];
const q4_0 = 'quern/formats';

for (const n of [1, 7, 33, 1000, 4097])
  test(`elementwise over ${n}`, () =>
    same(devices, (k) => k.elementwise!(noise([n]), noise([n], 2))));

for (const [m, n, k] of [
  [1, 64, 64],
  [1, 67, 96],
  [2, 13, 32],
  [3, 4, 32],
  [5, 37, 64],
  [16, 130, 128],
] as const)
  test(`products ${m} x ${k} by ${n} rows of q4_0 and of a narrow format`, () =>
    same(devices, async (kernels) => {
      const w = await kernels.narrowed!.encode(noise([n, k]));
      const result = await kernels.linear!(noise([m, k], 3), w);
      return { w, result };
    }));

for (const [m, n, k] of [
  [1, 1120, 64],
  [3, 576, 32],
  [5, 288, 64],
  [230, 544, 32],
] as const)
  test(`encodings that follow products ${m} x ${k} by ${n} rows piece by piece`, () =>
    same(devices, async (kernels) => {
      const w = await kernels.narrowed!.encode(noise([n, k]));
      const x = noise([m, k], 3);
      return {
        both: await kernels.encodedProduct!(x, w),
        alone: await kernels.encodedAlone!(x, w),
      };
    }));

for (const m of [1, 7, 150])
  test(`softmax of ${m} rows of scores, in the kernel of the scores`, () =>
    same(devices, (k) => k.scores!(noise([m, 40]), noise([64, 40], 2))));

test('a chain of products waits between its kernels', () =>
  same(devices, (k) => k.chain!(noise([5, 40]), noise([29, 40], 2), noise([40, 29], 3))));
for (const [m, n] of [
  [1, 5],
  [7, 33],
  [64, 100],
] as const)
  test(`softmax, narrow results and totals of ${m} x ${n}`, () =>
    same(devices, async (k) => ({
      softmax: await k.softmax!(noise([m, n])),
      narrow: await k.narrow!(noise([m, n])),
      total: await k.total!(noise([m, n])),
    })));
test('columns narrower than a byte', () =>
  same(devices, (k) => k.narrowProduct!(noise([5, 32]), noise([13, 32], 2))));
test('attention over heads', () =>
  same(devices, (k) =>
    k.attention!(noise([3, 5, 16]), noise([3, 21, 16], 2), noise([3, 21, 16], 3)),
  ));
test('attention over keys that lie channel by channel', () =>
  same(devices, (k) =>
    k.attentionByChannel!(noise([3, 5, 16]), noise([3, 16, 21], 2), noise([3, 21, 16], 3)),
  ));
test('rows with scratch of their own keep apart', () =>
  same(devices, (k) => k.relax!(noise([37, 24]))));

for (const format of ['q4_0', 'q8_0', 'nf4', 'q4_K', 'q6_K', 'iq4_nl'])
  test(`encoding and decoding ${format}`, () =>
    same(
      devices,
      async (k) => {
        const w = await k[format]!.encode(noise([9, 512]));
        return { w, decoded: await k[format]!.decode(w) };
      },
      q4_0,
    ));

// ---- the cases of the conformance suite ----

const tensorsOf = (args: readonly ArgInfo[]): TensorInfo[] =>
  args.flatMap((a): readonly TensorInfo[] => (a.kind === 'tensor' ? [a] : a.fields));

async function bits(
  device: WasmDevice,
  artifact: Artifact,
  inputs: readonly HostArray[],
): Promise<string[]> {
  const { manifest } = artifact;
  const dims: number[] = [];
  const params = tensorsOf(manifest.params).map((t) => ({ ...t, kind: 'tensor' as const }));
  new DimSolver(manifest, params).solve(
    inputs.map((x) => x.shape),
    dims,
  );
  const executable = await device.load(artifact);
  const buffers = inputs.map((x) => {
    const bytes = pack(x.dtype, x.shape, x.data);
    const b = device.allocate(bytes.length);
    device.write(b, 0, bytes);
    return b;
  });
  const made = await executable.run(buffers, dims);
  const out = tensorsOf(manifest.results).map((t, i) => {
    const shape = t.shape.map((s) => compilePoly(s, manifest.dims)(dims));
    const data = unpack(t.dtype, shape, device.view(made[i]!, 0, made[i]!.bytes).slice());
    return `${t.name} ${Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')}`;
  });
  for (const b of [...buffers, ...made]) device.free(b);
  return out;
}

async function agrees(c: Case): Promise<boolean> {
  const { artifact } = await compile(
    { ...requestOf('kernel'), target: 'wasm', threads: true },
    hostOf(sourceOf(c)),
  );
  for (const inputs of c.calls) {
    const want = await bits(one, artifact, inputs);
    assert.equal(await bits(devices[2]!, artifact, inputs), want, c.name);
  }
  return artifact.variants?.threads !== undefined;
}

test('every case of the conformance suite', async () => {
  let shared = 0;
  for (const c of cases) if (await agrees(c)) shared += 1;
  assert.ok(shared > cases.length / 4, `only ${shared} of ${cases.length} cases share anything`);
});

test('nothing is left behind', () => {
  for (const d of devices.slice(1)) d.close();
});

test.run();
