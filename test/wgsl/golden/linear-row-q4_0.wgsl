// linear: WGSL. How the kernels are launched stands in the manifest.

struct Sizes {
  /* Always 0, which no compiler knows. */
  zero: u32,
  K: i32,
  N: i32,
}
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w_d: array<u32>; // w.d: f16
@group(0) @binding(3) var<storage, read> w_q: array<vec2u>; // w.q: u4
@group(0) @binding(4) var<storage, read_write> result: array<f32>;

var<workgroup> part_32: array<u32, 128>;

var<workgroup> last_32: array<u32, 32>;

/* The values of 32 threads combined; every one of them gets the result. */
fn combine_add_vec4f_32(value: vec4f, member: u32) -> vec4f {
  part_32[member] = bitcast<u32>(value.x); part_32[member + 32u] = bitcast<u32>(value.y); part_32[member + 64u] = bitcast<u32>(value.z); part_32[member + 96u] = bitcast<u32>(value.w);
  workgroupBarrier();
  if (member < 8u) {
    let start = member * 4u;
    var own = vec4f(bitcast<f32>(part_32[start]), bitcast<f32>(part_32[start + 32u]), bitcast<f32>(part_32[start + 64u]), bitcast<f32>(part_32[start + 96u]));
    for (var i = start + 1u; i < start + 4u; i++) { own = own + vec4f(bitcast<f32>(part_32[i]), bitcast<f32>(part_32[i + 32u]), bitcast<f32>(part_32[i + 64u]), bitcast<f32>(part_32[i + 96u])); }
    last_32[member] = bitcast<u32>(own.x); last_32[member + 8u] = bitcast<u32>(own.y); last_32[member + 16u] = bitcast<u32>(own.z); last_32[member + 24u] = bitcast<u32>(own.w);
  }
  workgroupBarrier();
  var all = vec4f(bitcast<f32>(last_32[0u]), bitcast<f32>(last_32[8u]), bitcast<f32>(last_32[16u]), bitcast<f32>(last_32[24u]));
  for (var i = 1u; i < 8u; i++) { all = all + vec4f(bitcast<f32>(last_32[i]), bitcast<f32>(last_32[i + 8u]), bitcast<f32>(last_32[i + 16u]), bitcast<f32>(last_32[i + 24u])); }
  return all;
}

