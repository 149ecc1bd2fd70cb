// A stand-in for an embedding model, so that the page needs nothing from elsewhere: words of one meaning share a
// vector, and a sentence is the sum of its words.
export const width = 256;

const meanings = {
  dog: ['dog', 'puppy', 'hound'],
  cat: ['cat', 'kitten'],
  eat: ['eats', 'devours', 'chews'],
  food: ['food', 'dinner', 'meal'],
  drive: ['drives', 'steers'],
  car: ['car', 'truck', 'van'],
  run: ['runs', 'sprints', 'races'],
  city: ['city', 'town'],
  sea: ['sea', 'ocean'],
  ship: ['ship', 'boat'],
  sail: ['sails', 'crosses'],
  mountain: ['mountain', 'peak'],
  climb: ['climbs', 'scales'],
  book: ['book', 'novel'],
  read: ['reads', 'studies'],
  child: ['child', 'boy', 'girl'],
};
const subjects = ['dog', 'cat', 'car', 'ship', 'child'];
const verbs = ['eat', 'drive', 'run', 'sail', 'climb', 'read'];
const objects = ['food', 'city', 'sea', 'mountain', 'book', 'car', 'ship'];

/** Reproducible numbers: the same sentences in every browser. */
export function random(seed) {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const vectors = new Map();
Object.entries(meanings).forEach(([, words], i) => {
  const next = random(i + 1);
  const vector = Float32Array.from({ length: width }, () => next() + next() + next() - 1.5);
  for (const word of words) vectors.set(word, vector);
});

/** Writes the embedding of a sentence into `out`: the sum of its words, at length 1, with a little noise. */
export function embed(sentence, out, noise = () => 0.5) {
  out.fill(0);
  for (const word of sentence.toLowerCase().split(/\W+/)) {
    const v = vectors.get(word);
    if (v) for (let i = 0; i < width; i++) out[i] += v[i];
  }
  for (let i = 0; i < width; i++) out[i] += (noise() - 0.5) * 0.4;
  const length = Math.hypot(...out) || 1;
  for (let i = 0; i < width; i++) out[i] /= length;
  return out;
}

export function sentence(next) {
  const pick = (list) => list[Math.floor(next() * list.length)];
  const word = (list) => pick(meanings[pick(list)]);
  return `the ${word(subjects)} ${word(verbs)} the ${word(objects)}`;
}
