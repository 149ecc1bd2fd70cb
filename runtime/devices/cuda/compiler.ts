// CUDA text to an image for one GPU: by NVRTC, the library, where it is found, else by nvcc, the program. Which of the
// two, and where from, is settled once and named; images are kept on disk under the text and the compiler's identity.
import { DiskCache, defaultCacheDir } from '../../cache.ts';
import { raise, reasonOf } from '../../errors.ts';
import { nodeModule } from '../../platform.ts';
import { type ForeignFunction, foreign } from './foreign.ts';

export interface CudaCompilerOptions {
  /** Which compiler; by default NVRTC if there is one, else nvcc. */
  readonly compiler?: 'nvrtc' | 'nvcc';
  /** Paths, in place of those that are searched. */
  readonly nvrtc?: string;
  readonly nvcc?: string;
  /** Folder of the images; false for none, true or nothing for the default one. */
  readonly cache?: boolean | string;
}

export interface CudaCompiler {
  /** For people: which compiler, and of which version. */
  readonly name: string;
  /** Changes with whatever may change an image. */
  readonly identity: string;
  /** Compute capabilities that it makes code for, such as 90. */
  readonly capabilities: readonly number[];
  /** A cubin for sm_N, or PTX for compute_N. */
  compile(text: string, arch: string): Promise<Uint8Array>;
}

/** What a compiler says of a text that it refuses. */
class Refused extends Error {}

const flags = ['-std=c++17'];

/** Where toolkits are installed. */
function toolkits(): readonly string[] {
  const { CUDA_HOME, CUDA_PATH } = process.env;
  return [CUDA_HOME, CUDA_PATH, '/usr/local/cuda', '/opt/cuda'].filter((x) => x !== undefined);
}

/** Finds a compiler; raises when there is none. */
export function findCompiler(options: CudaCompilerOptions): CudaCompiler {
  const tried: string[] = [];
  const attempt = (make: () => CudaCompiler): CudaCompiler | undefined => {
    try {
      return make();
    } catch (e) {
      tried.push(reasonOf(e));
      return undefined;
    }
  };
  const found =
    (options.compiler === 'nvcc' ? undefined : attempt(() => openNvrtc(options.nvrtc))) ??
    (options.compiler === 'nvrtc' ? undefined : attempt(() => openNvcc(options.nvcc)));
  return found ?? raise('Q5110', { tried: tried.join('; ') });
}

// ---- NVRTC ----

type Nvrtc = { readonly [name in keyof typeof nvrtcRows]: ForeignFunction };
const nvrtcRows = {
  nvrtcVersion: 'int nvrtcVersion(void *, void *)',
  nvrtcGetNumSupportedArchs: 'int nvrtcGetNumSupportedArchs(void *)',
  nvrtcGetSupportedArchs: 'int nvrtcGetSupportedArchs(void *)',
  nvrtcCreateProgram:
    'int nvrtcCreateProgram(void *, const char *, const char *, int, const char **, const char **)',
  nvrtcCompileProgram: 'int nvrtcCompileProgram(uint64, int, const char **)',
  nvrtcGetProgramLogSize: 'int nvrtcGetProgramLogSize(uint64, void *)',
  nvrtcGetProgramLog: 'int nvrtcGetProgramLog(uint64, void *)',
  nvrtcGetCUBINSize: 'int nvrtcGetCUBINSize(uint64, void *)',
  nvrtcGetCUBIN: 'int nvrtcGetCUBIN(uint64, void *)',
  nvrtcGetPTXSize: 'int nvrtcGetPTXSize(uint64, void *)',
  nvrtcGetPTX: 'int nvrtcGetPTX(uint64, void *)',
  nvrtcDestroyProgram: 'int nvrtcDestroyProgram(void *)',
  nvrtcGetErrorString: 'const char *nvrtcGetErrorString(int)',
} as const;

