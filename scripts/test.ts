// The test driver: npm test [-- part-of-a-path ...]. One child process a file, two at a time, each with a time limit; sums
// up uvu's totals and the printed skips. A file that runs no test fails, as does a run without any file.
// The last line is always `N passed, N failed, N skipped`, alone.
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    root: { type: 'string', default: fileURLToPath(new URL('../test', import.meta.url)) },
    timeout: { type: 'string', default: '120' },
    jobs: { type: 'string', default: '2' },
  },
});
const root = resolve(flags.root);
const limitMs = Number(flags.timeout) * 1000;

interface FileResult {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skips: readonly string[];
  readonly seconds: number;
  readonly output: string;
  /** Why the file failed, beyond the tests that did. */
  readonly fault?: string;
}

function testFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : testFiles(path);
    return entry.name.endsWith('.test.ts') ? [path] : [];
  });
}

const running = new Set<ChildProcess>();

/** Ends a child with everything it started: each child leads its own process group. */
function end(child: ChildProcess): void {
  try {
    if (child.pid) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The group is already gone.
  }
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    running.forEach(end);
    process.exit(130);
  });
}

function runFile(path: string): Promise<FileResult> {
  const started = performance.now();
  const env = { ...process.env, NO_COLOR: '1' };
  delete (env as NodeJS.ProcessEnv).FORCE_COLOR;
  const child = spawn(
    process.execPath,
    ['--import', new URL('typescript.js', import.meta.url).href, path],
    {
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  running.add(child);
  let output = '';
  let late = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const timer = setTimeout(() => {
    late = true;
    end(child);
  }, limitMs);
  return new Promise((done) => {
    // A grandchild that is left over would hold the pipes open.
    child.on('exit', () => end(child));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      const seconds = (performance.now() - started) / 1000;
      const name = relative(root, path).split(sep).join('/');
      const status = late ? `exceeded ${flags.timeout} s` : signal ? `ended by ${signal}` : code;
      done({ name, seconds, output, ...judge(output, status) });
    });
  });
}

/** Counts from a file's output. `status` is its exit code, or in words how it ended otherwise. */
function judge(
  output: string,
  status: number | string | null,
): Pick<FileResult, 'passed' | 'failed' | 'skips' | 'fault'> {
  const count = (label: string): number | undefined => {
    const last = [...output.matchAll(new RegExp(`^ {2}${label}: +(\\d+)$`, 'gm'))].at(-1);
    return last && Number(last[1]);
  };
  const total = count('Total');
  const passed = count('Passed') ?? 0;
  const skips = [...output.matchAll(/(?:^|\s)SKIP (.+?: .+)$/gm)].map((m) => m[1]!);
  const unnamed = count('Skipped') ?? 0;
  for (let i = 0; i < unnamed; i++) skips.push('a test: skipped through uvu, without a reason');

  const failed = (total ?? 0) - passed;
  const fault =
    typeof status === 'string'
      ? status
      : total === undefined && status === 0
        ? 'no test suite ran'
        : total === 0 && skips.length === 0
          ? 'the file has no test'
          : status !== 0 && failed === 0
            ? `exit code ${status}`
            : undefined;
  // A file that fails as a whole counts as one failure more.
  return { passed, failed: failed + (fault ? 1 : 0), skips, fault };
}

function report(r: FileResult): void {
  const counts = [`${r.passed} passed`];
  if (r.failed) counts.push(`${r.failed} failed`);
  if (r.skips.length) counts.push(`${r.skips.length} skipped`);
  const mark = r.failed ? 'FAIL' : 'ok  ';
  const why = r.fault ? ` (${r.fault})` : '';
  console.log(`${mark} ${r.name}: ${counts.join(', ')}, ${r.seconds.toFixed(1)} s${why}`);
}

const isWanted = (name: string): boolean =>
  positionals.length === 0 || positionals.some((part) => name.includes(part));
const queue = testFiles(root)
  .filter((path) => isWanted(relative(root, path).split(sep).join('/')))
  .sort();
const results: FileResult[] = [];
async function worker(): Promise<void> {
  for (let path = queue.shift(); path; path = queue.shift()) {
    const result = await runFile(path);
    report(result);
    results.push(result);
  }
}
await Promise.all(Array.from({ length: Number(flags.jobs) }, worker));

for (const r of results.filter((x) => x.failed)) console.log(`\n=== ${r.name}\n${r.output.trim()}`);
const skips = results.flatMap((r) => r.skips.map((s) => `  ${r.name}: ${s}`));
if (skips.length) console.log(`\nSkipped:\n${skips.join('\n')}`);

const sum = (of: (r: FileResult) => number): number => results.reduce((n, r) => n + of(r), 0);
const passed = sum((r) => r.passed);
const failed = sum((r) => r.failed);
if (passed + failed === 0) {
  const what = positionals.length ? `no test matches ${positionals.join(' ')}` : 'there is no test';
  console.log(`\nNothing ran: ${what}`);
}
process.exitCode = failed || passed === 0 ? 1 : 0;
console.log(`\n${passed} passed, ${failed} failed, ${skips.length} skipped`);
