// How far apart two threads are: what it takes to hand a line of memory from one to the other. Two cores that share a cache do it
// in tens of nanoseconds, and share the way to memory behind it; others take several times as long, and each has a way of its own.
// A virtual machine may be moved from the one to the other at any time.
import { Worker } from 'node:worker_threads';
import { median } from '../results.ts';

/** Words of the memory between them, each in a line of its own: the number of the trial, its end, and the line handed over. */
const [trial, ended, line] = [0, 32, 64];
const turns = 100;
/** Where the clock starts, an odd turn: the first ones wait for the other thread to see the trial. */
const warm = 25;
/** Trials at least, and milliseconds that more may take: where both threads have one core, a hand-over waits for its turn there. */
const [fewest, patience] = [4, 50];
/** Milliseconds before the first trial. */
const settle = 100;

/** It looks for the next trial all the time, as does the other side: a thread that slept is put on the core of the one that woke it. */
const answererText = `
const words = require('node:worker_threads').workerData;
for (let seen = 0; ; ) {
  const now = Atomics.load(words, ${trial});
  if (now === seen) continue;
  if (now < 0) break;
  seen = now;
  for (let i = 1; i < ${turns}; i += 2) {
    while (Atomics.load(words, ${line}) !== i);
    Atomics.store(words, ${line}, i + 1);
  }
  Atomics.store(words, ${ended}, seen);
}`;

/** The median of the later half of some trials, in nanoseconds for one way; both threads' loops are compiled by then. */
export async function handOver(): Promise<number> {
  const words = new Int32Array(new SharedArrayBuffer(512));
  const worker = new Worker(answererText, { eval: true, workerData: words });
  await new Promise((done) => worker.once('online', done));
  const times: number[] = [];
  // Until both have a core of their own.
  for (const end = performance.now() + settle; performance.now() < end; );
  const until = performance.now() + patience;
  for (let t = 1; t <= fewest || performance.now() < until; t += 1) {
    Atomics.store(words, line, 0);
    Atomics.store(words, trial, t);
    let begin = 0;
    for (let i = 1; i < turns; i += 2) {
      if (i === warm) begin = performance.now();
      Atomics.store(words, line, i);
      while (Atomics.load(words, line) !== i + 1);
    }
    times.push(((performance.now() - begin) * 1e6) / (turns - warm + 1));
    while (Atomics.load(words, ended) !== t);
  }
  Atomics.store(words, trial, -1);
  await worker.terminate();
  return median(times.slice(times.length / 2));
}
