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
  readonly tokensPerSecond: number;
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
  let total = 0;
  let tokens = 0;
  const start = performance.now();
  for (const [i, window] of windows.entries()) {
    await yieldToHost();
    options.signal?.throwIfAborted();
    for (const x of await model.losses(window)) total += x;
    tokens += window.inputs.length;
    options.onProgress?.(i + 1, windows.length, total / tokens);
  }
  const seconds = (performance.now() - start) / 1000;
  const loss = total / tokens;
  return {
    loss,
    perplexity: Math.exp(loss),
    windows: windows.length,
    tokens,
    tokensPerSecond: tokens / seconds,
  };
}
