// README.md of a package: what it exports and one call of it that runs as it stands.
import type { ArgInfo } from '../compiler/artifact.ts';
import { cudaHeader } from './cuda.ts';
import { plain } from './expression.ts';
import { flavorsOf } from './flavors.ts';
import { type BuiltFormat, type BuiltKernel, formatKey, type PackagePlan } from './plan.ts';
import type { Target } from './targets.ts';

export function readme(plan: PackagePlan): string {
  const kernels = plan.kernels.map(
    (k) => `| \`${k.name}\` | ${signature(k, plan)} | ${k.doc?.split('\n')[0] ?? ''} |`,
  );
  const formats = plan.formats.map(
    (f) =>
      `| \`${f.name}\` | ${Object.keys(f.parts).join(', ')} | ${f.doc?.split('\n')[0] ?? ''} |`,
  );
  const lists = [
    ...(kernels.length ? ['| kernel | takes and gives | |', '|---|---|---|', ...kernels, ''] : []),
    ...(formats.length ? ['| format | functions | |', '|---|---|---|', ...formats, ''] : []),
  ].join('\n');
  const sections: { readonly [T in Target]: (plan: PackagePlan) => string } = {
    wasm: () => '',
    wgsl: gpuSection,
    gpujs: gpujsSection,
    cuda: cudaSection,
  };
  const others = plan.targets.map((t) => sections[t](plan)).join('');
  if (!plan.targets.includes('wasm'))
    return `# ${plan.name}\n\nMade by \`quern build\` from \`${plan.source}\`.\n\n${lists}${others}`;
  return `# ${plan.name}

Made by \`quern build\` from \`${plan.source}\`. WebAssembly SIMD kernels (relaxed SIMD where the host computes it right) and a small loader: no dependencies, no compiler, nothing
to install. Runs in Node 20 and later, in browsers (also under a Content-Security-Policy with only \`wasm-unsafe-eval\`) and
through bundlers.

${lists}
\`\`\`js
${example(plan)}\`\`\`

- Each kernel is an asynchronous function, which loads its code when it is first called. After \`init()\`, or the kernel's own
  \`ready()\`, \`NAMESync\` is the same without waiting. Importing one kernel pulls in that kernel alone.
- An argument is a tensor or \`{ data, shape }\`. The last argument may be the output: a tensor, or \`{ data, shape }\` of yours.
- What \`tensor()\`, \`encode()\` and kernels make stays in memory until \`dispose()\`.
${
  plan.threads
    ? `- \`init({ threads: 'auto' })\`, before anything else, lets kernels run on several threads: in Node, and in pages that are cross-origin
  isolated. Elsewhere \`ops.threads\` says why there is one. Results do not depend on their number.
`
    : ''
}- Every error is a \`QuernError\` with a stable \`code\`, and names the argument.
- \`kernels.h\` is the ABI of the \`.wasm\` files for C and C++ hosts; \`manifest.json\` the same as data.
${others}`;
}

const gpuSection = (plan: PackagePlan): string => `
## WebGPU

\`webgpu/\` has a .wgsl file a kernel and a launcher of its own: no dependencies, WebGPU's default limits. Tensors lie on the GPU, what a call gives stays
there, and reading is asynchronous:

\`\`\`js
${example(plan, 'webgpu')}\`\`\`

- \`init()\` comes first. It opens \`navigator.gpu\`, or what it is given: \`init({ gpu })\`, in Node with \`gpu = create([])\` of the npm package
  \`webgpu\`; or \`init({ device })\`, a GPUDevice of yours.
- A call records its work. What calls that follow each other record is submitted together: when somebody reads, or when the host comes to rest.
- Errors of the GPU are raised by the next call or read.
`;

const gpujsSection = (plan: PackagePlan): string => `
## gpu.js

\`gpujs/\` has each kernel as functions of JavaScript: no dependencies. They run everywhere as they are, and on WebGL2 where \`init()\` gets the class GPU of the
npm package gpu.js, for pages without WebGPU:

\`\`\`js
${example(plan, 'gpujs')}\`\`\`

- On WebGL2: \`import { GPU } from 'gpu.js'\`, then \`init({ GPU })\` before anything else; or \`init({ gpu: new GPU() })\`. \`NAME.variant()\` says what runs.
- Arrays go to the GPU and back at each call. Tensors have at most 2^24 elements, as numbers are floats there.
${plan.formats
  .filter((f) => Object.keys(f.refused).length)
  .map((f) => `- \`${f.name}\` has no ${Object.keys(f.refused).join(', ')} there.\n`)
  .join('')}`;

const cudaSection = (plan: PackagePlan): string => `
## CUDA

