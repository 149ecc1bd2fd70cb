// Copies that start or end inside of a word, for which WebGPU has no command: one thread a word of the destination takes
// it together from two words of the source and leaves the bytes beside the range as they are.
const workgroup = 64;

export const byteCopy = `struct Range {
  from_byte: u32,
  to_byte: u32,
  bytes: u32,
}
@group(0) @binding(0) var<uniform> range: Range;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> target_words: array<u32>;

@compute @workgroup_size(${workgroup})
fn copy_bytes(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) member: u32) {
  let first = range.to_byte >> 2u;
  let word = first + (id.x + id.y * count.x) * ${workgroup}u + member;
  let end = range.to_byte + range.bytes;
  if (word * 4u < end) {
    var bits = target_words[word];
    for (var k = 0u; k < 4u; k++) {
      let to = word * 4u + k;
      if (to >= range.to_byte && to < end) {
        let at = to - range.to_byte + range.from_byte;
        let byte = (source[at >> 2u] >> ((at & 3u) << 3u)) & 255u;
        bits = insertBits(bits, byte, k << 3u, 8u);
      }
    }
    target_words[word] = bits;
  }
}
`;

/** Groups for a range. */
export const groupsFor = (toByte: number, bytes: number): number =>
  Math.ceil((Math.floor((toByte + bytes + 3) / 4) - Math.floor(toByte / 4)) / workgroup);
