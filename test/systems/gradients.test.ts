// Compressed gradients: messages and their errors, EControl's optimum, PowerSGD at full rank, L-GreCo against uniform.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { HostArray } from '../../compiler/index.ts';
import { compiles, f32s, list, normals, programsOf, scalar, tensor } from './harness.ts';

const test = suite('Compressed gradients');
const run = programsOf('gradients.ts');
const close = { absolute: 1e-4 } as const;

test('top-k keeps the largest, and a message gives its vector', async () => {
  const g = f32s([1, -4, 0, 3, -3, 2]);
  const m = await run('topK', [g], { statics: [undefined, 3] });
  assert.equal(list(m.places), [1, 3, 4]);
  const { value } = await run('fromMessage', [m.places!, m.values!, g]);
  assert.equal(list(value), [0, -4, 0, 3, -3, 0]);
});

test('rand-k and QSGD are right on average', async () => {
  const n = 12;
  const g = f32s(normals(n, 1));
  const sums = [new Float64Array(n), new Float64Array(n)];
  const trials = 60;
  for (let seed = 0; seed < trials; seed += 1) {
    const m = await run('randK', [g, scalar('i32', seed)], {
      statics: [undefined, undefined, 4, true],
    });
    m.places!.data.forEach((p, i) => {
      sums[0]![p]! += m.values!.data[i]! / trials;
    });
    const q = await run('qsgd', [g, scalar('i32', seed)], {
      statics: [undefined, undefined, 4],
      check: { absolute: 1e-6 },
    });
    for (const code of q.codes!.data) assert.ok(Math.abs(code) <= 4);
    const { value } = await run('qsgdDecode', [q.codes!, q.norm!], {
      statics: [undefined, undefined, 4],
    });
    value!.data.forEach((x, i) => {
      sums[1]![i]! += x / trials;
    });
  }
  for (const s of sums) s.forEach((x, i) => assert.ok(Math.abs(x - g.data[i]!) < 0.9));
});

test('error feedback leaves nothing out in the sum: what was sent and the error are the gradients', async () => {
  const n = 20;
  let error = f32s(new Float32Array(n));
  const sent = new Float64Array(n);
  const sum = new Float64Array(n);
  for (let t = 0; t < 8; t += 1) {
    const g = f32s(normals(n, t + 1));
    const r = await run('errorFeedback', [g, error], { statics: [undefined, undefined, 3] });
    g.data.forEach((x, i) => {
      sum[i]! += x;
    });
    r.places!.data.forEach((p, i) => {
      sent[p]! += r.values!.data[i]!;
    });
    error = r.error!;
  }
  sum.forEach((x, i) => assert.ok(Math.abs(x - sent[i]! - error.data[i]!) < 1e-5));
});

/** Workers with quadratics of their own: half of |A x - b|² each, all of other data. */
class Quadratics {
  readonly workers = 4;
  readonly n = 10;
  readonly a = Array.from({ length: 4 }, (_, w) => normals(100, 11 + w));
  readonly b = Array.from({ length: 4 }, (_, w) => normals(10, 31 + w));

  gradient(w: number, x: Float32Array): Float32Array {
    const { n } = this;
    const a = this.a[w]!;
    const r = Float32Array.from({ length: n }, (_, i) => {
      let sum = -this.b[w]![i]! * 3;
      for (let j = 0; j < n; j += 1) sum += a[i * n + j]! * x[j]!;
      return sum;
    });
    return Float32Array.from({ length: n }, (_, j) => {
      let sum = 0;
      for (let i = 0; i < n; i += 1) sum += a[i * n + j]! * r[i]!;
      return sum / n;
    });
  }
  /** The norm of the whole gradient. */
  slope(x: Float32Array): number {
    const sum = new Float64Array(this.n);
    for (let w = 0; w < this.workers; w += 1)
      this.gradient(w, x).forEach((g, i) => {
        sum[i]! += g / this.workers;
      });
    return Math.hypot(...sum);
  }
}

test('EControl goes where the gradient ends; plain top-k and error feedback stay away', async () => {
  const problem = new Quadratics();
  const { n, workers } = problem;
  const [steps, rate, k] = [260, 0.05, 2];
  const slopes: Record<string, number> = {};
  for (const method of ['plain', 'feedback', 'control']) {
    const x = new Float32Array(n);
    const state = Array.from({ length: workers }, () => ({
      h: f32s(new Float32Array(n)),
      error: f32s(new Float32Array(n)),
    }));
    for (let t = 0; t < steps; t += 1) {
      const step = new Float32Array(n);
      const only = t < 10 ? {} : ({ only: 'wasm' } as const);
      for (let w = 0; w < workers; w += 1) {
        const s = state[w]!;
        const g = f32s(problem.gradient(w, x));
        if (method === 'control') {
          const r = await run('eControl', [g, s.h, s.error, scalar('f32', 0.2)], {
            statics: [undefined, undefined, undefined, undefined, k],
            check: close,
            ...only,
          });
          state[w] = { h: r.h!, error: r.error! };
          r.h!.data.forEach((v, i) => {
            step[i]! += v / workers;
          });
          continue;
        }
        const error = method === 'feedback' ? s.error : f32s(new Float32Array(n));
        const r = await run('errorFeedback', [g, error], {
          statics: [undefined, undefined, k],
          ...only,
        });
        state[w] = { ...s, error: r.error! };
        r.places!.data.forEach((p, i) => {
          step[p]! += r.values!.data[i]! / workers;
        });
      }
      for (let i = 0; i < n; i += 1) x[i]! -= rate * step[i]!;
    }
    slopes[method] = problem.slope(x);
  }
  const text = JSON.stringify(slopes);
  assert.ok(slopes.control! * 5 < slopes.feedback! && slopes.feedback! < slopes.plain!, text);
});

