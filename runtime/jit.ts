// From a request to an artifact: memory, then disk, then the compiler, which is loaded only here and only then.
// A cached result counts while every file it was made from still has the digest it had, and while the compiler
// is the same; so a hit needs neither TypeScript nor binaryen.
import type { Artifact, Json, Manifest, PackedInfo } from '../compiler/artifact.ts';
import { DiskCache, type Entry, defaultCacheDir } from './cache.ts';
import type {
  CompileRequest,
  CompilerApi,
  Dependency,
  HostArray,
  KernelRequest,
  ModuleInfo,
  SourceHost,
} from './compiler-api.ts';
import { nodeModule } from './platform.ts';

export interface JitOptions {
  /** Folder of the disk cache; false for none, true or nothing for the default one. */
  readonly cache?: boolean | string;
  /** Sources from elsewhere than the file system; such results are kept in memory only. */
  readonly host?: SourceHost;
  /** In place of the compiler in this package, and its version: for tests and bundles. */
  readonly compiler?: () => Promise<CompilerApi>;
  readonly version?: string;
}

/** How often each source of results served, for `--verbose` and tests. */
export interface JitStats {
  memory: number;
  disk: number;
  compiled: number;
}

interface Made<T> {
  readonly value: T;
  readonly dependencies: readonly Dependency[];
}

/** JSON with sorted keys: equal requests have equal text. */
function stableText(x: unknown): string {
  return JSON.stringify(x, (_, v) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );
}

async function sha256(data: string | Uint8Array): Promise<string> {
  const crypto = nodeModule('node:crypto');
  if (crypto) return crypto.createHash('sha256').update(data).digest('hex');
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  const digest = await globalThis.crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, '0')).join('');
}

let fingerprint: string | undefined;
/**
 * Identity of the compiler in this package without loading it: sizes and times of its files. A changed
 * compiler, released or in the making, so never meets results of another.
 */
function compilerFingerprint(): string {
  fingerprint ??= readFingerprint();
  return fingerprint;
}

function readFingerprint(): string {
  const fs = nodeModule('node:fs');
  const path = nodeModule('node:path');
  const url = nodeModule('node:url');
  if (!fs || !path || !url) return 'bundled';
  const root = path.dirname(path.dirname(url.fileURLToPath(import.meta.url)));
  const seen: string[] = [];
  const visit = (dir: string): void => {
    for (const e of fs.readdirSync(dir, { withFileTypes: true })) {
      const file = path.join(dir, e.name);
      if (e.isDirectory()) visit(file);
      else if (/\.[jt]s$/.test(e.name)) {
        const { size, mtimeMs } = fs.statSync(file);
        seen.push(`${path.relative(root, file)}:${size}:${mtimeMs}`);
      }
    }
  };
  for (const folder of ['compiler', 'backends']) {
    const dir = path.join(root, folder);
    if (fs.existsSync(dir)) visit(dir);
  }
  return seen.sort().join('\n');
}

/** Compiles and interprets for one loaded file; results are shared by all that use the same compiler. */
export class Jit {
  readonly stats: JitStats = { memory: 0, disk: 0, compiled: 0 };
  readonly #disk: DiskCache | undefined;
  readonly #host: SourceHost | undefined;
  readonly #version: string;
  readonly #load: () => Promise<CompilerApi>;
  readonly #memory: Map<string, Promise<Made<unknown>>>;
  #compiler: Promise<CompilerApi> | undefined;

  constructor(options: JitOptions = {}) {
    const { cache, host } = options;
    const dir = cache === false ? undefined : typeof cache === 'string' ? cache : defaultCacheDir();
    this.#disk = dir && !host && nodeModule('node:fs') ? new DiskCache(dir) : undefined;
    this.#host = host;
    this.#version = options.version ?? compilerFingerprint();
    this.#load = options.compiler ?? builtinCompiler;
    this.#memory = host || options.compiler ? new Map() : sharedMemory;
  }

