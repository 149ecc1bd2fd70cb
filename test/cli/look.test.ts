// quern inspect and quern diff, the reports in HTML, and quern imatrix: looking at models without changing them.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { convert } from '../../cli/commands/convert.ts';
import { diff } from '../../cli/commands/diff.ts';
import { inspect } from '../../cli/commands/inspect.ts';
import { Difference, Histogram, Picture } from '../../runtime/models/statistics.ts';
import { openBrowser, serve } from '../browser/browser.ts';
import { randomValues, temporaryFolder, writeTensors, writeTinyModel } from '../models/tiny.ts';
import { skip } from '../support/skip.ts';
import { quern } from './run.ts';

const test = suite('looking at models');
let folder = '';
const at = (...names: string[]) => join(folder, ...names);
async function printed(work: () => Promise<void>): Promise<string> {
  const { log } = console;
  const lines: string[] = [];
  console.log = (text: string) => lines.push(text);
  try {
    await work();
  } finally {
    console.log = log;
  }
  return lines.join('\n');
}
test.before(async () => {
  folder = await temporaryFolder();
  await writeTinyModel(at('tiny'));
  await printed(() => convert(at('tiny'), at('q4.gguf'), { format: 'q4_0', report: at('r.html') }));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('inspect lists tensors, formats and bits per weight without reading values', async () => {
  const text = await printed(() => inspect(at('q4.gguf'), {}));
  assert.match(text, /blk\.0\.attn_q\.weight\s+64 x 64\s+q4_0\s+4\.500/);
  assert.match(text, /q4_0: 15 tensors, \d+ weights, 4\.500 bits\/weight/);
  assert.match(text, /in all: 20 tensors/);
  assert.match(text, /general\.architecture\s+"llama"/);
  assert.match(text, /tokenizer\.ggml\.tokens\s+string\[2048\]/);
  const plain = await printed(() => inspect(at('tiny'), { only: ['layers.0.*'], skip: ['*w1*'] }));
  assert.match(plain, /in all: 8 tensors/);
});

test('inspect counts values, and names what is not finite', async () => {
  const data = Float32Array.of(-1, -0.5, 0, 0, 0.25, 0.9, NaN, Infinity);
  await writeTensors(at('v.safetensors'), [{ name: 'v', shape: [2, 4], data }]);
  const out = await printed(() => inspect(at('v.safetensors'), { histogram: true, json: true }));
  const { values } = JSON.parse(out).tensors[0];
  assert.equal(
    [values.min, values.max, values.zeros, values.nonfinite, values.range],
    [-1, Math.fround(0.9), 2, 2, 2],
  );
  assert.is(
    values.counts.reduce((a: number, b: number) => a + b),
    6,
  );
  const text = await printed(() => inspect(at('v.safetensors'), { histogram: true }));
  assert.match(text, /█.*2 not finite/);
});

test('a histogram that grew is the one of its last range', () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: 1 }),
      (list) => {
        const values = Float32Array.from(list);
        const grown = new Histogram(16);
        for (const x of values) grown.add(Float32Array.of(x));
        const top = Math.max(...values.map(Math.abs));
        assert.ok(top <= grown.range);
        assert.is(
          grown.counts.reduce((a, b) => a + b),
          values.length,
        );
        // As if the range had been known: bins of numbers that rounding does not move.
        if (top === 0) return;
        const known = new Histogram(16);
        known.range = grown.range;
        known.add(values);
        assert.equal(grown.counts, known.counts);
      },
    ),
  );
});

test('the worst blocks are those of a sort of all', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 }), (columns, keep) => {
      const rows = 6;
      const a = randomValues(rows * columns, columns);
      const b = randomValues(rows * columns, keep + 77);
      const d = new Difference(columns, 4, keep);
      d.add(0, a.subarray(0, 2 * columns), b.subarray(0, 2 * columns));
      d.add(2, a.subarray(2 * columns), b.subarray(2 * columns));
      const all: { row: number; column: number; error: number }[] = [];
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column += 4) {
          let error = 0;
          for (let i = column; i < Math.min(columns, column + 4); i++)
            error += (a[row * columns + i]! - b[row * columns + i]!) ** 2;
          all.push({ row, column, error: Math.sqrt(error) });
        }
      all.sort((x, y) => y.error - x.error);
      const found = d.worst.map(({ row, column, error }) => ({ row, column, error }));
      assert.equal(found, all.slice(0, keep));
      const sum = all.reduce((s, x) => s + x.error ** 2, 0);
      assert.ok(Math.abs(d.squaredError - sum) < 1e-9);
    }),
  );
});

