// Large inputs: memory stays bounded, and Ctrl-C leaves nothing behind. The files are sparse, so they cost no disk.
import {
  existsSync,
  openSync,
  closeSync,
  ftruncateSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporaryFolder } from '../models/tiny.ts';
import { skip } from '../support/skip.ts';
import { quern } from './run.ts';

const test = suite('large models');
let folder = '';
test.before(async () => {
  folder = await temporaryFolder();
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** A file of `count` matrices of zeros, [8192, 16384] f32: 512 MiB each. */
function sparseModel(path: string, count: number): void {
  const size = 8192 * 16384 * 4;
  const entries = Array.from({ length: count }, (_, i) => [
    `w${i}`,
    { dtype: 'F32', shape: [8192, 16384], data_offsets: [i * size, (i + 1) * size] },
  ]);
  const text = JSON.stringify(Object.fromEntries(entries));
  const head = Buffer.alloc(8 + text.length);
  head.writeBigUInt64LE(BigInt(text.length));
  head.write(text, 8);
  const file = openSync(path, 'w');
  writeSync(file, head);
  ftruncateSync(file, head.length + count * size);
  closeSync(file);
}

/** Highest resident memory so far of a process, in MB. */
function peakMemory(pid: number): number {
  try {
    const kib = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return (Number(kib ?? 0) * 1024) / 1e6;
  } catch {
    return 0;
  }
}

for (const [command, count, rest] of [
  ['compress', 4, (to: string) => ['-f', 'tq2_0', '-o', to]],
  ['convert', 1, (to: string) => [to, '-f', 'q8_0']],
] as const) {
  const what = `${command} takes less than 400 MB of memory for ${count / 2} GiB`;
  if (existsSync('/proc/self/status'))
    test(what, async () => {
      sparseModel(join(folder, 'big.safetensors'), count);
      const output = join(folder, `small.${command === 'convert' ? 'gguf' : 'safetensors'}`);
      let peak = 0;
      let timer: NodeJS.Timeout | undefined;
      const args = [command, join(folder, 'big.safetensors'), ...rest(output)];
      const { code, err } = await quern(args, {
        started: (child) => {
          timer = setInterval(() => {
            peak = Math.max(peak, peakMemory(child.pid!));
          }, 100);
        },
      });
      clearInterval(timer);
      assert.is(code, 0, err);
      assert.ok(peak > 50 && peak < 400, `peak memory ${peak} MB`);
      rmSync(output);
    });
  else skip(what, 'there is no /proc');
}

test('Ctrl-C ends with 130 and leaves no file', async () => {
  sparseModel(join(folder, 'half.safetensors'), 4);
  const output = join(folder, 'stopped');
  const { code, err } = await quern(
    ['compress', join(folder, 'half.safetensors'), '-f', 'tq2_0', '-o', output],
    {
      started: (child) => {
        // Once the unfinished file is there, the work is under way.
        const timer = setInterval(() => {
          if (!existsSync(output) || readdirSync(output).length === 0) return;
          clearInterval(timer);
          child.kill('SIGINT');
        }, 50);
        child.on('exit', () => clearInterval(timer));
      },
    },
  );
  assert.is(code, 130, err);
  assert.match(err, /Interrupted/);
  assert.not.ok(existsSync(output), 'the folder that was made for the output is gone');
});

test.run();
