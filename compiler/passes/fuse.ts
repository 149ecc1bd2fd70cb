// Fusion by meaning: groups the ops of a function into kernels. Each value that must be stored (see
// materialize.ts) becomes the root of one; everything it is made from that needs no storage is copied into it.
// A reshape of a stored value stays outside: it is another view of the same buffer.
import { dtypes } from '../ir/dtype.ts';
import type { Func, Op, Region, Value } from '../ir/ir.ts';
import { walk } from '../ir/ir.ts';
import { ops } from '../ir/ops.ts';
import type { Pass, PassContext } from './engine.ts';
import { foldStored, planRegion } from './materialize.ts';
import { Rewriter } from './rewriter.ts';

export const fuse: Pass = {
  name: 'fuse',
  run(func, ctx) {
    const distinct = separateResults(func);
    return group(distinct, ctx);
  },
};

/** Gives every result of the function a value of its own that is not a parameter, so that it can be stored. */
function separateResults(func: Func): Func {
  const seen = new Set<Value>();
  const params = new Set(func.body.params);
  const again = func.body.yields.map((v) => {
    const twin = seen.has(v) || params.has(v);
    seen.add(v);
    return twin;
  });
  if (!again.includes(true)) return func;
  const to = new Rewriter({ op: () => undefined });
  let yields: Value[] = [];
  const inner = to.region(func.body);
  const region = to.builder.region(inner.params, () => {
    for (const op of inner.ops) to.builder.append(op);
    yields = inner.yields.map((v, i) =>
      again[i] ? to.builder.one('broadcast', [v], { shape: v.type.shape }) : v,
    );
    return yields;
  });
  let next = 0;
  const results = func.results.map(
    (r) => ({ ...r, values: r.values.map(() => yields[next++]!) }) as typeof r,
  );
  const moved = func.params.map((p) => ({ ...p, values: to.values(p.values) }) as typeof p);
  return { ...func, params: moved, results, body: region };
}

function group(func: Func, ctx: PassContext): Func {
  const { stored: planned, reasons: planReasons } = planRegion(
    func.body,
    false,
    !ctx.limits?.gpu,
    ctx.limits?.gpu?.single,
  );
  const stored = new Set(planned);
  const reasons = new Map(planReasons);
  const aliases = findAliases(func.body, stored, reasons);
  foldStored(func.body, stored, ctx.limits?.gpu?.single);
  const to = new Rewriter({ op: () => undefined });
  const params = func.body.params.map((p) => to.param(p));
  const inside = new Set(func.body.params);
  let count = 0;

  const body = to.builder.region(params, () => {
    for (const op of func.body.ops) {
      const roots = op.results.filter((v) => stored.has(v));
      if (roots.length === 0) continue;
      if (aliases.has(op)) {
        to.set(op.results[0]!, to.clone(op)[0]!);
        inside.add(op.results[0]!);
        continue;
      }
      const from = op.name === 'materialize' ? op.operands[0]! : undefined;
      const isThere = from !== undefined && inside.has(from);
      if (isThere && !func.body.yields.includes(op.results[0]!)) {
        to.set(op.results[0]!, to.value(from));
        inside.add(op.results[0]!);
        continue;
      }
      const asked = isThere ? undefined : from;
      const name = `${(op.results[0]!.name ?? op.name).replace(/\W+/g, '_')}_${count}`;
      const done = new Set<Value>();
      const copied: string[] = [];
      const need = (v: Value): void => {
        if (inside.has(v) || done.has(v)) return;
        const producer = v.def?.op;
        if (!producer) return;
        for (const o of captures(producer)) need(o);
        to.builder.span = producer.span;
        to.clone(producer).forEach((now, i) => {
          to.set(producer.results[i]!, now);
        });
        for (const r of producer.results) done.add(r);
        if (producer !== op && ops[producer.name].kind !== 'leaf') copied.push(producer.name);
      };
      const region = to.builder.region([], () => {
        // What schedules look for is how a value is made, not that somebody asked for it.
        if (asked) need(asked);
        else need(op.results[0]!);
        return (asked ? [asked] : op.results).map((v) => to.value(v));
      });
      to.builder.span = op.span;
      const results = to.builder.op('kernel', [], { name, schedule: '' }, [region]);
      op.results.forEach((v, i) => {
        to.set(v, results[i]!);
        inside.add(v);
      });
      // Values copied into the kernel are not visible outside of it.
      for (const v of done) if (!stored.has(v)) inside.delete(v);
      ctx.note(
        `${name}: ${op.name} is stored (${reasons.get(op.results[0]!) ?? 'a result'})${copied.length ? `; folded in: ${[...new Set(copied)].join(', ')}` : ''}`,
        op.span,
      );
      count += 1;
    }
    return func.body.yields.map((v) => to.value(v));
  });
  const moved = <T extends Func['params'][number]>(s: T): T =>
    ({ ...s, values: to.values(s.values) }) as T;
  return { ...func, params: func.params.map(moved), results: func.results.map(moved), body };
}

/** Every value an op reads, those read inside its regions but defined outside included. */
function captures(op: Op): Value[] {
  const out = new Set(op.operands);
  const own = new Set<Value>();
  for (const r of op.regions) {
    r.params.forEach((p) => own.add(p));
    walk(r, (o) => {
      o.results.forEach((v) => own.add(v));
      o.regions.forEach((q) => q.params.forEach((p) => own.add(p)));
    });
    walk(r, (o) => {
      o.operands.forEach((v) => out.add(v));
      o.regions.forEach((q) => q.yields.forEach((v) => out.add(v)));
    });
    r.yields.forEach((v) => out.add(v));
  }
  return [...out].filter((v) => !own.has(v));
}

/**
 * Reshapes that only rename the axes of a buffer. Their operand is stored instead (added to `stored`), unless
 * it is a parameter or a result of its own, or its rows are padded. It takes over the reason.
 */
function findAliases(body: Region, stored: Set<Value>, reasons: Map<Value, string>): Set<Op> {
  const out = new Set<Op>();
  for (const op of [...body.ops].reverse()) {
    const v = op.results[0];
    if (op.name !== 'reshape' || !v || !stored.has(v)) continue;
    const from = op.operands[0]!;
    const producer = from.def?.op;
    if (!producer || body.yields.includes(from) || dtypes[v.type.dtype].bits % 8 !== 0) continue;
    const { kind } = ops[producer.name];
    const isView = kind === 'view' && producer.name !== 'reshape';
    if (isView || kind === 'leaf') continue;
    const others = body.ops.filter(
      (o) =>
        o.name === 'reshape' && o.operands[0] === from && stored.has(o.results[0]!) && o !== op,
    );
    if (others.length > 0) continue;
    stored.add(from);
    if (!reasons.has(from)) reasons.set(from, reasons.get(v) ?? 'a result');
    out.add(op);
  }
  return out;
}
