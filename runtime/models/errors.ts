// What can be wrong with a model or with a request made of it. Same form as the runtime's errors: a stable code
// (Q60xx), the sentence, and the way out.
import type { Explanation } from '../errors.ts';

export const modelCodes = {
  Q6001: 'path of a model',
  Q6002: 'config.json',
  Q6003: 'missing tensor',
  Q6004: 'shape of a tensor',
  Q6005: 'tokenizer.json',
  Q6006: 'weight that is NaN or infinite',
  Q6007: 'row that is no multiple of the block',
  Q6008: 'description of the compressed tensors',
  Q6009: 'length of a prompt',
  Q6010: 'output that cannot be written',
  Q6011: 'nothing to do',
  Q6012: 'dtype that is not supported',
  Q6013: 'format that Quern lacks',
  Q6014: 'what a file format cannot hold',
  Q6015: 'recipe',
  Q6016: 'importance matrix',
  Q6017: 'metadata of a GGUF model',
  Q6018: 'quantization section of config.json',
} as const;
export type ModelCode = keyof typeof modelCodes;

export class ModelError extends Error {
  override readonly name = 'ModelError';
  readonly code: ModelCode;
  readonly explanation: Explanation;
  constructor(code: ModelCode, message: string, hint?: string) {
    super(`${code}: ${message}${hint ? `\n  hint: ${hint}` : ''}`);
    this.code = code;
    this.explanation = hint ? { message, hint } : { message };
  }
}