\`cuda/\` has a .cu file a kernel and the header \`${cudaHeader(plan)}\` of their launchers, plain C functions on device pointers and a stream:

\`\`\`sh
nvcc -std=c++17 -O3 -shared -Xcompiler -fPIC -o lib${cudaHeader(plan).replace(/\.h$/, '')}.so cuda/*.cu
\`\`\`

The .cu files alone also go through NVRTC (CuPy's RawModule): \`manifest.json\` has under \`cuda\` the launches of each kernel, sizes as postfix code.
`;

const shapeOf = (a: ArgInfo, plan: PackagePlan): string =>
  a.kind === 'tensor'
    ? `${a.dtype}${a.text}`
    : `${plan.formatNames.get(formatKey(a.format))}${a.text}`;

const signature = (k: BuiltKernel, plan: PackagePlan): string =>
  `\`${k.manifest.params.map((p) => `${p.name}: ${shapeOf(p, plan)}`).join(', ')}\` → \`${k.manifest.results.map((r) => shapeOf(r, plan)).join(', ')}\``;

/** Sizes for the example: a multiple of every block, and small. */
function sizesFor(k: BuiltKernel): Map<string, number> {
  const needs = k.manifest.constraints.map((c) => c.modulus);
  const unit = Math.max(2, ...needs);
  const aligned = new Set(k.manifest.constraints.flatMap((c) => c.poly));
  return new Map(k.manifest.dims.map((d, i) => [d, aligned.has(d) ? unit * 2 : i + 2]));
}

/** A program that runs as it stands. On WebGPU reading is awaited and nothing is synchronous. */
function example(plan: PackagePlan, folder = ''): string {
  const gpu = folder === 'webgpu';
  const [main] = flavorsOf(plan);
  const from = main!.folder === (folder && `${folder}/`) ? plan.name : `${plan.name}/${folder}`;
  const read = gpu ? 'await ' : '';
  const encodes = (f: BuiltFormat): boolean => folder !== 'gpujs' || !('encode' in f.refused);
  const able = new Set(plan.formats.filter(encodes).map((f) => f.name));
  const k = plan.kernels.find((k) =>
    k.manifest.params.every(
      (p) => p.kind === 'tensor' || able.has(plan.formatNames.get(formatKey(p.format))!),
    ),
  );
  if (!k) {
    const f = plan.formats.find(encodes);
    if (!f) return `import { init } from '${from}';\n\nconst ops = await init();\n`;
    return `import { init } from '${from}';

const ops = await init();
const w = await ops.${f.name}.encode(new Float32Array(2 * 512).fill(1), [2, 512]);
const x = await ops.${f.name}.decode(w);
console.log(w.bitsPerWeight, ${read}x.data());
for (const t of [w, x]) t.dispose();
`;
  }
  const sizes = sizesFor(k);
  const dims = (a: ArgInfo): number[] =>
    a.shape.map((s) => {
      const d = plain(s);
      return typeof d === 'number' ? d : (sizes.get(d ?? '') ?? 1);
    });
  // Names of the author, unless the example needs them for itself.
  const taken = new Set(['ops', 'init', 't']);
  const free = (name: string): string => {
    let n = /^[A-Za-z_$][\w$]*$/.test(name) ? name : 'value';
    while (taken.has(n)) n += '_';
    taken.add(n);
    return n;
  };
  const names = k.manifest.params.map((p) => free(p.name));
  const y = free('y');
  const made = k.manifest.params.map((p, i) => {
    const shape = dims(p);
    const count = shape.reduce((a, b) => a * b, 1);
    const array =
      p.kind === 'tensor' && !/^(f|b|e)/.test(p.dtype)
        ? `new ${arrayOf(p.dtype)}`
        : 'new Float32Array';
    if (p.kind === 'tensor')
      return `const ${names[i]} = ops.tensor(${array}(${count}).fill(1), [${shape.join(', ')}]${natural(p.dtype) ? '' : `, '${p.dtype}'`});`;
    const name = plan.formatNames.get(formatKey(p.format))!;
    return `const ${names[i]} = await ops.${name}.encode(${array}(${count}).fill(1), [${shape.join(', ')}]);`;
  });
  const lone = k.manifest.returns === 'value' && k.manifest.results[0]!.kind === 'tensor';
  return `import { init } from '${from}';

const ops = await init();
${made.join('\n')}
const ${y} = await ops.${k.name}(${names.join(', ')});
console.log(${lone ? `${y}.shape, ${read}${y}.data()` : y});
${lone && !gpu ? `ops.${k.name}Sync(${[...names, y].join(', ')}); // once more, into the same output\n` : ''}for (const t of [${[...names, ...(lone ? [y] : [])].join(', ')}]) t.dispose();
`;
}

const natural = (dtype: string): boolean =>
  ['f32', 'i8', 'u8', 'i16', 'u16', 'i32', 'u32'].includes(dtype);
const arrayOf = (dtype: string): string =>
  dtype === 'u32'
    ? 'Uint32Array'
    : dtype === 'i32'
      ? 'Int32Array'
      : /^i/.test(dtype)
        ? 'Int8Array'
        : 'Uint8Array';
