// What a second thread is worth: the same kernels on a device of one thread and on one of two. The results must be equal to the bit.
import type { CaseResult } from '../results.ts';
import { type Context, contest, copiesFor, type Entrant, type Mode } from '../contest.ts';
import { Product } from '../product.ts';
import { handOver } from '../subjects/hand-over.ts';
import { readLimit, readLimitOfTwo } from '../subjects/limits.ts';
import { encodedCopies, productCandidate, Quern } from '../subjects/quern.ts';

/** One row is bound by memory, or by the caches where they hold the weights; many rows by operations. */
const rows: readonly { readonly m: number; readonly modes: readonly (Mode | '')[] }[] = [
  { m: 1, modes: ['cold', 'hot'] },
  { m: 128, modes: [''] },
];

export async function threadCases(context: Context, n: number, k: number): Promise<void> {
  const name = (m: number): string => `threads q4_0 M=${m} ${n}x${k}`;
  const wanted = rows.filter(({ m, modes }) =>
    modes.some((mode) => context.wants(mode ? `${name(m)} ${mode}` : name(m))),
  );
  if (wanted.length === 0) return;
  const product = new Product(n, k);
  const devices = await Promise.all([Quern.open(1), Quern.open(2)]);
  const weights = await Promise.all(
    devices.map(async (quern) => {
      const format = await quern.format({ name: 'q4_0' });
      const source = quern.tensor(product.weights, [n, k]);
      const w = await format.encode(source);
      const decoded = await format.decode(w);
      const meant = (await decoded.data()) as Float32Array;
      for (const t of [source, decoded]) t.dispose();
      return { copies: await encodedCopies(w, copiesFor(context, w.bytes)), meant };
    }),
  );
  for (const { m, modes } of wanted) {
    const expected = product.expected(m, weights[0]!.meant);
    let one: ArrayLike<number> = [];
    const made = (index: 0 | 1) =>
      productCandidate(devices[index]!, product, m, weights[index]!.copies, 'q8', expected);
    const single: Entrant = {
      column: 'single',
      make: async () => {
        const candidate = await made(0);
        one = await candidate.check!.result();
        return candidate;
      },
    };
    const both: Entrant = {
      column: 'quern',
      make: async () => {
        const candidate = await made(1);
        const at = Array.from({ length: one.length }, (_, i) => i);
        const check = { ...candidate.check!, expected: { at, values: at.map((i) => one[i]!) } };
        return { ...candidate, what: 'two threads', check: { ...check, tolerance: 0 } };
      },
    };
    const results: CaseResult[] = [];
    const elapsed: Context = {
      ...context,
      // Processor time would count both threads.
      pace: { ...context.pace, clock: 'elapsed' },
      report: (result) => void results.push(result),
    };
    const { coldBytes } = context;
    const limit: readonly Entrant[] = [
      { ...readLimitOfTwo(coldBytes), modes: ['cold'] },
      { ...readLimit(coldBytes), column: 'reader', modes: ['cold'] },
    ];
    const before = await handOver();
    await contest(elapsed, name(m), [single, both, ...(m === 1 ? limit : [])], modes);
    const after = await handOver();
    const far = `one hands a line of memory to the other in ${before.toFixed(0)} ns before, ${after.toFixed(0)} ns after`;
    for (const [i, result] of results.entries())
      context.report(i === 0 && m === 1 ? { ...result, notes: [far] } : result);
  }
  for (const d of devices) d.close();
}
