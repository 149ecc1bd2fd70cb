// The plugin of TypeScript's language server, in a server of its own: what it reports, where, and of what text.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Server } from './tsserver.ts';

const test = suite('editor plugin');
const folder = mkdtempSync(join(tmpdir(), 'quern-editor-'));
mkdirSync(join(folder, 'node_modules'));
symlinkSync(fileURLToPath(new URL('../..', import.meta.url)), join(folder, 'node_modules/quern'));
writeFileSync(
  join(folder, 'tsconfig.json'),
  JSON.stringify({ compilerOptions: { plugins: [{ name: 'quern/editor' }] }, include: ['*.ts'] }),
);
const server = new Server(folder, folder);

function open(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, '');
  server.tell('open', { file, fileContent: text });
  return file;
}
const imports = `import { matmul, transpose } from 'quern';
import type { Dim, Tensor, f32 } from 'quern';
`;
const product = `${imports}
export function product<M extends Dim, K extends Dim>(x: Tensor<f32, [M, K]>, w: Tensor<f32, [M, K]>) {
  return matmul(x, w);
}
`;

test('problems of what is typed are shown at their places, and go when it is mended', async () => {
  const file = open('product.ts', product);
  const [problem, ...others] = await server.problemsOnceChecked(file);
  assert.equal(others, []);
  assert.equal(problem!.start, { line: 5, offset: 10 });
  assert.equal(problem!.end, { line: 5, offset: 22 });
  assert.match(problem!.text, /matmul/);
  assert.match(problem!.text, /\nfound: /);
  server.tell('change', {
    file,
    line: 5,
    offset: 20,
    endLine: 5,
    endOffset: 21,
    insertString: 'transpose(w)',
  });
  assert.equal(await server.problems(file), []);
});

test('a problem is reported in the file that has it, from the text of all open files', async () => {
  const helper = open(
    'helper.ts',
    `${imports}export const twice = (x: Tensor) => matmul(x, x, x);\n`,
  );
  const user = open(
    'user.ts',
    `import type { Dim, Tensor, f32 } from 'quern';
import { twice } from './helper.ts';
export function four<N extends Dim>(x: Tensor<f32, [N, N]>) {
  return twice(x) + twise(x);
}
`,
  );
  const found = await server.problems(user);
  assert.equal(
    found.map((d) => d.start.line),
    [4],
  );
  assert.match(found[0]!.text, /twise/);
  assert.equal(await server.problems(helper), [], 'a helper is checked where it is called');
});

test('programs and other files are left alone', async () => {
  const program = open(
    'program.ts',
    `import { array, load, scope } from 'quern';
export const x = await scope(() => load('./product.ts'));
export const y = array([1], [1]);
`,
  );
  const other = open('other.ts', `export class Other { run() { return new Date(); } }\n`);
  const typed = open(
    'typed.ts',
    `import type { HostTensor } from 'quern';\nexport class Held { x?: HostTensor; }\n`,
  );
  for (const file of [program, other, typed]) assert.equal(await server.problems(file), []);
});

test('a file that cannot be read to its end is one problem, not the end of the server', async () => {
  const file = open('broken.kernel.ts', `${imports}export function f(x: Tensor<f32, [Q]>) {\n`);
  assert.ok((await server.problems(file)).length > 0);
  assert.ok((await server.problems(file)).length > 0);
});

test.after(() => {
  server.end();
  rmSync(folder, { recursive: true, force: true });
});
test.run();
