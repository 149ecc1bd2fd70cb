// Holds the architecture: which folder may import which, no cycles between folders (of what is loaded), and the size of files.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filesIn, type Import, importsOf, productFiles, readRepo } from './imports.ts';

/** What files under a prefix may import; their own folder always. The first rule that matches a file holds. */
interface Arrow {
  readonly from: string;
  readonly to: readonly string[];
  /** Only as `import type`. */
  readonly types?: readonly string[];
  /** Only as `import()`. */
  readonly dynamic?: readonly string[];
  /** Packages; Node's own modules end with ':'. Any, if absent. */
  readonly packages?: readonly string[];
}

const backend: Omit<Arrow, 'from'> = {
  to: [
    'backends/backend.ts',
    'compiler/artifact.ts',
    'compiler/limits.ts',
    'compiler/loops/',
    'compiler/diagnostics/',
    'compiler/ir/dtype.ts',
    'compiler/ir/algebra.ts',
    'compiler/ir/ops.ts',
  ],
};
const irAndMessages = ['compiler/ir/', 'compiler/diagnostics/'];

const arrows: readonly Arrow[] = [
  { from: 'compiler/language/', to: [], packages: [] },
  { from: 'compiler/diagnostics/', to: [], packages: ['picocolors'] },
  {
    from: 'compiler/ir/',
    to: ['compiler/diagnostics/'],
    types: ['compiler/artifact.ts'],
    packages: ['chevrotain'],
  },
  { from: 'compiler/artifact.ts', to: [], types: ['compiler/ir/dtype.ts'], packages: [] },
  { from: 'compiler/limits.ts', to: [], packages: [] },
  {
    from: 'compiler/loops/',
    to: irAndMessages,
    types: ['compiler/artifact.ts'],
    packages: ['chevrotain'],
  },
  { from: 'compiler/interpreter/', to: irAndMessages, packages: [] },
  { from: 'compiler/passes/', to: [...irAndMessages, 'compiler/limits.ts'], packages: [] },
  {
    from: 'compiler/schedule/',
    to: [...irAndMessages, 'compiler/loops/', 'compiler/passes/', 'compiler/limits.ts'],
    packages: [],
  },
  {
    from: 'compiler/frontend/',
    to: irAndMessages,
    types: ['compiler/artifact.ts'],
    packages: ['typescript', 'node:'],
  },
  { from: 'compiler/', to: ['compiler/', 'backends/'] },
  { from: 'backends/', ...backend },
  {
    from: 'runtime/jit.ts',
    to: ['runtime/', 'compiler/ir/dtype.ts'],
    types: ['compiler/artifact.ts'],
    dynamic: ['compiler/index.ts'],
    packages: ['node:'],
  },
  {
    from: 'runtime/models/',
    to: ['runtime/', 'compiler/ir/dtype.ts'],
    types: ['compiler/artifact.ts'],
    packages: ['node:', '@huggingface/tokenizers'],
  },
  {
    from: 'runtime/',
    to: ['compiler/ir/dtype.ts'],
    types: ['compiler/artifact.ts', 'compiler/limits.ts'],
    packages: ['node:'],
  },
  {
    // What generated packages carry: small, and nothing but the language's own host.
    from: 'aot/module/',
    to: [
      'compiler/ir/dtype.ts',
      'runtime/pack.ts',
      'runtime/platform.ts',
      'runtime/devices/allocator.ts',
      'runtime/devices/pool.ts',
      'runtime/devices/relaxed.ts',
      'runtime/devices/shared-memory.ts',
      'runtime/devices/worker.ts',
    ],
    packages: [],
  },
  // Not in the published package, which has what this makes.
  { from: 'aot/bundle.ts', to: ['aot/'], packages: ['terser', 'typescript', 'node:'] },
  { from: 'aot/plugin.ts', to: ['aot/'], packages: ['unplugin', 'node:'] },
  {
    from: 'aot/',
    to: ['compiler/'],
    types: ['runtime/errors.ts'],
    packages: ['typescript', 'node:'],
  },
  { from: 'ops/', to: [], packages: ['quern'] },
  { from: 'cli/', to: ['runtime/', 'compiler/', 'aot/', 'ops/', 'index.ts', 'package.json'] },
  { from: 'editor/', to: ['compiler/'], packages: ['typescript'] },
  { from: 'index.ts', to: ['compiler/language/', 'runtime/'], packages: [] },
];

const within = (path: string, prefixes: readonly string[] = []): boolean =>
  prefixes.some((p) => (p.endsWith('/') || p.endsWith(':') ? path.startsWith(p) : path === p));

/** Why an import breaks the rules; undefined if it does not. */
function violation(i: Import): string | undefined {
  const arrow = arrows.find((a) => within(i.from, [a.from]));
  if (!arrow) return `${i.from} belongs to no rule`;
  const text = `${i.from} -> ${i.to}`;
  if (!i.relative) {
    const allowed = !arrow.packages || within(i.to, arrow.packages);
    return allowed ? undefined : `${text}: the package is not allowed here`;
  }
  const own = folderOf(i.from);
  if (within(i.to, arrow.to) || folderOf(i.to) === own) return;
  if (i.kind === 'type' && within(i.to, arrow.types)) return;
  if (i.kind === 'dynamic' && within(i.to, arrow.dynamic)) return;
  if (within(i.to, arrow.types)) return `${text} is allowed as \`import type\` only`;
  if (within(i.to, arrow.dynamic)) return `${text} is allowed as \`import()\` only`;
  return `${text} is not allowed`;
}

