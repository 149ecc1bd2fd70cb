// How text becomes evaluation windows: the protocol that losses are quoted for.
import { ModelError } from './errors.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface Window {
  readonly inputs: Int32Array;
  /** The token that follows each input. */
  readonly targets: Int32Array;
}

/** A line of its own that parts two documents of a text file. */
export const separator = '<|endoftext|>';

/**
 * Documents are encoded with `bos` in front of each and concatenated; window w has the inputs
 * [w * length, (w + 1) * length). What is left at the end is dropped.
 */
export function windowsOf(
  text: string,
  tokenizer: Tokenizer,
  { bos, length, limit = Infinity }: { bos: number; length: number; limit?: number },
): Window[] {
  const documents = text.replaceAll('\r\n', '\n').split(`\n${separator}\n`);
  const ids: number[] = [];
  for (const document of documents) {
    if (ids.length > limit * length) break;
    // One newline ends a text file; it is no part of the text.
    for (const id of [bos, ...tokenizer.encode(document.replace(/\n$/, ''))]) ids.push(id);
  }
  const count = Math.min(limit, Math.floor((ids.length - 1) / length));
  if (count < 1)
    throw new ModelError(
      'Q6011',
      `The text has ${ids.length} tokens, too few for one window of ${length}`,
      `Give a text of more than ${length} tokens.`,
    );
  return Array.from({ length: count }, (_, w) => ({
    inputs: Int32Array.from(ids.slice(w * length, (w + 1) * length)),
    targets: Int32Array.from(ids.slice(w * length + 1, (w + 1) * length + 1)),
  }));
}
