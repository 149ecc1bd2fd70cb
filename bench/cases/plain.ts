// The plain SIMD128 variant, as an engine without the relaxed instructions runs it, against the variant that an engine with them
// takes: one kernel in two versions of Node, which take turns.
import type { Mode } from '../contest.ts';
import { copiesFor, errorOf } from '../contest.ts';
import { type Subject, subject } from '../measure.ts';
import { Product } from '../product.ts';
import { encodedCopies, productCandidate, Quern } from '../subjects/quern.ts';

export const plainName = (n: number, k: number): string => `plain gemv q4_0 ${n}x${k}`;
export const plainModes: readonly Mode[] = ['cold', 'hot'];

export interface PlainSide {
  readonly subjects: { readonly [M in Mode]: Subject };
  readonly copies: number;
  readonly error: number;
  /** Whether a module that was compiled for the kernel holds a relaxed instruction. */
  readonly relaxed: boolean;
}

/** One side, in the version of Node that this process is. */
export async function openPlain(n: number, k: number, coldBytes: number): Promise<PlainSide> {
  const compiled = recordModules();
  const product = new Product(n, k);
  const quern = await Quern.open();
  const format = await quern.format({ name: 'q4_0' });
  const source = quern.tensor(product.weights, [n, k]);
  const w = await format.encode(source);
  const decoded = await format.decode(w);
  const expected = product.expected(1, (await decoded.data()) as Float32Array);
  for (const t of [source, decoded]) t.dispose();
  compiled.length = 0;
  const context = { coldBytes } as Parameters<typeof copiesFor>[0];
  const weights = await encodedCopies(w, copiesFor(context, w.bytes));
  const candidate = await productCandidate(quern, product, 1, weights, 'q8', expected);
  const { check, copies, run } = candidate;
  const error = errorOf(await check!.result(), expected);
  if (!(error <= check!.tolerance)) throw new Error(`wrong result: off by ${error}`);
  const as = (count: number): Subject =>
    subject({ column: 'quern', what: process.version, copies: count, run });
  const relaxed = (await Promise.all(compiled.map(isRelaxed))).includes(true);
  return { subjects: { cold: as(copies), hot: as(1) }, copies, error, relaxed };
}

/** The modules that are compiled from now on. */
function recordModules(): Uint8Array[] {
  const made: Uint8Array[] = [];
  const host = (globalThis as unknown as { WebAssembly: { compile(b: Uint8Array): unknown } })
    .WebAssembly;
  const { compile } = host;
  host.compile = (bytes) => {
    made.push(bytes);
    return compile(bytes);
  };
  return made;
}

async function isRelaxed(bytes: Uint8Array): Promise<boolean> {
  const { default: binaryen } = await import('binaryen');
  const module = binaryen.readBinary(bytes);
  const text = module.emitText();
  module.dispose();
  return text.includes('.relaxed_');
}
