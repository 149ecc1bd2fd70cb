// The loss of a model on a text: mean cross-entropy over windows, in nats per token.
import type { Llama } from './llama.ts';
import { windowsOf } from './windows.ts';
import { yieldToHost } from './yield.ts';

export interface Evaluation {
  /** Mean cross-entropy in nats per token. */
  readonly loss: number;
  readonly perplexity: number;
  readonly windows: number;
  readonly tokens: number;
  /** After the first window, which compiles the kernels and lets the engine warm up; of it if it is the only one. */
  readonly tokensPerSecond: number;
  /** Mean loss of each window. */
  readonly windowLosses: readonly number[];
}

export interface EvaluateOptions {
  /** Evaluate only the first windows. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
  onProgress?(done: number, total: number, loss: number): void;
}

export async function evaluateText(
  model: Llama,
  text: string,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { bos, context } = model.config;
  const windows = windowsOf(text, model.tokenizer, { bos, length: context, limit: options.limit });
  const windowLosses: number[] = [];
  let total = 0;
  let start = performance.now();
  let timed = windows.length;
  for (const [i, window] of windows.entries()) {
    await yieldToHost();
    options.signal?.throwIfAborted();
    const losses = await model.losses(window);
    const sum = losses.reduce((a, b) => a + b, 0);
    windowLosses.push(sum / losses.length);
    total += sum / losses.length;
    options.onProgress?.(i + 1, windows.length, total / (i + 1));
    if (i === 0 && windows.length > 1) {
      start = performance.now();
      timed -= 1;
    }
  }
  const seconds = (performance.now() - start) / 1000;
  const loss = total / windows.length;
  return {
    loss,
    perplexity: Math.exp(loss),
    windows: windows.length,
    tokens: windows.length * context,
    tokensPerSecond: (timed * context) / seconds,
    windowLosses,
  };
}
