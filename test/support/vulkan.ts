// A Vulkan driver that computes on the processor, from an npm package: SwiftShader comes with the headless Chromium. The
// loader looks for it when the process starts, so a test file that needs one starts itself again with the environment that
// names it. Where that fails, `gpuMissing` says why, and the tests skip by name.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

const mark = 'QUERN_TEST_VULKAN';

/** Files of a tar archive, by name. */
function filesOf(tar: Uint8Array): Map<string, Uint8Array> {
  const out = new Map<string, Uint8Array>();
  const text = (from: number, to: number): string =>
    new TextDecoder().decode(tar.subarray(from, to)).replace(/\0.*$/s, '');
  for (let at = 0; at + 512 <= tar.length; ) {
    const name = text(at, at + 100);
    if (!name) break;
    const size = Number.parseInt(text(at + 124, at + 136), 8);
    if (text(at + 156, at + 157) !== '5') out.set(name, tar.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return out;
}

/** Unpacks the driver once a version; another process may be doing the same. */
function driverFolder(): string {
  const require = createRequire(import.meta.url);
  const bin = join(dirname(require.resolve('@sparticuz/chromium')), '../../bin');
  const { version } = JSON.parse(readFileSync(join(bin, '../package.json'), 'utf8')) as {
    version: string;
  };
  const folder = join(tmpdir(), `quern-swiftshader-${version}-${process.getuid?.() ?? 0}`);
  if (existsSync(folder)) return folder;
  const making = mkdtempSync(join(tmpdir(), 'quern-swiftshader-'));
  const archive = brotliDecompressSync(readFileSync(join(bin, 'swiftshader.tar.br')));
  for (const [name, bytes] of filesOf(archive)) writeFileSync(join(making, name), bytes);
  try {
    renameSync(making, folder);
  } catch {
    // Another process was faster.
    rmSync(making, { recursive: true, force: true });
  }
  return folder;
}

/** The environment in which Dawn finds the driver. */
export function vulkanEnvironment(): NodeJS.ProcessEnv {
  const folder = driverFolder();
  const driver = join(folder, 'vk_swiftshader_icd.json');
  const runtime = join(folder, 'run');
  mkdirSync(runtime, { recursive: true });
  return {
    ...process.env,
    [mark]: '1',
    LD_LIBRARY_PATH: [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
    XDG_RUNTIME_DIR: runtime,
    VK_ICD_FILENAMES: driver,
    VK_DRIVER_FILES: driver,
    // Memory of a group that nobody clears: kernels must not count on zeros, and clearing takes this driver 0.3 s a kernel.
    QUERN_WEBGPU: 'enable-dawn-features=disable_workgroup_init',
  };
}

const isSupported = process.platform === 'linux' && process.arch === 'x64';

/** Starts this file again with the driver, and ends with its exit code; returns at once in the second run. */
export function withVulkan(): void {
  if (process.env[mark] || !isSupported) return;
  const [, file] = process.argv;
  const made = spawnSync(process.execPath, [...process.execArgv, file!, ...process.argv.slice(2)], {
    env: vulkanEnvironment(),
    stdio: 'inherit',
  });
  process.exit(made.status ?? 1);
}

/** Why the driver is not there, in words for a skip. */
export const gpuMissing: string | undefined = isSupported
  ? undefined
  : `the software driver is for Linux on x64, this is ${process.platform} on ${process.arch}`;
