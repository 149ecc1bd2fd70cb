// Child process of the start-up benchmark: loads a kernel file, calls it once, and says how long that took.
import { array, load } from '../index.ts';

const [file, cache] = process.argv.slice(2) as [string, string];
const started = performance.now();
const kernels = (await load(file, { cache })) as unknown as {
  scale(x: unknown): Promise<{ data(): Promise<Float32Array> }>;
};
const y = await kernels.scale(array(new Float32Array([1, 2, 3]), [3]));
const first = (await y.data())[2];
const inside = performance.now() - started;
if (first !== 6) throw new Error(`wrong result: ${first}`);
// The whole process counts, the engine's own start included.
console.log(JSON.stringify({ inside, process: process.uptime() * 1000 }));