test('EControl that sends everything is gradient descent', async () => {
  const [g, h] = [f32s(normals(9, 1)), f32s(normals(9, 2))];
  const zero = f32s(new Float32Array(9));
  const r = await run('eControl', [g, h, zero, scalar('f32', 0.3)], {
    statics: [undefined, undefined, undefined, undefined, 9],
    check: close,
  });
  r.h!.data.forEach((x, i) => assert.ok(Math.abs(x - g.data[i]!) < 1e-6));
  r.error!.data.forEach((x) => assert.ok(Math.abs(x) < 1e-6));
});

const frobenius = (x: HostArray): number => Math.hypot(...x.data);

test('PowerSGD: exact at full rank; its errors are those that are tabulated', async () => {
  const [n, k] = [12, 7];
  const g = f32s(normals(n * k, 3), n, k);
  const zero = f32s(new Float32Array(n * k), n, k);
  const start = f32s(normals(k * k, 4), k, k);
  const full = await run('powerSgd', [g, zero, start], { check: close });
  assert.ok(frobenius(full.error!) < 1e-4);
  const { value: errors } = await run('powerSgdErrors', [g, start], { check: { absolute: 2e-5 } });
  for (const rank of [1, 3]) {
    const first = Float32Array.from(
      { length: k * rank },
      (_, i) => start.data[Math.floor(i / rank) * k + (i % rank)]!,
    );
    const r = await run('powerSgd', [g, zero, f32s(first, k, rank)], { check: close });
    assert.ok(Math.abs(frobenius(r.error!) - errors!.data[rank - 1]!) < 1e-5);
  }
  // A warm start nears the best of its rank.
  let q = f32s(normals(k * 2, 5), k, 2);
  const seen: number[] = [];
  for (let t = 0; t < 6; t += 1) {
    const r = await run('powerSgd', [g, zero, q], { check: close });
    q = r.q!;
    seen.push(frobenius(r.error!));
  }
  assert.ok(seen.at(-1)! < seen[0]! && seen.every((e, i) => i === 0 || e <= seen[i - 1]! + 1e-4));
});

test('L-GreCo is never larger than the uniform setting, and keeps to its error', async () => {
  const [layers, settings] = [4, 5];
  const errors: number[] = [];
  const sizes: number[] = [];
  for (let l = 0; l < layers; l += 1) {
    // Layers whose magnitudes fall off at unlike speeds.
    const g = f32s(normals(200, l + 1).map((x) => Math.sign(x) * Math.abs(x) ** (1 + 2 * l)));
    const counts = [10, 20, 40, 80, 160];
    const { value } = await run('topKErrors', [g, tensor('i32', counts)], {
      check: { absolute: 1e-2 },
    });
    errors.push(...list(value));
    sizes.push(...counts);
  }
  for (const uniform of [1, 2, 3]) {
    const of = (j: number, x: readonly number[]): number =>
      Array.from({ length: layers }, (_, l) => x[l * settings + j]!).reduce((a, b) => a + b);
    const budget = of(uniform, errors);
    const input = [
      f32s(sizes, layers, settings),
      f32s(errors, layers, settings),
      scalar('f32', budget * 1.001),
    ];
    const r = await run('allocate', input);
    const chosen = list(r.settings);
    const total = (x: readonly number[]): number =>
      chosen.reduce((s, j, l) => s + x[l * settings + j]!, 0);
    assert.ok(total(errors) <= budget * 1.001 + 1e-3);
    assert.is(total(sizes), r.size!.data[0]);
    // No other choice within the budget is smaller by more than rounding errors up can cost.
    let least = Infinity;
    for (let code = 0; code < settings ** layers; code += 1) {
      const pick = Array.from(
        { length: layers },
        (_, l) => Math.floor(code / settings ** l) % settings,
      );
      const sum = (x: readonly number[]): number =>
        pick.reduce((s, j, l) => s + x[l * settings + j]!, 0);
      if (sum(errors) <= budget) least = Math.min(least, sum(sizes));
    }
    assert.ok(total(sizes) <= of(uniform, sizes) && total(sizes) <= least + 1e-3, `${uniform}`);
  }
});

test('the programs compile for GPUs', async () => {
  const k = (n: number) => ({ statics: [...new Array<undefined>(n).fill(undefined), 3] });
  for (const target of ['cuda', 'wgsl'] as const) {
    assert.equal(
      await compiles('gradients.ts', ['powerSgd', 'allocate', 'scatterMean'], target),
      [],
    );
    assert.equal(await compiles('gradients.ts', ['errorFeedback'], target, k(2)), []);
    assert.equal(await compiles('gradients.ts', ['eControl'], target, k(4)), []);
  }
});

test.run();
