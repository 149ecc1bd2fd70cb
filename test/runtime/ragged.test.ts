// upTo(): results whose length the data decide come back with that length, in memory of that size, on devices whose memory
// the host sees and on others; interpreters and packages have the bound and the length beside it.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { array, chain, type DeviceTensor, load, type Results } from '../../index.ts';
import type { DeviceBuffer } from '../../runtime/devices/device.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';

const test = suite('upTo()');
const text = `
import { at, dim, i32, range, set, sum, u5, upTo, zeros, zerosLike } from 'quern';
import type { Dim, Tensor, f32 } from 'quern';
export function positive<N extends Dim>(x: Tensor<f32, [N]>) {
  let out = zerosLike(x);
  let places = zeros([dim(x, 0), 3], i32);
  let n = i32(0);
  for (const i of range(dim(x, 0))) {
    const v = at(x, i);
    out = set(out, v, v > 0 ? n : -1);
    places = set(places, i, v > 0 ? n : -1);
    n = n + i32(v > 0);
  }
  const kept = upTo(out, n);
  return { kept, places: upTo(places, n), small: upTo(u5(out), n), total: sum(kept), all: kept + 0 };
}
export function beyond<N extends Dim>(x: Tensor<f32, [N]>) {
  return { inner: { x: upTo(x, i32(sum(x))) } };
}
`;
type Kernels = { readonly [name: string]: (...args: unknown[]) => Promise<Results> };
const open = async (device: WasmDevice | 'reference'): Promise<Kernels> =>
  (await load('/ragged/kernel.ts', {
    device,
    host: { readFile: () => text },
  })) as unknown as Kernels;
const f32s = (...values: number[]) => array(Float32Array.from(values), [values.length]);

/** A device whose memory the host must ask for. */
class Distant extends WasmDevice {
  override view = undefined as never;
  override read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    return Promise.resolve(WasmDevice.prototype.view.call(this, buffer, offset, bytes).slice());
  }
}

test('the true length, wherever it runs', async () => {
  const wasm = new WasmDevice({ threads: 1 });
  for (const device of [wasm, new Distant({ threads: 1 }), 'reference'] as const) {
    const kernels = await open(device);
    for (const x of [[1, -2, 3, 0, 5], [-1, -1], [], [4, 4, 4]]) {
      const want = x.filter((v) => v > 0);
      const r = (await kernels.positive!(f32s(...x))) as Record<string, DeviceTensor>;
      assert.equal(Object.keys(r), ['kept', 'places', 'small', 'total', 'all']);
      assert.equal([...(await r.kept!.data())], want);
      assert.equal([...r.places!.shape], [want.length, 3]);
      assert.equal([...(await r.small!.data())], want);
      // Within the kernel, and of what is made from it, the bound counts.
      assert.is(r.all!.shape[0], x.length);
      assert.is(
        (await r.total!.data())[0],
        want.reduce((a, b) => a + b, 0),
      );
      for (const t of Object.values(r)) t.dispose();
    }
  }
  assert.is(wasm.blocks, 0);
});

test('in a chain, lengths are known as soon as the result is there', async () => {
  for (const blocking of [true, false]) {
    const device = new WasmDevice({ threads: 2, worth: 0, blocking });
    await device.start();
    const kernels = await open(device);
    const made = await chain(async () => {
      const first = (await kernels.positive!(f32s(1, -2, 3, 4))) as Record<string, DeviceTensor>;
      assert.equal([...first.kept!.shape], [3]);
      const again = (await kernels.positive!(first.kept!)) as Record<string, DeviceTensor>;
      return again.kept!;
    });
    assert.equal([...(await made.data())], [1, 3, 4]);
    device.close();
  }
});

test('a length beyond the bound is the bound, one below 0 is 0', async () => {
  const kernels = await open(new WasmDevice({ threads: 1 }));
  for (const [x, want] of [
    [[9, 1], 2],
    [[-3, 1], 0],
    [[0.5, 0.5], 1],
  ] as const) {
    const r = (await kernels.beyond!(f32s(...x))) as Record<string, DeviceTensor>;
    assert.is(r['inner.x']!.shape[0], want);
  }
});

test.run();
