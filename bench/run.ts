// npm run bench [-- --size 2048] [-- q4_0 nf4]: ratios from one run, medians after warm-up.
import { cpus } from 'node:os';
import { device } from '../index.ts';
import { benchFormats, fusion } from './fusion.ts';
import { startup } from './startup.ts';

const args = process.argv.slice(2);
const at = args.indexOf('--size');
const size = at >= 0 ? Number(args.splice(at, 2)[1]) : 4096;
if (!Number.isInteger(size) || size <= 0 || size % 256 !== 0)
  throw new Error('--size must be a positive multiple of 256');
console.log(
  `Node ${process.version}, ${cpus()[0]?.model ?? 'unknown processor'}, ${(await device('wasm')).name}, ${size} x ${size}\n`,
);
console.log(await startup());
console.log();
console.log(await fusion(size, args.length ? args : benchFormats));
