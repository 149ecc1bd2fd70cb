// linear: WGSL. How the kernels are launched stands in the manifest.

struct Sizes {
  /* Always 0, which no compiler knows. */
  zero: u32,
  N: i32,
}
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<u32>; // x: f16
@group(0) @binding(2) var<storage, read_write> result: array<atomic<u32>>; // result: i8

/* A product or sum that must be rounded before it is used: a driver may not fuse it with what follows. */
fn rounded(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ u32(sizes.zero)); }

fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & u32(0x7fffffffu)) > u32(0x7f800000u); }

/* NaN if either is, and -0 is below 0. */
fn min_nan(a: f32, b: f32) -> f32 {
  let same = bitcast<f32>(bitcast<u32>(a) | bitcast<u32>(b));
  let one = select(select(b, a, (a < b)), same, (a == b));
  return select(one, a + b, is_nan(a) | is_nan(b));
}

/* NaN if either is, and -0 is below 0. */
fn max_nan(a: f32, b: f32) -> f32 {
  let same = bitcast<f32>(bitcast<u32>(a) & bitcast<u32>(b));
  let one = select(select(b, a, (a > b)), same, (a == b));
  return select(one, a + b, is_nan(a) | is_nan(b));
}

/* Truncates and saturates; NaN gives 0. */
fn to_int(x: f32) -> i32 {
  let inside = i32(clamp(x, f32(-2147483648.0f), f32(2147483520.0f)));
  let whole = select(inside, i32(2147483647), (x >= f32(2147483648.0f)));
  return select(whole, i32(0), is_nan(x));
}

// kernel.ts:3: return i8(x * 2);
// rows: 64 threads a group.
@compute @workgroup_size(64)
fn linear_cast_0(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) member: u32) {
  let group = i32(group_id.x + group_id.y * groups.x);
  let at = group * 64 + i32(member);
  if (at < sizes.N) {
    let x_1 = unpack2x16float(x[at >> 1u])[at & 1];
    let t = rounded(x_1 * 2.0f);
    let t_1 = to_int(max_nan(min_nan(t, 127.0f), -128.0f));
    let code = (bitcast<u32>(t_1) & 255u);
    let bit = u32((at & 3) << 3u);
    let word = at >> 2u;
    atomicAnd(&result[word], ~(255u << bit));
    atomicOr(&result[word], (code << bit));
  }
}

// launch {"name":"linear_cast_0","grid":[["N",63,"+",64,"div"],[1],[1]],"block":[64,1,1],"shared":[0],"when":[],"buffers":[0,1],"dims":["N"],"bindings":[{"number":1,"buffers":[0],"written":false},{"number":2,"buffers":[1],"written":true}]}