test('a picture places the error where it is', () => {
  const p = new Picture(100, 64);
  const before = new Float32Array(6400).fill(1);
  const after = before.slice();
  after[99 * 64 + 63] = 0;
  for (let row = 0; row < 100; row += 10)
    p.add(
      row,
      before.subarray(row * 64, (row + 10) * 64),
      after.subarray(row * 64, (row + 10) * 64),
    );
  assert.equal([p.mapRows, p.mapColumns], [48, 2]);
  assert.equal(p.map.map((x) => x > 0).indexOf(true), 95);
  assert.is(p.weights.at(-1), 6400);
  assert.is(
    p.levels.reduce((a, b) => a + b),
    6400,
  );
});

test('diff compares across kinds of files, and finds the block that was changed', async () => {
  const data = randomValues(8 * 96, 5);
  await writeTensors(at('a.safetensors'), [
    { name: 'w', shape: [8, 96], data },
    { name: 'gone', shape: [1, 2], data: new Float32Array(2) },
  ]);
  const other = data.slice();
  other[5 * 96 + 70]! += 3;
  await writeTensors(at('b.safetensors'), [{ name: 'w', shape: [8, 96], data: other }]);
  const text = await printed(() =>
    diff(at('a.safetensors'), at('b.safetensors'), { block: 32, worst: 3 }),
  );
  assert.match(text, /w\s+5\s+64 to 95\s+3\s+3/);
  assert.match(text, /Not compared, of A: gone/);
  const out = await printed(() =>
    diff(at('tiny'), at('q4.gguf'), { block: 32, worst: 2, json: true }),
  );
  const { tensors } = JSON.parse(out);
  assert.is(tensors.length, 20);
  for (const t of tensors) {
    if (t.b === 'q4_0')
      assert.ok(t.relativeError > 0.05 && t.relativeError < 0.2 && t.worst.length === 2);
    else assert.is(t.relativeError, 0);
  }
});

test('models with nothing in common are an error', async () => {
  await writeTensors(at('z.safetensors'), [{ name: 'z', shape: [2], data: new Float32Array(2) }]);
  const { code, err } = await quern(['diff', at('tiny'), at('z.safetensors')]);
  assert.is(code, 1);
  assert.match(err, /Q6011.*no tensor of the same name/);
});

test('imatrix writes both forms, and refuses other names', async () => {
  const text = at('text.txt');
  writeFileSync(text, 'And God said, Let there be light: and there was light. '.repeat(12));
  const made = await quern(['imatrix', at('tiny'), '-t', text, '-o', at('i.dat')]);
  assert.is(made.code, 0, made.err);
  assert.match(made.out, /14 matrices over \d+ windows/);
  assert.ok(existsSync(at('i.dat')));
  const bad = await quern(['imatrix', at('tiny'), '-t', text, '-o', at('i.bin')]);
  assert.is(bad.code, 2);
  assert.match(bad.err, /\.gguf nor in \.dat/);
});

const browser = await openBrowser();
if (typeof browser === 'string') skip('a report draws its charts in a browser', browser);
else
  test('a report draws its charts in a browser, from one file', async () => {
    const html = readFileSync(at('r.html'), 'utf8');
    assert.ok(html.length < 400_000);
    assert.not.match(html, /(src|href)=/, 'nothing is loaded');
    // The fourth tensor is chosen; uPlot draws a little later, however long that takes on a busy machine.
    const look = `<script>
      document.querySelectorAll('#rows tr')[3].click();
      const ink = (c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size;
      const since = Date.now();
      const timer = setInterval(() => {
        const seen = {
          errors: window.errors, rows: document.querySelectorAll('#rows tr').length,
          charts: [...document.querySelectorAll('.uplot canvas')].map(ink),
          map: ink(document.getElementById('map')), name: document.getElementById('name').textContent,
        };
        const drawn = seen.charts.length === 2 && seen.charts.every((n) => n > 8);
        if (!drawn && !seen.errors.length && Date.now() - since < 20000) return;
        clearInterval(timer);
        document.title = (drawn && !seen.errors.length ? 'done ' : 'failed ') + JSON.stringify(seen);
      }, 50);
    </script></body>`;
    const watch =
      '<head><script>window.errors = []; onerror = (m) => errors.push(String(m));</script>';
    writeFileSync(at('index.html'), html.replace('<head>', watch).replace('</body>', look));
    const site = await serve(folder);
    try {
      const title = await (await browser.page()).title(`${site.url}/`);
      assert.ok(title.startsWith('done '), title);
      const drawn = JSON.parse(title.slice(5));
      assert.is(drawn.rows, 15);
      assert.is(drawn.name, 'blk.0.attn_v.weight');
      assert.ok(drawn.map > 8, title);
    } finally {
      site.close();
    }
  });
test.after(async () => {
  if (typeof browser !== 'string') await browser.close();
});

test.run();
