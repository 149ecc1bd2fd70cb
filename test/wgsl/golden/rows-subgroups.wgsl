// linear: WGSL. How the kernels are launched stands in the manifest.

enable subgroups;
requires subgroup_id;

struct Sizes {
  /* Always 0, which no compiler knows. */
  zero: u32,
  M: i32,
  N: i32,
}
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

var<workgroup> part_256: array<u32, 256>;

/* A number that no literal can stand for, from its bits. */
fn float_of(bits: u32) -> f32 { return bitcast<f32>(bits ^ u32(sizes.zero)); }

/* A product or sum that must be rounded before it is used: a driver may not fuse it with what follows. */
fn rounded(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ u32(sizes.zero)); }

fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & u32(0x7fffffffu)) > u32(0x7f800000u); }

fn is_nan_2(x: vec2f) -> vec2<bool> { return (bitcast<vec2u>(x) & vec2u(0x7fffffffu)) > vec2u(0x7f800000u); }

fn is_nan_4(x: vec4f) -> vec4<bool> { return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u); }

/* NaN if either is, and -0 is below 0. */
fn max_nan(a: f32, b: f32) -> f32 {
  let same = bitcast<f32>(bitcast<u32>(a) & bitcast<u32>(b));
  let one = select(select(b, a, (a > b)), same, (a == b));
  return select(one, a + b, is_nan(a) | is_nan(b));
}

/* NaN if either is, and -0 is below 0. */
fn max_nan_2(a: vec2f, b: vec2f) -> vec2f {
  let same = bitcast<vec2f>(bitcast<vec2u>(a) & bitcast<vec2u>(b));
  let one = select(select(b, a, (a > b)), same, (a == b));
  return select(one, a + b, is_nan_2(a) | is_nan_2(b));
}

/* NaN if either is, and -0 is below 0. */
fn max_nan_4(a: vec4f, b: vec4f) -> vec4f {
  let same = bitcast<vec4f>(bitcast<vec4u>(a) & bitcast<vec4u>(b));
  let one = select(select(b, a, (a > b)), same, (a == b));
  return select(one, a + b, is_nan_4(a) | is_nan_4(b));
}

/* A whole number that is ordered as x is; that of a NaN is above all others. */
fn key_or_most(x: f32) -> i32 {
  let bits = bitcast<i32>(x);
  let key = bits ^ ((bits >> u32(31u)) & i32(0x7fffffff));
  return select(key, i32(0x7fc00000), is_nan(x));
}

fn of_key(key: i32) -> f32 { return bitcast<f32>(key ^ ((key >> u32(31u)) & i32(0x7fffffff))); }

/* The values of 256 threads combined; every one of them gets the result. */
fn combine_max_f32_256(value: f32, subgroup: u32, subgroups: u32) -> f32 {
  let own = of_key(subgroupMax(key_or_most(value)));
  if (subgroups == 1u) { return own; }
  if (subgroupElect()) { part_256[subgroup] = bitcast<u32>(own); }
  workgroupBarrier();
  var all = bitcast<f32>(part_256[0u]);
  for (var i = 1u; i < subgroups; i++) { all = max_nan(all, bitcast<f32>(part_256[i])); }
  workgroupBarrier();
  return all;
}

/* The values of 256 threads combined; every one of them gets the result. */
fn combine_add_f32_256(value: f32, subgroup: u32, subgroups: u32) -> f32 {
  let own = subgroupAdd(value);
  if (subgroups == 1u) { return own; }
  if (subgroupElect()) { part_256[subgroup] = bitcast<u32>(own); }
  workgroupBarrier();
  var all = bitcast<f32>(part_256[0u]);
  for (var i = 1u; i < subgroups; i++) { all = all + bitcast<f32>(part_256[i]); }
  workgroupBarrier();
  return all;
}

// kernel.ts:3: return x * amax(x, 1, { keepdims: true }) - sum(x, 1, { keepdims: true });
// rows: 256 threads a group.
@compute @workgroup_size(256)
fn linear_sub_0(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) member: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32) {
  let group = i32(group_id.x + group_id.y * groups.x);
  let i = sizes.N >> 3u;
  let i_1 = i * 8;
  let at = group;
  if (at < sizes.M) {
    let i_2 = sizes.N * at;
    var max_1_p0 = vec4f(float_of(4286578688u));
    var max_1_p1 = vec4f(float_of(4286578688u));
    var max_2 = float_of(4286578688u);
    for (var k = 8 * (i32(member)); k + 7 < sizes.N; k += 2048) {
      let x_at = i_2 + k;
      let x_1_p0 = vec4f(x[x_at], x[x_at + 1], x[x_at + 2], x[x_at + 3]);
      let x_1_p1 = vec4f(x[x_at + 4], x[x_at + 5], x[x_at + 6], x[x_at + 7]);
      let next = max_nan_4(max_1_p0, x_1_p0);
      let next_1 = max_nan_4(max_1_p1, x_1_p1);
      max_1_p0 = next;
      max_1_p1 = next_1;
    }
    for (var k_1 = i_1 + i32(member); k_1 < sizes.N; k_1 += 256) {
      let x_at_1 = i_2 + k_1;
      let x_2 = x[x_at_1];
      max_2 = max_nan(max_2, x_2);
    }
    let r = max_nan_4(max_1_p0, max_1_p1);
    let r_1 = max_nan_2(r.xy, r.zw);
    let max_3 = combine_max_f32_256(max_nan(max_nan(r_1.x, r_1.y), max_2), subgroup, subgroups);
    var add_p0 = vec4f(0.0f);
    var add_p1 = vec4f(0.0f);
    var add_1 = 0.0f;
    for (var k_2 = 8 * (i32(member)); k_2 + 7 < sizes.N; k_2 += 2048) {
      let x_at_2 = i_2 + k_2;
      let x_3_p0 = vec4f(x[x_at_2], x[x_at_2 + 1], x[x_at_2 + 2], x[x_at_2 + 3]);
      let x_3_p1 = vec4f(x[x_at_2 + 4], x[x_at_2 + 5], x[x_at_2 + 6], x[x_at_2 + 7]);
      let next_2 = add_p0 + x_3_p0;
      let next_3 = add_p1 + x_3_p1;
      add_p0 = next_2;
      add_p1 = next_3;
    }
    for (var k_3 = i_1 + i32(member); k_3 < sizes.N; k_3 += 256) {
      let x_at_3 = i_2 + k_3;
      let x_4 = x[x_at_3];
      add_1 = add_1 + x_4;
    }
    let r_2 = add_p0 + add_p1;
    let r_3 = r_2.xy + r_2.zw;
    let add_2 = combine_add_f32_256(r_3.x + r_3.y + add_1, subgroup, subgroups);
    for (var k_4 = i32(member); k_4 < sizes.N; k_4 += 256) {
      let i_3 = i_2 + k_4;
      let x_5 = x[i_3];
      let t = rounded(x_5 * max_3);
      let t_1 = t - add_2;
      result[i_3] = t_1;
    }
  }
}

// launch {"name":"linear_sub_0","grid":[["M"],[1],[1]],"block":[256,1,1],"shared":[1024],"when":[],"buffers":[0,1],"dims":["M","N"],"bindings":[{"number":1,"buffers":[0],"written":false},{"number":2,"buffers":[1],"written":true}]}