const nvrtcNames = ['libnvrtc.so.13', 'libnvrtc.so.12', 'libnvrtc.so'];

function openNvrtc(path: string | undefined): CudaCompiler {
  const fs = nodeModule('node:fs')!;
  const { join } = nodeModule('node:path')!;
  const names = path
    ? [path]
    : [
        ...nvrtcNames,
        ...toolkits().flatMap((home) => nvrtcNames.map((n) => join(home, 'lib64', n))),
      ];
  const api = foreign();
  let library: ReturnType<typeof api.load> | undefined;
  for (const name of names) {
    try {
      library = api.load(name);
      break;
    } catch {
      // The next one may be there.
    }
  }
  if (!library) throw new Error(`NVRTC is not found (${path ?? nvrtcNames[0]})`);
  const include = toolkits()
    .map((home) => join(home, 'include'))
    .find((dir) => fs.existsSync(join(dir, 'cuda_fp16.h')));
  if (!path && !include)
    throw new Error('NVRTC lacks the headers of the toolkit (cuda_fp16.h under CUDA_HOME/include)');
  const lib = library;
  const f = Object.fromEntries(
    Object.entries(nvrtcRows).map(([name, definition]) => [name, lib.func(definition)]),
  ) as unknown as Nvrtc;
  const check = (status: number): void => {
    if (status !== 0) throw new Error(`NVRTC: ${f.nvrtcGetErrorString(status)}`);
  };
  const ints = (count: number, fill: (out: Int32Array) => number): Int32Array => {
    const out = new Int32Array(count);
    check(fill(out));
    return out;
  };
  const [major, minor] = (() => {
    const [a, b] = [new Int32Array(1), new Int32Array(1)];
    check(f.nvrtcVersion(a, b));
    return [a[0]!, b[0]!];
  })();
  const [count] = ints(1, (out) => f.nvrtcGetNumSupportedArchs(out));
  const capabilities = [...ints(count!, (out) => f.nvrtcGetSupportedArchs(out))];
  const options = [...flags, ...(include ? [`--include-path=${include}`] : [])];
  /** A part of a program that is asked for by its size first. */
  const part = (program: bigint, size: ForeignFunction, get: ForeignFunction): Uint8Array => {
    const bytes = new BigUint64Array(1);
    check(size(program, bytes));
    const out = new Uint8Array(Number(bytes[0]));
    check(get(program, out));
    return out;
  };
  return {
    name: `NVRTC ${major}.${minor}`,
    identity: `nvrtc ${major}.${minor} ${include ?? ''}`,
    capabilities,
    async compile(text, arch) {
      const handle = new BigUint64Array(1);
      check(f.nvrtcCreateProgram(handle, text, 'kernel.cu', 0, null, null));
      const program = handle[0]!;
      try {
        const all = [...options, `--gpu-architecture=${arch}`];
        const status = await new Promise<number>((resolve, reject) => {
          f.nvrtcCompileProgram.async(program, all.length, all, (e: unknown, s: number) =>
            e ? reject(e) : resolve(s),
          );
        });
        if (status !== 0) {
          const log = part(program, f.nvrtcGetProgramLogSize, f.nvrtcGetProgramLog);
          throw new Refused(
            `${f.nvrtcGetErrorString(status)}\n${new TextDecoder().decode(log).replace(/\0+$/, '')}`,
          );
        }
        return arch.startsWith('sm_')
          ? part(program, f.nvrtcGetCUBINSize, f.nvrtcGetCUBIN)
          : part(program, f.nvrtcGetPTXSize, f.nvrtcGetPTX);
      } finally {
        f.nvrtcDestroyProgram(handle);
      }
    },
  };
}

// ---- nvcc ----

