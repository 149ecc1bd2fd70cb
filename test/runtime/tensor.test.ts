// Tensors on a device: views, writes, lifetimes; and scopes, with and without AsyncLocalStorage.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ReferenceDevice } from '../../runtime/devices/reference.ts';
import { WasmDevice } from '../../runtime/devices/wasm.ts';
import { scope, scopeWith, stackTracker } from '../../runtime/scope.ts';
import { DeviceTensor, EncodedTensor, array } from '../../runtime/tensor.ts';

const test = suite('tensor');
const devices = [new WasmDevice(), new ReferenceDevice()];
const values = async (t: DeviceTensor) => [...(await t.data())];
const make = (device = devices[0]!) => DeviceTensor.from(device, array([1, 2], [2], 'i32'));

for (const device of devices) {
  test(`${device.kind}: data() gives logical values and raw() the storage`, async () => {
    const t = DeviceTensor.from(device, array([1, 2, 3, 15, 0, 7], [2, 3], 'u4'));
    assert.is(t.bytes, 8);
    assert.equal(await t.raw(), new Uint8Array([0x21, 3, 0, 0, 0x0f, 7, 0, 0]));
    assert.equal(await t.data(), new Uint8Array([1, 2, 3, 15, 0, 7]));
    const again = DeviceTensor.fromBytes(device, await t.raw(), 'u4', [2, 3]);
    assert.equal(await again.data(), await t.data());
    assert.throws(() => DeviceTensor.fromBytes(device, new Uint8Array(3), 'u4', [2, 3]), /Q5105/);
    t.dispose();
    again.dispose();
    assert.is(device.used, 0);
  });

  test(`${device.kind}: a view shares memory, and either may be disposed first`, async () => {
    for (const viewFirst of [true, false]) {
      const cache = DeviceTensor.from(device, array(new Float32Array(6), [3, 2]));
      const view = cache.view(2);
      assert.equal(view.shape, [2, 2]);
      cache.write(1, new Float32Array([5, 6]));
      view.write(0, array([1.5, 2.5], [1, 2]));
      assert.equal(await values(view), [1.5, 2.5, 5, 6]);
      assert.equal(await values(cache), [1.5, 2.5, 5, 6, 0, 0]);
      const [first, last] = viewFirst ? [view, cache] : [cache, view];
      first.dispose();
      assert.equal((await values(last)).slice(0, 4), [1.5, 2.5, 5, 6]);
      assert.ok(device.used > 0);
      last.dispose();
      assert.is(device.used, 0);
    }
  });

  test(`${device.kind}: rows are written from tensors too, also onto themselves`, async () => {
    const t = DeviceTensor.from(device, array([1, 2, 3, 4], [4, 1], 'f16'));
    const top = t.view(2);
    t.write(1, top);
    assert.equal(await values(t), [1, 1, 2, 4]);
    t.dispose();
    top.dispose();
  });
}

test('writes that do not fit are refused with the range that would', () => {
  const t = DeviceTensor.from(devices[0]!, array(new Float32Array(6), [3, 2]));
  assert.throws(
    () => t.write(3, new Float32Array(2)),
    /Q5105[\s\S]*rows 3 to 4[\s\S]*within 0 to 3/,
  );
  assert.throws(() => t.write(-1, new Float32Array(2)), /Q5105/);
  assert.throws(() => t.write(0, new Float32Array(3)), /3 elements[\s\S]*a multiple of 2/);
  const half = DeviceTensor.from(devices[0]!, array([1, 2], [1, 2], 'f16'));
  assert.throws(() => t.write(0, half), /f16\[1, 2\][\s\S]*f32 rows of \[2\]/);
  const codes = DeviceTensor.from(devices[0]!, array(new Uint8Array(20), [20], 'u4'));
  assert.throws(() => codes.write(4, new Uint8Array(8)), /whole bytes/);
  assert.throws(() => codes.write(8, new Uint8Array(4)), /whole bytes/);
  codes.write(16, new Uint8Array(4).fill(3));
  assert.throws(
    () => codes.write(0, new Uint8Array(8).fill(16)),
    /Q5014.*holds 16, which u4 cannot/,
  );
  assert.throws(() => t.view(4), /Q5105[\s\S]*0 to 3 rows/);
  assert.throws(() => DeviceTensor.from(devices[0]!, array([1])).view(0.5), /Q5105/);
});

