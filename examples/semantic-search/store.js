// Vectors that stay in memory in one format, and how well and how fast they are searched.

export class Store {
  #parts = [];

  constructor(name, format, kernel) {
    this.name = name;
    this.format = format;
    this.kernel = kernel;
  }

  /** Encodes rows; kept as the storage bytes of each field. */
  add(x) {
    const w = this.format.encodeSync(x);
    this.#parts.push(Object.entries(w.fields).map(([name, t]) => [name, t.raw()]));
    w.dispose();
  }

  /** Puts the slabs together. */
  close(shape) {
    const fields = {};
    for (const [i, [name]] of this.#parts[0].entries()) {
      const all = this.#parts.map((p) => p[i][1]);
      fields[name] = new Uint8Array(all.reduce((n, b) => n + b.length, 0));
      let at = 0;
      for (const bytes of all) {
        fields[name].set(bytes, at);
        at += bytes.length;
      }
    }
    this.#parts = [];
    this.w = this.format.fromRaw(shape, fields);
  }

  /** The k vectors that are most like the query, and how long it took to find them. */
  async search(query, out, k) {
    const from = performance.now();
    const scores = (await this.kernel(query, this.w, out)).view();
    const found = best(scores, k);
    return { best: found, milliseconds: performance.now() - from };
  }
}

/** Places of the k largest numbers, largest first. */
export function best(scores, k, start = 0) {
  const found = [];
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i];
    if (found.length === k && score <= found[k - 1].score) continue;
    let at = found.length;
    while (at > 0 && found[at - 1].score < score) at--;
    found.splice(at, 0, { score, place: start + i });
    if (found.length > k) found.pop();
  }
  return found;
}

/** The share of what should be found that was found. */
export function recall(wanted, found) {
  const hits = wanted.map((list, q) => {
    const places = new Set(found[q].map((f) => f.place));
    return list.filter((f) => places.has(f.place)).length / list.length;
  });
  return hits.reduce((a, b) => a + b, 0) / hits.length;
}

export const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

/** A card of the page: figures of the store, and what one search found. */
export function list(store, { best: found, milliseconds }, sentences) {
  const element = (name, text, parent) => {
    const made = document.createElement(name);
    made.textContent = text;
    parent?.append(made);
    return made;
  };
  const card = element('section', '');
  element('h2', store.name, card);
  const figures = element('dl', '', card);
  const megabytes = store.w.bytes / 1e6;
  const times = (32 / store.w.bitsPerWeight).toFixed(0);
  const [ten, hundred] = store.recall.map((r) => `${(100 * r).toFixed(0)} %`);
  for (const [name, value] of [
    ['memory', `${megabytes.toFixed(1)} MB, ${times} times smaller than f32`],
    ['this search', `${milliseconds.toFixed(1)} ms`],
    ['median search', `${store.milliseconds.toFixed(1)} ms`],
    ['of the ten best', `${ten} found in ten, ${hundred} in a hundred`],
  ]) {
    element('dt', name, figures);
    element('dd', value, figures);
  }
  const items = element('ol', '', card);
  for (const { score, place } of found) {
    const item = element('li', sentences[place], items);
    item.style.setProperty('--score', `${Math.max(0, 100 * score).toFixed(1)}%`);
    item.title = score.toFixed(3);
  }
  return card;
}
