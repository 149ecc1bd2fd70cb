// Regenerates the stored texts of tests (passes, loop IR, diagnostics) and prints what changed. Review the diff.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { figuresPath, withTable } from '../bench/static.ts';
import { refusals } from '../test/conformance/gpujs.ts';
import { keptRefusals, refusedPath } from '../test/conformance/refusals.ts';
import { backendsPage, pagePath } from '../test/conformance/table.ts';
import { cudaGoldens } from '../test/cuda/golden.ts';
import { names, rendered, snapshotPath } from '../test/diagnostics/cases.ts';
import { gpujsGoldens } from '../test/gpujs/golden.ts';
import { actual, cases, marker } from '../test/passes/cases.ts';
import { goldens } from '../test/schedule/golden.ts';
import { wgslGoldens } from '../test/wgsl/golden.ts';

let changed = 0;
function update(name: string, path: string, text: string): void {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  writeFileSync(path, text);
  console.log(`updated ${name}`);
  changed += 1;
}

for (const c of cases()) update(c.name, c.path, `${c.input}${marker}${actual(c)}`);
for (const g of [...goldens, ...cudaGoldens, ...wgslGoldens, ...gpujsGoldens])
  update(g.name, g.path, await g.text());
for (const name of names()) update(name, snapshotPath(name), `${rendered(name)}\n`);
update('what gpujs refuses', refusedPath, await refusals());
update('docs/backends.md', pagePath, backendsPage(keptRefusals()));
update('docs/webgpu.md', figuresPath, await withTable(readFileSync(figuresPath, 'utf8')));
console.log(`${changed} cases changed`);
