// A stand-in for an embedding model, so that the page needs nothing from elsewhere: words of one meaning share a
// vector, and a sentence is the sum of its words and of what else it tells, which its words do not say.
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

function direction(seed) {
  const next = random(seed);
  return Float32Array.from({ length: width }, () => next() + next() + next() - 1.5);
}
const vectors = new Map();
Object.values(meanings).forEach((words, i) => {
  const vector = direction(i + 1);
  for (const word of words) vectors.set(word, vector);
});
const details = Array.from({ length: 12 }, (_, i) => direction(1000 + i));

/** Writes the embedding of a sentence into `out`, at length 1; `next` draws what it tells besides its words. */
export function embed(sentence, out, next) {
  const add = (v, weight) => {
    for (let i = 0; i < width; i++) out[i] += v[i] * weight;
  };
  out.fill(0);
  for (const word of sentence.toLowerCase().split(/\W+/))
    if (vectors.has(word)) add(vectors.get(word), 1);
  if (next) for (const v of details) add(v, next() - 0.5);
  const length = Math.hypot(...out) || 1;
  for (let i = 0; i < width; i++) out[i] /= length;
  return out;
}

export function sentence(next) {
  const pick = (list) => list[Math.floor(next() * list.length)];
  const word = (list) => pick(meanings[pick(list)]);
  return `the ${word(subjects)} ${word(verbs)} the ${word(objects)}`;
}
