// Encodes the sentences slab by slab, so that only one slab is ever held in f32, and searches both copies. While a slab is there as
// it was, sample queries are searched in it too: what they find is what the compressed copies should find.
import { embed, random, sentence, width } from './embed.js';
import { init } from './ops/index.js';
import { best, list, median, recall, Store } from './store.js';

const count = Number(new URLSearchParams(location.search).get('n') ?? 100_000);
const slab = 10_000;
const samples = 20;
const show = (id, text) => {
  document.getElementById(id).textContent = text;
};

// More threads where the page is isolated (its server sends COOP and COEP headers); one elsewhere.
const ops = await init({ threads: 'auto' });
const stores = [
  new Store('1 bit', ops.bit1, ops.scores1),
  new Store('4 bits', ops.bit4, ops.scores4),
];
const started = performance.now();
const next = random(7);
const sentences = [];
const queries = new Float32Array(samples * width);
for (let q = 0; q < samples; q++)
  embed(sentence(next), queries.subarray(q * width, (q + 1) * width), next);
/** The ten best of each sample query so far. */
const exact = Array.from({ length: samples }, () => []);

for (let start = 0; start < count; start += slab) {
  const rows = Math.min(slab, count - start);
  const data = new Float32Array(rows * width);
  for (let r = 0; r < rows; r++) {
    const text = sentence(next);
    sentences.push(text);
    embed(text, data.subarray(r * width, (r + 1) * width), next);
  }
  const x = ops.tensor(data, [rows, width]);
  for (const store of stores) store.add(x);
  const scores = ops.exactSync({ data: queries, shape: [samples, width] }, x);
  const values = scores.view();
  exact.forEach((found, q) => {
    const own = best(values.subarray(q * rows, (q + 1) * rows), 10, start);
    exact[q] = [...found, ...own].sort((a, b) => b.score - a.score).slice(0, 10);
  });
  for (const t of [x, scores]) t.dispose();
  show('status', `${start + rows} sentences encoded`);
  await new Promise((done) => setTimeout(done));
}

const query = ops.empty([1, width]);
const out = ops.empty([1, count]);
for (const store of stores) {
  store.close([count, width]);
  const found = [];
  for (let q = 0; q < samples; q++) {
    query.set(queries.subarray(q * width, (q + 1) * width));
    found.push(await store.search(query, out, 100));
  }
  store.milliseconds = median(found.map((f) => f.milliseconds));
  store.recall = [10, 100].map((k) =>
    recall(
      exact,
      found.map((f) => f.best.slice(0, k)),
    ),
  );
}

async function run() {
  query.set(embed(document.getElementById('query').value, new Float32Array(width)));
  const cards = [];
  for (const store of stores) cards.push(list(store, await store.search(query, out, 5), sentences));
  document.getElementById('results').replaceChildren(...cards);
}
/** One search after the other: they share the query and the scores. */
let searching = run();
document.getElementById('query').addEventListener('input', () => {
  searching = searching.then(run);
});
await searching;
const seconds = ((performance.now() - started) / 1000).toFixed(1);
const { count: threads } = ops.threads;
show('status', `${count} sentences encoded and measured in ${seconds} s; threads: ${threads}`);
document.title = `done ${sentences.length}`;