// kernel.ts:3: return matmul(x, transpose(decode(w)));
// gemv: 32 threads a group.
@compute @workgroup_size(32)
fn linear_matmul_0(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) member: u32) {
  let group = i32(group_id.x + group_id.y * groups.x);
  let i = (sizes.N + 3) >> 2u;
  let K_32 = sizes.K >> 5u;
  let i_1 = K_32 * 2;
  let at = group;
  if (at < i) {
    let i_2 = at * 4;
    let row = min(i_2, sizes.N - 1);
    let row_1 = min(i_2 + 1, sizes.N - 1);
    let row_2 = min(i_2 + 2, sizes.N - 1);
    let row_3 = min(i_2 + 3, sizes.N - 1);
    var acc = vec4f(0.0f);
    var acc_1 = vec4f(0.0f);
    var acc_2 = vec4f(0.0f);
    var acc_3 = vec4f(0.0f);
    let q_at = K_32 * row * 32;
    let d_at = K_32 * row;
    let q_at_1 = K_32 * row_1 * 32;
    let d_at_1 = K_32 * row_1;
    let q_at_2 = K_32 * row_2 * 32;
    let d_at_2 = K_32 * row_2;
    let q_at_3 = K_32 * row_3 * 32;
    let d_at_3 = K_32 * row_3;
    for (var at_1 = i32(member); at_1 < i_1; at_1 += 32) {
      let i_3 = at_1 >> 1u;
      let i_4 = at_1 - i_3 * 2;
      let q_at_4 = q_at + (i_3 * 32 + i_4 * 16);
      let d_at_4 = d_at + i_3;
      let w_d_1 = unpack2x16float(w_d[d_at_4 >> 1u])[d_at_4 & 1];
      let q_at_5 = q_at_1 + (i_3 * 32 + i_4 * 16);
      let d_at_5 = d_at_1 + i_3;
      let w_d_2 = unpack2x16float(w_d[d_at_5 >> 1u])[d_at_5 & 1];
      let q_at_6 = q_at_2 + (i_3 * 32 + i_4 * 16);
      let d_at_6 = d_at_2 + i_3;
      let w_d_3 = unpack2x16float(w_d[d_at_6 >> 1u])[d_at_6 & 1];
      let q_at_7 = q_at_3 + (i_3 * 32 + i_4 * 16);
      let d_at_7 = d_at_3 + i_3;
      let w_d_4 = unpack2x16float(w_d[d_at_7 >> 1u])[d_at_7 & 1];
      let x_at = i_3 * 32 + i_4 * 16;
      let x_i = x_at >> 2u;
      let x_1_p0 = x[x_i];
      let x_1_p1 = x[x_i + 1];
      let x_1_p2 = x[x_i + 2];
      let x_1_p3 = x[x_i + 3];
      let q_raw = w_q[q_at_4 >> 4u];
      var part = x_1_p0 * vec4f(vec4i((vec4u(q_raw.x) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part += x_1_p1 * vec4f(vec4i((vec4u(q_raw.x) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      part += x_1_p2 * vec4f(vec4i((vec4u(q_raw.y) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part += x_1_p3 * vec4f(vec4i((vec4u(q_raw.y) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      acc += part * w_d_1;
      let q_raw_1 = w_q[q_at_5 >> 4u];
      var part_1 = x_1_p0 * vec4f(vec4i((vec4u(q_raw_1.x) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part_1 += x_1_p1 * vec4f(vec4i((vec4u(q_raw_1.x) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      part_1 += x_1_p2 * vec4f(vec4i((vec4u(q_raw_1.y) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part_1 += x_1_p3 * vec4f(vec4i((vec4u(q_raw_1.y) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      acc_1 += part_1 * w_d_2;
      let q_raw_2 = w_q[q_at_6 >> 4u];
      var part_2 = x_1_p0 * vec4f(vec4i((vec4u(q_raw_2.x) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part_2 += x_1_p1 * vec4f(vec4i((vec4u(q_raw_2.x) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      part_2 += x_1_p2 * vec4f(vec4i((vec4u(q_raw_2.y) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part_2 += x_1_p3 * vec4f(vec4i((vec4u(q_raw_2.y) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      acc_2 += part_2 * w_d_3;
      let q_raw_3 = w_q[q_at_7 >> 4u];
      var part_3 = x_1_p0 * vec4f(vec4i((vec4u(q_raw_3.x) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part_3 += x_1_p1 * vec4f(vec4i((vec4u(q_raw_3.x) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      part_3 += x_1_p2 * vec4f(vec4i((vec4u(q_raw_3.y) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - 8);
      part_3 += x_1_p3 * vec4f(vec4i((vec4u(q_raw_3.y) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - 8);
      acc_3 += part_3 * w_d_4;
    }
    let r = acc.xy + acc.zw;
    let r_1 = acc_1.xy + acc_1.zw;
    let r_2 = acc_2.xy + acc_2.zw;
    let r_3 = acc_3.xy + acc_3.zw;
    let all_1 = combine_add_vec4f_32(vec4f(r.x + r.y, r_1.x + r_1.y, r_2.x + r_2.y, r_3.x + r_3.y), member);
    let sum = all_1.x;
    let sum_1 = all_1.y;
    let sum_2 = all_1.z;
    let sum_3 = all_1.w;
    if (member == 0u) {
      if (i_2 < sizes.N) {
        result[row] = sum;
      }
      if (i_2 + 1 < sizes.N) {
        result[row_1] = sum_1;
      }
      if (i_2 + 2 < sizes.N) {
        result[row_2] = sum_2;
      }
      if (i_2 + 3 < sizes.N) {
        result[row_3] = sum_3;
      }
    }
  }
}

// launch {"name":"linear_matmul_0","grid":[["N",3,"+",4,"div"],[1],[1]],"block":[32,1,1],"shared":[640],"when":[],"buffers":[0,1,2,3],"dims":["K","N"],"bindings":[{"number":1,"buffers":[0],"written":false},{"number":2,"buffers":[1],"written":false},{"number":3,"buffers":[2],"written":false},{"number":4,"buffers":[3],"written":true}]}
