// quern generate: continues a prompt, token by token.
import pc from 'picocolors';
import type { DeviceName } from '../../runtime/devices/index.ts';
import { loadLlama } from '../../runtime/models/llama.ts';
import { interruptible } from '../interrupt.ts';

export interface GenerateOptions {
  readonly prompt: string;
  readonly tokens: number;
  readonly temperature: number;
  readonly seed: number;
  readonly device?: DeviceName;
  readonly activations?: 'f32' | 'q8';
  readonly json?: boolean;
}

export async function generate(path: string, options: GenerateOptions): Promise<void> {
  const model = await loadLlama(path, {
    device: options.device,
    activations: options.activations,
  });
  const { tokens: count, temperature, seed } = options;
  const ids: number[] = [];
  const start = performance.now();
  if (!options.json) process.stdout.write(pc.dim(options.prompt));
  try {
    await interruptible(async (signal) => {
      let shown = '';
      for await (const id of model.generate(options.prompt, { count, temperature, seed })) {
        signal.throwIfAborted();
        ids.push(id);
        if (options.json) continue;
        // A character may span several tokens: print only what has settled.
        const text = model.tokenizer.decode(ids);
        if (text.endsWith('\uFFFD')) continue;
        process.stdout.write(text.slice(shown.length));
        shown = text;
      }
    });
  } finally {
    if (!options.json) process.stdout.write('\n');
    model.dispose();
  }
  const tokensPerSecond = ids.length / ((performance.now() - start) / 1000);
  const text = model.tokenizer.decode(ids);
  if (options.json)
    console.log(JSON.stringify({ prompt: options.prompt, ids, text, tokensPerSecond }));
  else console.error(pc.dim(`${ids.length} tokens, ${tokensPerSecond.toFixed(1)} tokens/s`));
}
