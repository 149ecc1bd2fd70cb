// quern eval: how well a model predicts a text, and how fast.
import { readFile } from 'node:fs/promises';
import pc from 'picocolors';
import type { DeviceName } from '../../runtime/devices/index.ts';
import { evaluateText } from '../../runtime/models/evaluate.ts';
import { loadLlama } from '../../runtime/models/llama.ts';
import { interruptible } from '../interrupt.ts';
import { progress } from '../progress.ts';
import { megabytes } from '../table.ts';

export interface EvalOptions {
  readonly text: string;
  readonly limitWindows?: number;
  readonly device?: DeviceName;
  readonly activations?: 'f32' | 'q8';
  readonly json?: boolean;
}

export async function evaluate(path: string, options: EvalOptions): Promise<void> {
  const text = await readFile(options.text, 'utf8');
  const model = await loadLlama(path, {
    device: options.device,
    activations: options.activations,
  });
  const result = await interruptible(async (signal) => {
    let bar: ReturnType<typeof progress> | undefined;
    try {
      return await evaluateText(model, text, {
        limit: options.limitWindows,
        signal,
        onProgress: (done, total, loss) => {
          bar ??= progress(total, 'evaluating');
          bar.update(done, `${loss.toFixed(3)} nats/token`);
        },
      });
    } finally {
      bar?.stop();
      model.dispose();
    }
  });
  const { loss, perplexity, windows, tokens, tokensPerSecond } = result;
  if (options.json) {
    const { bytes, bitsPerWeight } = model;
    console.log(
      JSON.stringify({
        model: path,
        text: options.text,
        device: model.device.name,
        ...result,
        bytes,
        bitsPerWeight,
      }),
    );
    return;
  }
  console.log(
    `loss        ${pc.bold(loss.toFixed(4))} nats/token over ${windows} windows (${tokens} tokens)`,
  );
  console.log(`perplexity  ${perplexity.toFixed(3)}`);
  console.log(
    `weights     ${megabytes(model.bytes)} MB, ${model.bitsPerWeight.toFixed(2)} bits/weight`,
  );
  console.log(`speed       ${tokensPerSecond.toFixed(0)} tokens/s on ${model.device.name}`);
}