  artifact(request: CompileRequest): Promise<Artifact> {
    const compile = async (): Promise<Made<Artifact>> => {
      const { artifact, dependencies } = await (await this.#api()).compile(request, this.#host);
      return { value: artifact, dependencies };
    };
    return this.#get(['artifact', request], compile, artifactCodec);
  }

  describe(file: string): Promise<ModuleInfo> {
    const read = async (): Promise<Made<ModuleInfo>> => {
      const info = (await this.#api()).describe(file, this.#host);
      return { value: info, dependencies: info.dependencies };
    };
    return this.#get(['describe', file], read, infoCodec);
  }

  /**
   * What a call looks like, for those who run no code of it. Kept for the life of the session only: it says
   * nothing of the files that it was made from, and costs a parse.
   */
  async signature(request: KernelRequest): Promise<Manifest> {
    return (await this.#api()).signature(request, this.#host);
  }

  async interpret(
    request: KernelRequest,
    inputs: readonly HostArray[],
  ): Promise<readonly HostArray[]> {
    return (await (await this.#api()).interpret(request, inputs, this.#host)).results;
  }

  #api(): Promise<CompilerApi> {
    this.#compiler ??= this.#load();
    return this.#compiler;
  }

  async #get<T>(what: unknown, make: () => Promise<Made<T>>, codec: Codec<T>): Promise<T> {
    const text = stableText(what);
    const held = this.#memory.get(text) as Promise<Made<T>> | undefined;
    if (held) {
      const made = await held;
      if (await this.#fresh(made.dependencies)) {
        this.stats.memory++;
        return made.value;
      }
    }
    const making = this.#fromDisk(text, make, codec);
    this.#memory.set(text, making);
    try {
      return (await making).value;
    } catch (e) {
      // An error is not a result: the next call tries again, with the file as it is by then.
      if (this.#memory.get(text) === making) this.#memory.delete(text);
      throw e;
    }
  }

  async #fromDisk<T>(
    text: string,
    make: () => Promise<Made<T>>,
    codec: Codec<T>,
  ): Promise<Made<T>> {
    if (!this.#disk) {
      this.stats.compiled++;
      return make();
    }
    const key = await sha256(`${this.#version}\n${text}`);
    const entry = this.#disk.get(key);
    if (entry) {
      const { dependencies, text: asked } = entry.header as unknown as EntryHeader;
      if (asked === text && (await this.#fresh(dependencies))) {
        this.stats.disk++;
        return { value: codec.decode(entry), dependencies };
      }
    }
    this.stats.compiled++;
    const made = await make();
    const { value, blobs } = codec.encode(made.value);
    const header = { text, dependencies: made.dependencies, value } as unknown as Json;
    this.#disk.put(key, { header, blobs });
    return made;
  }

  /** Whether every file still is what it was. */
  async #fresh(dependencies: readonly Dependency[]): Promise<boolean> {
    const fs = nodeModule('node:fs');
    for (const { path, sha256: want } of dependencies) {
      try {
        // Without files and without a host there is nothing to compare with: a page's sources do not change.
        if (!this.#host && !fs) continue;
        const now = this.#host ? this.#host.readFile(path) : fs!.readFileSync(path);
        if ((await sha256(now)) !== want) return false;
      } catch {
        return false;
      }
    }
    return true;
  }
}

const sharedMemory = new Map<string, Promise<Made<unknown>>>();

async function builtinCompiler(): Promise<CompilerApi> {
  return import('../compiler/index.ts');
}

interface EntryHeader {
  readonly text: string;
  readonly dependencies: readonly Dependency[];
  readonly value: Json;
}

/** How a result is laid out in an entry. */
interface Codec<T> {
  encode(value: T): { readonly value: Json; readonly blobs: Entry['blobs'] };
  decode(entry: Entry): T;
}

const contentOf = (e: Entry): unknown => (e.header as unknown as EntryHeader).value;

const infoCodec: Codec<ModuleInfo> = {
  encode: (info) => ({ value: info as unknown as Json, blobs: {} }),
  decode: (entry) => contentOf(entry) as ModuleInfo,
};

/** The manifest of an artifact, and those of the programs beside it. */
interface StoredArtifact {
  readonly manifest: Manifest;
  readonly packed: readonly (Omit<PackedInfo, 'repack'> & { readonly stored: StoredArtifact })[];
}
type Blobs = { readonly [name: string]: Uint8Array };

const named = (prefix: string, blobs: Blobs): Blobs =>
  Object.fromEntries(Object.entries(blobs).map(([k, v]) => [`${prefix}${k}`, v]));
const under = (prefix: string, blobs: Blobs): Blobs =>
  Object.fromEntries(
    Object.entries(blobs)
      .filter(([k]) => k.startsWith(prefix))
      .map(([k, v]) => [k.slice(prefix.length), v]),
  );

function store(a: Artifact): { readonly stored: StoredArtifact; readonly blobs: Blobs } {
  const { manifest, code, constants, variants = {}, packed = [] } = a;
  const inner = packed.map(({ repack, ...info }) => ({ info, made: store(repack) }));
  return {
    stored: {
      manifest,
      packed: inner.map(({ info, made }) => ({ ...info, stored: made.stored })),
    },
    blobs: Object.assign(
      { code, ...named('const:', constants), ...named('variant:', variants as Blobs) },
      ...inner.map(({ made }, i) => named(`packed:${i}:`, made.blobs)),
    ),
  };
}

function restore({ manifest, packed }: StoredArtifact, blobs: Blobs): Artifact {
  const inner = packed.map(({ stored, ...info }, i) => ({
    ...info,
    repack: restore(stored, under(`packed:${i}:`, blobs)),
  }));
  return {
    manifest,
    code: blobs.code!,
    constants: under('const:', blobs),
    ...(manifest.threads ? { variants: under('variant:', blobs) } : {}),
    ...(inner.length ? { packed: inner } : {}),
  };
}

const artifactCodec: Codec<Artifact> = {
  encode(artifact) {
    const { stored, blobs } = store(artifact);
    return { value: stored as unknown as Json, blobs };
  },
  decode: (entry) => restore(contentOf(entry) as StoredArtifact, entry.blobs),
};
