// linear: WGSL. How the kernels are launched stands in the manifest.

enable f16;

struct Sizes {
  /* Always 0, which no compiler knows. */
  zero: u32,
  N: i32,
  K: i32,
}
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> w_d: array<u32>; // w.d: f16
@group(0) @binding(2) var<storage, read> w_q: array<vec4u>; // w.q: i8
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

/* Whole division that truncates; by 0 it gives 0. */
fn int_div(a: i32, b: i32) -> i32 {
  let none = (b == i32(0));
  return select(a / select(b, i32(1), none), i32(0), none);
}

// kernel.ts:3: return decode(w);
// map: 64 threads a group.
@compute @workgroup_size(64)
fn linear_map_0(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) member: u32) {
  let group = i32(group_id.x + group_id.y * groups.x);
  let K_32 = sizes.K >> 5u;
  let i = K_32 * sizes.N;
  let at = group * 64 + i32(member);
  if (at < i) {
    let i_1 = int_div(at, K_32);
    let i_2 = at + K_32 * i_1 * -1;
    let i_3 = K_32 * i_1 * 32 + i_2 * 32;
    let d_at = K_32 * i_1 + i_2;
    let w_d_1 = vec2f(bitcast<vec2h>(w_d[d_at >> 1u]))[d_at & 1];
    let q_i = i_3 >> 4u;
    let q_raw = w_q[q_i];
    let q_raw_1 = w_q[q_i + 1];
    let v = vec4f(unpack4xI8(q_raw.x)) * w_d_1;
    result[i_3] = v.x;
    result[i_3 + 1] = v.y;
    result[i_3 + 2] = v.z;
    result[i_3 + 3] = v.w;
    let v_1 = vec4f(unpack4xI8(q_raw.y)) * w_d_1;
    result[i_3 + 4] = v_1.x;
    result[i_3 + 5] = v_1.y;
    result[i_3 + 6] = v_1.z;
    result[i_3 + 7] = v_1.w;
    let v_2 = vec4f(unpack4xI8(q_raw.z)) * w_d_1;
    result[i_3 + 8] = v_2.x;
    result[i_3 + 9] = v_2.y;
    result[i_3 + 10] = v_2.z;
    result[i_3 + 11] = v_2.w;
    let v_3 = vec4f(unpack4xI8(q_raw.w)) * w_d_1;
    result[i_3 + 12] = v_3.x;
    result[i_3 + 13] = v_3.y;
    result[i_3 + 14] = v_3.z;
    result[i_3 + 15] = v_3.w;
    let v_4 = vec4f(unpack4xI8(q_raw_1.x)) * w_d_1;
    result[i_3 + 16] = v_4.x;
    result[i_3 + 17] = v_4.y;
    result[i_3 + 18] = v_4.z;
    result[i_3 + 19] = v_4.w;
    let v_5 = vec4f(unpack4xI8(q_raw_1.y)) * w_d_1;
    result[i_3 + 20] = v_5.x;
    result[i_3 + 21] = v_5.y;
    result[i_3 + 22] = v_5.z;
    result[i_3 + 23] = v_5.w;
    let v_6 = vec4f(unpack4xI8(q_raw_1.z)) * w_d_1;
    result[i_3 + 24] = v_6.x;
    result[i_3 + 25] = v_6.y;
    result[i_3 + 26] = v_6.z;
    result[i_3 + 27] = v_6.w;
    let v_7 = vec4f(unpack4xI8(q_raw_1.w)) * w_d_1;
    result[i_3 + 28] = v_7.x;
    result[i_3 + 29] = v_7.y;
    result[i_3 + 30] = v_7.z;
    result[i_3 + 31] = v_7.w;
  }
}

// launch {"name":"linear_map_0","grid":[["K",32,"div","N","*",63,"+",64,"div"],[1],[1]],"block":[64,1,1],"shared":[0],"when":[],"buffers":[0,1,2],"dims":["N","K"],"bindings":[{"number":1,"buffers":[0],"written":false},{"number":2,"buffers":[1],"written":false},{"number":3,"buffers":[2],"written":true}]}
