// TypeScript's compiler, loaded when it is first wanted.
import { createRequire } from 'node:module';
import type TS from 'typescript';

let api: typeof TS | undefined;
/** `require` is much quicker than `import` for this package. */
export function typescript(): typeof TS {
  api ??= createRequire(import.meta.url)('typescript') as typeof TS;
  return api;
}
