// The passes of this folder that work on any function, by name.
import { canonicalize } from './canonicalize.ts';
import { cse } from './cse.ts';
import { dce } from './dce.ts';
import type { Pass } from './engine.ts';

export const passTable: Readonly<Record<string, Pass>> = { canonicalize, cse, dce };