test('a reshape shares memory and keeps padded rows', async () => {
  const t = DeviceTensor.from(devices[0]!, array([1, 2, 3, 4, 5, 6], [2, 3], 'i32'));
  assert.equal(await values(t.reshape([3, 2])), [1, 2, 3, 4, 5, 6]);
  assert.throws(() => t.reshape([4]), /Q5105/);
  const codes = DeviceTensor.from(devices[0]!, array(new Uint8Array(6), [2, 3], 'u4'));
  assert.throws(() => codes.reshape([6]), /the same last axis/);
  assert.equal(codes.reshape([2, 1, 3]).shape, [2, 1, 3]);
});

test('every use after dispose says what was disposed; disposing twice is harmless', async () => {
  const t = make();
  t.dispose();
  t.dispose();
  const rejects = async (f: () => Promise<unknown>) => {
    let message = '';
    await f().catch((e: Error) => (message = e.message));
    assert.match(message, /Q5101: a tensor i32\[2\] was disposed/);
  };
  await rejects(() => t.data());
  await rejects(() => t.raw());
  for (const use of [() => t.view(1), () => t.write(0, [1]), () => t.buffer, () => t.reshape([2])])
    assert.throws(use, /Q5101/);
});

test('a tensor that nobody holds any more is freed by the collector', async () => {
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const device = new WasmDevice();
  (() => make(device))();
  for (let i = 0; i < 20 && device.blocks > 0; i++) {
    collect();
    await new Promise((done) => setTimeout(done, 10));
  }
  assert.is(device.blocks, 0);
});

const pause = () => new Promise((done) => setTimeout(done, 2));
const runners = {
  AsyncLocalStorage: scope,
  'a stack': <T>(body: () => Promise<T> | T) => scopeWith(stack, body),
};
const stack = stackTracker();

for (const [kind, run] of Object.entries(runners)) {
  test(`${kind}: a scope frees what it made, except what it returns`, async () => {
    const device = new WasmDevice();
    const before = make(device);
    const kept = await run(async () => {
      make(device);
      await pause();
      const a = make(device);
      const fields = { q: make(device), d: make(device) };
      make(device).dispose();
      before.view(1);
      return { list: [a], w: new EncodedTensor({ file: 'f', name: 'q' }, [2], fields) };
    });
    assert.equal(await values(kept.list[0]!), [1, 2]);
    assert.is(kept.w.fields.q!.disposed, false);
    assert.is(device.blocks, 4);
    kept.w.dispose();
    kept.list[0]!.dispose();
    assert.equal(await values(before), [1, 2]);
    before.dispose();
    assert.is(device.blocks, 0);
  });

  test(`${kind}: an inner result belongs to the outer scope, and an error frees everything`, async () => {
    const device = new WasmDevice();
    await run(async () => {
      const inner = await run(async () => {
        make(device);
        return make(device);
      });
      assert.is(inner.disposed, false);
      assert.is(device.blocks, 1);
      await run(async () => {
        make(device);
        throw new Error('stop');
      }).catch((e: Error) => assert.is(e.message, 'stop'));
      assert.is(device.blocks, 1);
    });
    assert.is(device.blocks, 0);
  });
}

test('scopes that run side by side keep their tensors apart', async () => {
  const device = new WasmDevice();
  const job = (ms: number) =>
    scope(async () => {
      const t = make(device);
      await new Promise((done) => setTimeout(done, ms));
      make(device);
      assert.is(t.disposed, false);
      return t;
    });
  const [a, b] = await Promise.all([job(12), job(3)]);
  assert.is(device.blocks, 2);
  a.dispose();
  b.dispose();
  assert.is(device.blocks, 0);
});

test.run();