function openNvcc(path: string | undefined): CudaCompiler {
  const fs = nodeModule('node:fs')!;
  const { join, delimiter } = nodeModule('node:path')!;
  const { tmpdir } = nodeModule('node:os')!;
  const { execFile, spawnSync } = nodeModule('node:child_process')!;
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...toolkits().map((home) => join(home, 'bin')),
  ];
  const file = path ?? folders.map((dir) => join(dir, 'nvcc')).find((f) => fs.existsSync(f));
  if (!file) throw new Error('nvcc is not found (PATH, CUDA_HOME/bin)');
  const listed = spawnSync(file, ['--list-gpu-code'], { encoding: 'utf8' });
  const capabilities = [...(listed.stdout ?? '').matchAll(/^sm_(\d+)$/gm)].map((m) => Number(m[1]));
  if (listed.error || listed.status !== 0 || capabilities.length === 0)
    throw new Error(`${file} does not run: ${listed.error?.message ?? listed.stderr}`);
  const version = spawnSync(file, ['--version'], { encoding: 'utf8' }).stdout.trim();
  const release = /release [\d.]+, (V[\d.]+)/.exec(version)?.[1] ?? version.split('\n').at(-1);
  return {
    name: `nvcc ${release}`,
    identity: `nvcc ${version}`,
    capabilities,
    async compile(text, arch) {
      const dir = fs.mkdtempSync(join(tmpdir(), 'quern-nvcc-'));
      try {
        const [from, to] = [join(dir, 'kernel.cu'), join(dir, 'kernel.out')];
        fs.writeFileSync(from, text);
        const kind = arch.startsWith('sm_') ? '-cubin' : '-ptx';
        const args = [...flags, kind, `-arch=${arch}`, '-o', to, from];
        await new Promise<void>((resolve, reject) => {
          execFile(file, args, { maxBuffer: 2 ** 26 }, (e, stdout, stderr) =>
            e ? reject(new Refused(`${stderr}${stdout}` || e.message)) : resolve(),
          );
        });
        const image = new Uint8Array(fs.readFileSync(to));
        // The driver reads PTX up to a zero.
        return kind === '-ptx' ? new Uint8Array([...image, 0]) : image;
      } finally {
        fs.rmSync(dir, { recursive: true, force: true });
      }
    },
  };
}

// ---- images ----

/** Images for one GPU: found on disk, or compiled and put there. */
export class ImageMaker {
  readonly compiler: CudaCompiler;
  readonly #arch: string;
  readonly #disk: DiskCache | undefined;

  constructor(options: CudaCompilerOptions, capability: number) {
    this.compiler = findCompiler(options);
    this.#arch = archFor(this.compiler, capability);
    const { cache } = options;
    const dir = cache === false ? undefined : typeof cache === 'string' ? cache : defaultCacheDir();
    this.#disk = dir === undefined ? undefined : new DiskCache(dir);
  }

  async image(kernel: string, text: string): Promise<Uint8Array> {
    const hash = nodeModule('node:crypto')!.createHash('sha256');
    const identity = [this.compiler.identity, this.#arch, ...flags].join('\n');
    const key = hash.update(`cuda image\n${identity}\n${text}`).digest('hex');
    const held = this.#disk?.get(key);
    if (held?.blobs.image) return held.blobs.image;
    try {
      const image = await this.compiler.compile(text, this.#arch);
      this.#disk?.put(key, { header: { identity }, blobs: { image } });
      return image;
    } catch (e) {
      if (e instanceof Refused)
        return raise('Q5109', { kernel, compiler: this.compiler.name, detail: e.message }, e);
      throw e;
    }
  }
}

/** Code for the GPU itself, or PTX of the newest older one, which the driver translates. */
function archFor(compiler: CudaCompiler, capability: number): string {
  if (compiler.capabilities.includes(capability)) return `sm_${capability}`;
  const older = compiler.capabilities.filter((c) => c < capability);
  if (older.length > 0) return `compute_${Math.max(...older)}`;
  const detail = `${compiler.name} makes no code for compute capability ${(capability / 10).toFixed(1)}`;
  return raise('Q5106', { kind: 'cuda', detail });
}
