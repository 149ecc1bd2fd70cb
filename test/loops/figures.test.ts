// Figures of kernels for GPUs, counted and not run: what they read, against reading each weight once.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../compiler/index.ts';
import { figuresText } from '../../compiler/loops/figures.ts';

const layers = new URL('../../ops/llama.ts', import.meta.url).pathname;
const test = suite('figures of GPU kernels');

for (const target of ['wgsl', 'cuda'] as const) {
  for (const format of ['q4_0', 'q6_K', 'nf4', 'dense_f16'])
    test(`${target}: with one row, every weight of ${format} is read once`, async () => {
      const formats = [{ file: 'quern/formats', name: format }];
      const sizes = { M: 1, N: 512, K: 1024 };
      const request = { file: layers, name: 'linear', formats, target, sizes };
      const [f, ...more] = (await compile(request)).figures!;
      assert.is(more.length, 0);
      assert.ok(Math.abs(f!.largest!.times - 1) < 0.01, `${f!.largest!.times}`);
      assert.is(f!.outputs, 512);
      assert.is(f!.written, 2048);
      assert.ok(f!.read >= f!.floor);
    });

  test(`${target}: tiles read weights once for 64 rows, and meet as often as they take a slice`, async () => {
    const formats = [{ file: 'quern/formats', name: 'q4_0' }];
    const sizes = { M: 64, N: 2048, K: 1024 };
    const { figures, stages } = await compile({
      file: layers,
      name: 'linear',
      formats,
      target,
      sizes,
      trace: true,
    });
    const [f] = figures!;
    if (target === 'wgsl') {
      // A slice more is fetched than summed.
      assert.is(f!.largest!.times, 33 / 32);
      assert.is(f!.shared, 16 * 1024);
      // Two a slice of 32, and a few more.
      assert.ok(f!.barriers >= 64 && f!.barriers <= 72, `${f!.barriers}`);
      assert.is(f!.groups * f!.threads, 32 * 256);
    } else {
      // Too few tiles of 64 by 128 for a device with `busyGroups`: four groups divide k.
      assert.is(f!.largest!.times, 1);
      assert.ok(f!.shared <= 48 * 1024, `${f!.shared}`);
      // One a slice, a few while the first copies come, and two for each eight rows of the result.
      assert.ok(f!.barriers >= 8 + 16 && f!.barriers <= 8 + 16 + 5, `${f!.barriers}`);
      assert.is(f!.groups * f!.threads, 4 * 16 * 256);
    }
    const stage = stages.find((s) => s.name === 'figures')!;
    assert.match(stage.text, /^# at M = 64, K = 1024, N = 2048\nkernel +groups x threads/);
    assert.ok(stage.text.endsWith(figuresText(figures!)));
  });
}

test('elementwise kernels read and write everything once', async () => {
  const sizes = { M: 3, N: 100 };
  const { figures } = await compile({ file: layers, name: 'gated', target: 'wgsl', sizes });
  const [f] = figures!;
  assert.is(f!.outputs, 300);
  assert.is(f!.written, 1200);
  assert.is(f!.read, 2400);
  assert.is(f!.floor, 2400);
  assert.is(f!.barriers, 0);
});

test.run();
