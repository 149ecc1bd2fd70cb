// The allocator: blocks never overlap, everything comes back, and memory that is free is found.
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ALIGNMENT, Allocator, PADDING } from '../../runtime/devices/allocator.ts';

const test = suite('allocator');

test('live blocks never overlap, are aligned and padded, and all memory returns', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ bytes: fc.integer({ min: 0, max: 500 }) }) },
    { weight: 2, arbitrary: fc.record({ free: fc.nat() }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const a = new Allocator(1024, 20_000);
      const live: { at: number; bytes: number }[] = [];
      for (const s of steps) {
        if ('bytes' in s) {
          const at = a.allocate(s.bytes);
          if (at === undefined) continue;
          assert.is(at % ALIGNMENT, 0);
          assert.ok(at >= 1024 && at + s.bytes + PADDING <= a.top && a.top <= 20_000);
          for (const b of live)
            assert.ok(at + s.bytes + PADDING <= b.at || b.at + b.bytes + PADDING <= at);
          live.push({ at, bytes: s.bytes });
        } else if (live.length) {
          const [b] = live.splice(s.free % live.length, 1);
          assert.ok(a.free(b!.at));
          assert.not(a.free(b!.at));
        }
        assert.is(a.blocks, live.length);
      }
      for (const b of live) a.free(b.at);
      assert.is(a.used, 0);
      assert.is(a.top, 1024);
      assert.is(a.allocate(20_000 - 1024 - PADDING - 16), 1024);
    }),
  );
});

test('a freed block is used again, and the tightest fit wins', () => {
  const a = new Allocator(0, 1e6);
  const blocks = [100, 16, 50, 16, 200, 16].map((n) => a.allocate(n)!);
  for (const i of [0, 2, 4]) a.free(blocks[i]!);
  assert.is(a.allocate(50), blocks[2]);
  assert.is(a.allocate(100), blocks[0]);
});

test('neighbours merge whichever is freed first', () => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [0, 2, 1],
    [1, 0, 2],
  ]) {
    const a = new Allocator(0, 4096);
    const blocks = [64, 64, 64, 64].map((n) => a.allocate(n)!);
    for (const i of order) a.free(blocks[i]!);
    assert.is(a.allocate(3 * 64 + 2 * PADDING), 0);
  }
});

test('a full range gives nothing and stays as it was', () => {
  const a = new Allocator(0, 1024);
  const all = a.allocate(1024 - PADDING);
  assert.is(all, 0);
  assert.is(a.allocate(0), undefined);
  assert.is(a.used, 1024);
  assert.ok(a.free(0));
  assert.not(a.free(5));
});

test('addresses above 2 GiB are plain numbers', () => {
  const a = new Allocator(1024, 2 ** 32 - 65536);
  const first = a.allocate(3 * 2 ** 30)!;
  const second = a.allocate(2 ** 29)!;
  assert.is(first, 1024);
  assert.ok(second > 2 ** 31);
  assert.is(a.allocate(2 ** 30), undefined);
});

test.run();
