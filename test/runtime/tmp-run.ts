import { load, array, device } from '../../index.ts';
const t0 = performance.now();
const kind = (process.argv[2] ?? 'wasm') as 'wasm';
const m = await load<typeof import('./tmp-kernels.ts')>(new URL('./tmp-kernels.ts', import.meta.url), { device: kind, check: process.argv[3] === 'check', cache: '/tmp/q-try/cache' });
console.log('load', performance.now() - t0);
const y = await m.add(array(new Float32Array([1,2]), [2]), array(new Float32Array([1,2]), [2]));
console.log(await y.data(), performance.now() - t0);
const two = await m.two(array(new Float32Array([1,2]), [2]), 3);
console.log(await two.a.data(), await two.b.data());
const K = 64, N = 5, M = 2;
const w0 = Float32Array.from({length: N*K}, (_, i) => Math.sin(i));
const x0 = Float32Array.from({length: M*K}, (_, i) => Math.cos(i*.7));
console.log(await m.q4_0.bitsPerWeight([N, K]));
const w = await m.q4_0.encode(array(w0, [N, K]));
const d = await (await m.q4_0.decode(w)).data();
console.log('max err', Math.max(...d.map((v: number, i: number) => Math.abs(v - w0[i]!))));
const z = await m.linear(array(x0, [M, K]), w);
const ref = Array.from({length: M*N}, (_, i) => { let s = 0; for (let k=0;k<K;k++) s += x0[Math.floor(i/N)*K+k]! * d[(i%N)*K+k]!; return s; });
const out = await z.data();
console.log(Math.max(...ref.map((v, i) => Math.abs(v - out[i]!))), z.shape, performance.now() - t0);
for (const f of [() => m.linear(array(x0, [K, M]), w), () => m.q4_0.encode(array(w0, [N*K/100|0 || 1, 320])), () => (m as any).linea(1)]) {
 try { await f(); } catch (e) { console.log((e as Error).message); }
}
