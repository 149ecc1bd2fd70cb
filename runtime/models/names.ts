// What the tensors of a llama are called in the two kinds of files that Quern writes: as in the sample model
// (safetensors) and as llama.cpp wants them (GGUF). Other names stay as they are.

/** Name in safetensors files, name in GGUF files; N stands for the number of a layer. */
const pairs: readonly (readonly [string, string])[] = [
  ['tok_embeddings.weight', 'token_embd.weight'],
  ['norm.weight', 'output_norm.weight'],
  ['output.weight', 'output.weight'],
  ['layers.N.attention_norm.weight', 'blk.N.attn_norm.weight'],
  ['layers.N.attention.wq.weight', 'blk.N.attn_q.weight'],
  ['layers.N.attention.wk.weight', 'blk.N.attn_k.weight'],
  ['layers.N.attention.wv.weight', 'blk.N.attn_v.weight'],
  ['layers.N.attention.wo.weight', 'blk.N.attn_output.weight'],
  ['layers.N.ffn_norm.weight', 'blk.N.ffn_norm.weight'],
  ['layers.N.feed_forward.w1.weight', 'blk.N.ffn_gate.weight'],
  ['layers.N.feed_forward.w2.weight', 'blk.N.ffn_down.weight'],
  ['layers.N.feed_forward.w3.weight', 'blk.N.ffn_up.weight'],
];
const toGguf = new Map(pairs);
const fromGguf = new Map(pairs.map(([a, b]) => [b, a]));

function renamed(table: ReadonlyMap<string, string>, name: string): string {
  const layer = /\.(\d+)\./.exec(name);
  const general = layer ? name.replace(layer[0], '.N.') : name;
  const other = table.get(general);
  return other === undefined ? name : layer ? other.replace('.N.', layer[0]) : other;
}

export const ggufName = (name: string): string => renamed(toGguf, name);
export const plainName = (name: string): string => renamed(fromGguf, name);
