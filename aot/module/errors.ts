// Errors of generated packages. The codes are those of the runtime (runtime/errors.ts), so that one search finds
// both; the sentences are written where they are thrown, which keeps the table out of the packages.

/** `code` is stable: Q50 calls, Q51 memory and loading. */
export class QuernError extends Error {
  override readonly name = 'QuernError';
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(`${code}: ${message}`, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

export function raise(code: string, message: string, cause?: unknown): never {
  throw new QuernError(code, message, cause);
}

export const listText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
export const reasonText = (e: unknown): string => (e instanceof Error ? e.message : String(e));
