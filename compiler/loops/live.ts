// When the temporaries of a program are live, in numbers of its kernels: those that are not live at the same time may lie in
// the same memory, which the runtime arranges and the plan for threads (backends/wasm/threads-plan.ts) reckons with.
import type { Program } from './loops.ts';
import { effectsOf } from './parallel.ts';

export type Live = readonly [first: number, last: number];

/** The first and the last kernel that touch each temporary, by the id of the buffer. What nothing touches is left out. */
export function liveRanges(program: Program): ReadonlyMap<number, Live> {
  const temps = new Set(program.buffers.filter((b) => b.role === 'temp').map((b) => b.id));
  const out = new Map<number, Live>();
  program.kernels.forEach((k, at) => {
    const { reads, writes } = effectsOf(k.body);
    for (const id of [...reads, ...writes])
      if (temps.has(id)) out.set(id, [out.get(id)?.[0] ?? at, at]);
  });
  return out;
}

export const apart = (a: Live, b: Live): boolean => a[1] < b[0] || b[1] < a[0];
