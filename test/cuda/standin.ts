// Builds the stand-ins for libcuda, NVRTC and nvcc (standin/) into a folder of their own, by g++, once a test file.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const sources = new URL('./standin/', import.meta.url).pathname;
const shim = new URL('./shim/', import.meta.url).pathname;

export interface Standin {
  readonly dir: string;
  readonly driver: string;
  readonly nvrtc: string;
  readonly nvcc: string;
  remove(): void;
}

export async function buildStandin(): Promise<Standin> {
  const dir = mkdtempSync(join(tmpdir(), 'quern-standin-'));
  const gxx = (...args: string[]) => promisify(execFile)('g++', ['-std=c++20', '-w', ...args]);
  const paths = {
    driver: join(dir, 'libcuda.so.1'),
    nvrtc: join(dir, 'libnvrtc.so.13'),
    nvcc: join(dir, 'nvcc'),
  };
  // What every kernel includes, read once: the flags are those of compiler.cpp.
  const header = join(dir, 'standin.h');
  writeFileSync(header, `#include "${shim}cuda_host.h"\n#include "${shim}cuda_fp16.h"\n`);
  const exact = ['-O0', '-fPIC', '-fwrapv', '-fno-strict-aliasing', '-ffp-contract=off'];
  const compiler = [`-DSHIM="${shim}"`, `-DBUILD="${dir}"`, join(sources, 'compiler.cpp')];
  await Promise.all([
    gxx('-fPIC', '-shared', '-o', paths.driver, join(sources, 'driver.cpp')),
    gxx('-o', paths.nvcc, ...compiler),
    gxx('-DNVRTC', '-fPIC', '-shared', '-o', paths.nvrtc, ...compiler),
    gxx(...exact, '-x', 'c++-header', header),
  ]);
  return { ...paths, dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}
