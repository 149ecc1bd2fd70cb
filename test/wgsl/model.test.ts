// The sample model on WebGPU: the losses are those of the wasm device, to 0.005 nats.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sampleModel, writeTinyModel } from '../models/tiny.ts';
import { skip } from '../support/skip.ts';
import { gpuMissing, withVulkan } from '../support/vulkan.ts';

const title = 'models on WebGPU';
withVulkan();
if (gpuMissing) skip(title, gpuMissing);
else {
  const { loadLlama } = await import('../../runtime/models/llama.ts');
  const { quern } = await import('../cli/run.ts');
  const test = suite(title);
  const folder = await mkdtemp(join(tmpdir(), 'quern-webgpu-'));
  const compressed = join(folder, 'q4');

  test('quern eval runs the compressed sample model with the loss that it has on wasm', async () => {
    assert.is((await quern(['compress', sampleModel, '-f', 'q4_0', '-o', compressed])).code, 0);
    const text = join(sampleModel, 'kjv.txt');
    const args = ['eval', compressed, '-t', text, '--limit-windows', '1', '--json', '--device'];
    const [wasm, webgpu] = [await quern([...args, 'wasm']), await quern([...args, 'webgpu'])];
    assert.is(webgpu.code, 0, webgpu.err);
    const [a, b] = [JSON.parse(wasm.out), JSON.parse(webgpu.out)];
    assert.match(b.device, /SwiftShader/);
    assert.match(a.device, /WebAssembly/);
    assert.is(b.tokens, 256);
    assert.ok(a.loss > 2 && Math.abs(a.loss - b.loss) < 0.005, `${a.loss}, ${b.loss}`);
    const refused = await quern([...args, 'tpu']);
    assert.is(refused.code, 2);
    assert.match(refused.err, /auto.*wasm.*webgpu/);
  });

  test('every token has the loss that it has on wasm', async () => {
    const tiny = await writeTinyModel(join(folder, 'tiny'));
    const losses: Float32Array[] = [];
    for (const device of ['wasm', 'webgpu'] as const) {
      const model = await loadLlama(tiny, { device });
      assert.is(model.device.kind, device);
      const ids = [model.config.bos, ...model.tokenizer.encode('In the beginning God created')];
      losses.push(
        await model.losses({
          inputs: Int32Array.from(ids.slice(0, -1)),
          targets: Int32Array.from(ids.slice(1)),
        }),
      );
      model.dispose();
    }
    const [wasm, webgpu] = losses as [Float32Array, Float32Array];
    assert.ok(wasm.length > 3 && wasm.every((x) => x > 0));
    wasm.forEach((x, i) => assert.ok(Math.abs(x - webgpu[i]!) < 0.005, `${i}: ${x}, ${webgpu[i]}`));
  });

  test.after(() => rm(folder, { recursive: true, force: true }));
  test.run();
}
