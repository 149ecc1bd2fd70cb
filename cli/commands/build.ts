// quern build: a kernel file to a package of WebAssembly, JavaScript and declarations.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import pc from 'picocolors';
import {
  buildPackage,
  cudaFile,
  type ExportRequest,
  extraVariants,
  flavorsOf,
  targetsNamed,
  writePackage,
} from '../../aot/index.ts';
import { UsageError } from '../exit.ts';
import { kernelOf } from '../format-name.ts';
import { table } from '../table.ts';

interface BuildOptions {
  readonly target: string;
  readonly export?: readonly string[];
  readonly output: string;
  readonly name?: string;
  readonly preset?: string;
  readonly variants: string;
  readonly json?: boolean;
}

/** `norm=rmsnorm(1e-5)`, or `rmsnorm(1e-5)` under its own name. */
function exportOf(file: string, text: string): ExportRequest {
  const [, name, kernel] = /^\s*(?:([\w$]+)\s*=)?(.*)$/s.exec(text)!;
  const { name: of, formats, statics } = kernelOf(`${file}#${kernel!.trim()}`);
  return { name: name ?? of, of, formats, constants: statics };
}

/** `relaxed,threads`, or `none`. */
function variantsNamed(text: string): (typeof extraVariants)[number][] {
  const names = text === 'none' ? [] : text.split(',').map((t) => t.trim());
  const known = extraVariants.join(', ');
  return names.map((name) => {
    const found = extraVariants.find((v) => v === name);
    if (!found) throw new UsageError(`${name} is no variant; there are ${known} and none`);
    return found;
  });
}

export async function build(path: string, options: BuildOptions): Promise<void> {
  const file = path === 'quern/formats' ? path : resolve(path);
  if (file !== path && !existsSync(file)) throw new UsageError(`No file ${path}`);
  const name = options.name;
  if (name !== undefined && !/^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(name))
    throw new UsageError(`${name} is no name of an npm package`);
  const { plan, files } = await buildPackage({
    file,
    targets: targetsNamed(options.target.split(',').map((t) => t.trim())),
    ...(options.export ? { exports: options.export.map((e) => exportOf(file, e)) } : {}),
    ...(name === undefined ? {} : { name }),
    variants: variantsNamed(options.variants),
    ...(options.preset === undefined ? {} : { preset: options.preset }),
  });
  writePackage(files, options.output);
  const script = [...files].filter(([p]) => p.endsWith('.js')).map(([, b]) => Buffer.from(b));
  const gzip = gzipSync(Buffer.concat(script), { level: 9 }).length;
  const kernels = [...plan.kernels, ...plan.formats.flatMap((f) => Object.values(f.parts))];
  const rows = kernels.flatMap((k) => [
    ...flavorsOf(plan).flatMap(({ folder, files: filesOf }) =>
      filesOf(k).map((f) => ({
        kernel: k.name,
        file: `${folder}ops/${f.file}`,
        bytes: f.code.length,
      })),
    ),
    ...(k.cuda
      ? [{ kernel: k.name, file: cudaFile(k), bytes: files.get(cudaFile(k))!.length }]
      : []),
  ]);
  if (options.json) {
    console.log(JSON.stringify({ name: plan.name, kernels: rows, gzip, left: plan.left }));
    return;
  }
  const cells = rows.map((r) => [r.kernel, r.file, String(r.bytes)]);
  console.log(table(['kernel', 'file', 'bytes'], 'llr', cells));
  console.log(
    `\n${pc.green('built')} ${plan.name} in ${options.output}${script.length ? `: JavaScript ${gzip} bytes gzip` : ''}`,
  );
  for (const why of plan.left)
    console.log(`left out: ${why} (say how: --export NAME='KERNEL<FORMAT>(CONSTANT)')`);
  for (const { name: format, refused } of plan.formats)
    for (const [part, reason] of Object.entries(refused))
      console.log(`not for gpu.js: ${format}.${part}: ${reason}`);
}