/** The node of the folder graph that a file belongs to: a stage of the compiler, a backend, a top folder. */
function folderOf(path: string): string {
  const parts = path.split('/');
  if (parts.length === 1) return path;
  const nested = parts[0] === 'compiler' || parts[0] === 'backends';
  return nested ? parts.slice(0, 2).join('/') : parts[0]!;
}

/** One cycle of a graph as the list of its nodes, first node repeated; undefined if there is none. */
function cycleOf(graph: ReadonlyMap<string, ReadonlySet<string>>): string[] | undefined {
  const finished = new Set<string>();
  const walk = (node: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (finished.has(node)) return undefined;
    for (const next of graph.get(node) ?? []) {
      const cycle = walk(next, [...path, node]);
      if (cycle) return cycle;
    }
    finished.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const cycle = walk(node, []);
    if (cycle) return cycle;
  }
  return undefined;
}

function folderGraph(imports: readonly Import[]): Map<string, Set<string>> {
  const graph = new Map<string, Set<string>>();
  for (const i of imports) {
    // Types are erased, and a dynamic import loads later, on purpose: the runtime meets the compiler so.
    if (!i.relative || i.kind !== 'value') continue;
    const [a, b] = [folderOf(i.from), folderOf(i.to)];
    if (a !== b) graph.set(a, (graph.get(a) ?? new Set()).add(b));
  }
  return graph;
}

const test = suite('architecture');
const all = productFiles().flatMap((path) => importsOf(path));
const verdict = (from: string, text: string): string[] =>
  importsOf(from, text).flatMap((i) => violation(i) ?? []);

test('imports point one way', () => {
  assert.ok(all.length > 0);
  assert.is(all.flatMap((i) => violation(i) ?? []).join('\n'), '');
});

test('the rules see every form of import', () => {
  assert.equal(verdict('runtime/x.ts', `import { y } from '../compiler/y.ts';`), [
    'runtime/x.ts -> compiler/y.ts is not allowed',
  ]);
  assert.equal(verdict('runtime/x.ts', `export * from '../compiler/y.ts';`).length, 1);
  assert.equal(verdict('runtime/x.ts', `type A = import('../compiler/y.ts').A;`).length, 1);
  assert.equal(verdict('runtime/x.ts', `await import('../compiler/index.ts');`).length, 1);
  assert.equal(verdict('runtime/jit.ts', `await import('../compiler/index.ts');`), []);
  assert.equal(verdict('runtime/jit.ts', `import { compile } from '../compiler/index.ts';`), [
    'runtime/jit.ts -> compiler/index.ts is allowed as `import()` only',
  ]);
  assert.equal(verdict('runtime/x.ts', `import type { A } from '../compiler/artifact.ts';`), []);
  assert.equal(verdict('runtime/x.ts', `import { type A } from '../compiler/artifact.ts';`), [
    'runtime/x.ts -> compiler/artifact.ts is allowed as `import type` only',
  ]);
  assert.equal(
    verdict('ops/a/x.ts', `import { y } from '../b/y.ts'; import { abs } from 'quern';`),
    [],
  );
  assert.equal(verdict('ops/x.ts', `import { readFileSync } from 'node:fs';`), [
    'ops/x.ts -> node:fs: the package is not allowed here',
  ]);
  assert.equal(verdict('ops/x.ts', `import { y } from '../compiler/language/index.ts';`).length, 1);
  assert.equal(verdict('backends/wasm/x.ts', `import { y } from '../wgsl/y.ts';`).length, 1);
  const required = `const ts = createRequire(import.meta.url)('typescript');`;
  assert.equal(verdict('compiler/ir/x.ts', required).length, 1);
});

test('folders do not import in circles', () => {
  assert.is(cycleOf(folderGraph(all))?.join(' -> '), undefined);
  const circle = new Map([
    ['a', new Set(['b'])],
    ['b', new Set(['c'])],
    ['c', new Set(['b'])],
  ]);
  assert.is(cycleOf(circle)?.join(' -> '), 'b -> c -> b');
});

test('files stay short: a warning from 500 lines, a failure from 800', () => {
  const more = ['test', 'scripts', 'bench'].flatMap((f) => filesIn(f, (p) => p.endsWith('.ts')));
  const sizes = [...productFiles(), ...more].map((path) => {
    return { path, lines: readRepo(path).split('\n').length - 1 };
  });
  for (const { path, lines } of sizes)
    if (lines > 500) console.log(`  long: ${path}, ${lines} lines`);
  assert.equal(
    sizes.filter((f) => f.lines > 800).map((f) => `${f.path}: ${f.lines} lines, at most 800`),
    [],
  );
});

test.run();
