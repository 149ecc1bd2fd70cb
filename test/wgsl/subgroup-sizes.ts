// Subgroups of any size on a device that has one size: emitted text with their builtins replaced by functions that go through
// workgroup memory.

const operators: { readonly [builtin: string]: (a: string, b: string) => string } = {
  subgroupAdd: (a, b) => `${a} + ${b}`,
  subgroupMin: (a, b) => `min(${a}, ${b})`,
  subgroupMax: (a, b) => `max(${a}, ${b})`,
  subgroupAnd: (a, b) => `${a} & ${b}`,
  subgroupOr: (a, b) => `${a} | ${b}`,
};

/** The text for subgroups of `size` threads, the last of a group with as many as there are. */
export function withSubgroupsOf(size: number, text: string): string {
  const functions = new Map<string, string>();
  const own = text.replace(
    /fn combine_\w+_(\d+)\(value: (\w+(?:<bool>)?), subgroup[\s\S]*?^\}/gm,
    (whole, threads: string, type: string) =>
      whole
        .replace(/(subgroup(?:Add|Min|Max|And|Or))\((\w*)/, (_, builtin: string, inner: string) => {
          const lanes = /_([24])$/.exec(inner)?.[1];
          const t = inner.startsWith('key')
            ? lanes
              ? `vec${lanes}i`
              : 'i32'
            : inner === 'value'
              ? type
              : inner;
          const name = `${builtin}_${t}_${threads}`;
          const of = operators[builtin]!('all', `values_${t}[i]`);
          functions.set(`values_${t}`, `var<workgroup> values_${t}: array<${t}, 256>;`);
          functions.set(
            name,
            `fn ${name}(x: ${t}) -> ${t} {
  workgroupBarrier();
  values_${t}[who] = x;
  workgroupBarrier();
  let first = who / ${size}u * ${size}u;
  var all = values_${t}[first];
  for (var i = first + 1u; i < min(first + ${size}u, ${threads}u); i++) { all = ${of}; }
  return all;
}`,
          );
          return `${name}(${inner}`;
        })
        .replace('subgroupElect()', `who % ${size}u == 0u`),
  );
  const builtins =
    /,\s+@builtin\(subgroup_id\) subgroup: u32,\s+@builtin\(num_subgroups\) subgroups: u32\) \{/;
  // Kernels that combine know the numbers of their members.
  const entries = own.replace(/@workgroup_size\((\d+)\)[^{]*\{/g, (head, threads: string) => {
    const count = Math.ceil(Number(threads) / size);
    return head.replace(
      builtins,
      `) { who = member; let subgroup = member / ${size}u; let subgroups = ${count}u;`,
    );
  });
  return entries.replace(
    'enable subgroups;\nrequires subgroup_id;',
    ['var<private> who: u32;', ...functions.values()].join('\n'),
  );
}
