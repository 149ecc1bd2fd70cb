// Text to token ids and back: the Hugging Face tokenizer.json that lies beside a model, read by that
// project's own small library.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFace } from '@huggingface/tokenizers';
import { ModelError } from './errors.ts';

export interface Tokenizer {
  /** Ids of the text alone: no start token is put in front. */
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

/** The tokenizer of a model's folder. */
export async function readTokenizer(folder: string): Promise<Tokenizer> {
  const path = join(folder, 'tokenizer.json');
  return tokenizerOf(path, () => readFile(path, 'utf8'));
}

/** A tokenizer from the text of a tokenizer.json; `where` names it in errors. */
export async function tokenizerOf(
  where: string,
  text: () => string | Promise<string>,
): Promise<Tokenizer> {
  let impl: HuggingFace;
  try {
    impl = new HuggingFace(JSON.parse(await text()), {});
    impl.encode('a');
  } catch (e) {
    throw new ModelError(
      'Q6005',
      `Cannot read the tokenizer ${where}: ${(e as Error).message}`,
      'A model folder must hold its tokenizer.json, in the Hugging Face layout.',
    );
  }
  return {
    encode: (text) => impl.encode(text, { add_special_tokens: false }).ids,
    // The library's clean-up would change spaces before punctuation; decode(encode(text)) is the text.
    decode: (ids) =>
      ids.length === 0
        ? ''
        : impl.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false }),
  };
}
