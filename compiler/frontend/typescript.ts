// Loads the TypeScript compiler API on first use. `require` is 3-5 times faster than `import` for it, and only
// the parser is used: types of parameters are written in the source.
import { createRequire } from 'node:module';
import type TS from 'typescript';

let loaded: typeof TS | undefined;
export function typescript(): typeof TS {
  loaded ??= createRequire(import.meta.url)('typescript') as typeof TS;
  return loaded;
}
