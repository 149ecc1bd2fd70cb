// The command line: declares the commands and turns every outcome into an exit code. Each command is one file
// of commands/, loaded only when it runs, so that `--help` is quick.
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import type { Target } from '../compiler/artifact.ts';
import type { DeviceName } from '../runtime/devices/index.ts';
import { exit, report } from './exit.ts';

const whole = (min: number) => (text: string) => {
  const n = Number(text);
  if (!Number.isInteger(n) || n < min)
    throw new InvalidArgumentError(`It must be a whole number from ${min}.`);
  return n;
};
const nonNegative = (text: string) => {
  const n = Number(text);
  if (!(n >= 0 && n <= 100) || text.trim() === '')
    throw new InvalidArgumentError('It must be a number from 0 to 100.');
  return n;
};
const positive = (text: string) => {
  const n = Number(text);
  if (!(n > 0 && n < 1e9)) throw new InvalidArgumentError('It must be a number above 0.');
  return n;
};
const devices: readonly DeviceName[] = ['auto', 'wasm', 'webgpu', 'cuda', 'gpujs', 'reference'];
const targets: readonly Target[] = ['wasm', 'wgsl', 'cuda', 'gpujs'];
const activationsOption = () =>
  new Option(
    '--activations <kind>',
    'what meets compressed weights: f32, or q8 (rounded to 8 bits, so that integers are multiplied)',
  )
    .choices(['f32', 'q8'])
    .default('f32');
const deviceOption = () =>
  new Option('--device <name>', 'where kernels run').choices(devices).default('auto');
const listed = (text: string, before: string[] = []) => [...before, text];

export function program(): Command {
  const quern = new Command('quern')
    .description('Write a quantization format once; run it fused into every kernel.')
    .version(packageJson.version)
    .showHelpAfterError('(quern --help lists the commands)')
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.');

  quern
    .command('compress')
    .description('encode the matrices of a safetensors model in a format')
    .argument('<model>', 'safetensors file, folder, or index.json')
    .requiredOption('-f, --format <format>', 'q4_0, uniform(bits=3,group=64) or ./mine.ts#name')
    .requiredOption('-o, --output <path>', 'folder, or a file ending in .safetensors')
    .option(
      '--only <pattern>',
      'encode only tensors whose name matches (* is any text); repeatable',
      listed,
    )
    .option('--skip <pattern>', 'copy tensors whose name matches; repeatable', listed)
    .option('--allow-nonfinite', 'encode matrices that hold NaN or Inf')
    .option('--json', 'print the report as JSON')
    .action(async (model, options) =>
      (await import('./commands/compress.ts')).compress(model, options),
    );

  quern
    .command('convert')
    .description('a model from one file to another: safetensors, GGUF, any formats')
    .argument('<in>', 'folder, .safetensors or .gguf file, or index.json')
    .argument('<out>', 'file ending in .gguf or .safetensors, or a folder')
    .option('-f, --format <format>', 'of the matrices: q4_K, f16, ./mine.ts#name; kept if absent')
    .option('--recipe <file>', 'JSON object of name patterns and formats; the first match counts')
    .option('--imatrix <file>', 'importance matrix for the formats that take one: .gguf or .dat')
    .option('--only <pattern>', 'change only tensors whose name matches; repeatable', listed)
    .option('--skip <pattern>', 'keep tensors whose name matches; repeatable', listed)
    .option('--hf', 'write what transformers, vLLM and the like load: names, config.json, planes')
    .option('--shard <MB>', 'split the output into files of at most so many MB', positive)
    .option('--resume', 'continue a run that was interrupted')
    .option('--report <file>', 'write one HTML page with charts; not of what an earlier run did')
    .option('--allow-nonfinite', 'encode matrices that hold NaN or Inf')
    .option('--json', 'print the report as JSON')
    .action(async (from, to, options) =>
      (await import('./commands/convert.ts')).convert(from, to, options),
    );

  quern
    .command('inspect')
    .description('what a model file holds: tensors, formats, bits per weight')
    .argument('<model>', 'folder, .safetensors or .gguf file, or index.json')
    .option('--histogram', 'read the values and show how they are spread')
    .option('--only <pattern>', 'only tensors whose name matches; repeatable', listed)
    .option('--skip <pattern>', 'not tensors whose name matches; repeatable', listed)
    .option('--json', 'print the list as JSON')
    .action(async (model, options) =>
      (await import('./commands/inspect.ts')).inspect(model, options),
    );

  quern
    .command('diff')
    .description('how far apart two models are, and where it is worst')
    .argument('<a>', 'folder, .safetensors or .gguf file: what the error is relative to')
    .argument('<b>', 'folder, .safetensors or .gguf file')
    .option('--only <pattern>', 'only tensors whose name matches; repeatable', listed)
    .option('--skip <pattern>', 'not tensors whose name matches; repeatable', listed)
    .option('--block <n>', 'columns of a block', whole(1), 32)
    .option('--worst <n>', 'how many of the worst blocks to list', whole(1), 10)
    .option('--report <file>', 'write one HTML page with charts')
    .option('--json', 'print the result as JSON')
    .action(async (a, b, options) => (await import('./commands/diff.ts')).diff(a, b, options));

  quern
    .command('eval')
    .description('loss, perplexity and speed of a model on a text')
    .argument('<model>', 'folder, .safetensors or .gguf file')
    .requiredOption('-t, --text <file>', 'text file; a line <|endoftext|> parts documents')
    .option('--limit-windows <n>', 'evaluate only the first n windows', whole(1))
    .addOption(deviceOption())
    .addOption(activationsOption())
    .option('--json', 'print the result as JSON')
    .action(async (model, options) =>
      (await import('./commands/eval.ts')).evaluate(model, options),
    );

  quern
    .command('imatrix')
    .description('calibration sums of a model over a text, as llama.cpp writes them')
    .argument('<model>', 'folder, .safetensors or .gguf file')
    .requiredOption('-t, --text <file>', 'text file; a line <|endoftext|> parts documents')
    .requiredOption('-o, --output <file>', 'file ending in .gguf, or in .dat for the old form')
    .option('--limit-windows <n>', 'use only the first n windows', whole(1))
    .option('--json', 'print the result as JSON')
    .action(async (model, options) =>
      (await import('./commands/imatrix.ts')).imatrix(model, options),
    );

  quern
    .command('generate')
    .description('continue a prompt')
    .argument('<model>', 'folder, .safetensors or .gguf file')
    .requiredOption('-p, --prompt <text>', 'the text to continue')
    .option('-n, --tokens <n>', 'tokens to generate', whole(1), 64)
    .option('--temperature <t>', '0 takes the most likely token', nonNegative, 0)
    .option('--seed <n>', 'seed of the sampling', whole(0), 0)
    .addOption(deviceOption())
    .addOption(activationsOption())
    .option('--json', 'print the ids and the speed as JSON')
    .action(async (model, options) =>
      (await import('./commands/generate.ts')).generate(model, options),
    );

  quern
    .command('formats')
    .description('list the built-in formats')
    .option('--json', 'print the list as JSON')
    .action(async (options) => (await import('./commands/formats.ts')).formats(options));

  quern
    .command('check')
    .description('compile every kernel and format of a file and report what is wrong')
    .argument('<file>', 'kernel file')
    .action(async (file) => (await import('./commands/check.ts')).check(file));

  quern
    .command('explain')
    .description('show a kernel after every pass')
    .argument('<kernel>', 'FILE#NAME, FILE#NAME<format> or FILE#NAME<format>(constant, ...)')
    .addOption(new Option('--stage <name>', 'only this stage'))
    .addOption(
      new Option(
        '--sizes <sizes>',
        "of a GPU's kernels: dims for the figures, such as M=1,N=4096; others are 1024",
      ),
    )
    .addOption(new Option('--target <name>', 'what to compile as').choices(targets).default('wasm'))
    .action(async (kernel, options) =>
      (await import('./commands/explain.ts')).explain(kernel, options),
    );

  quern
    .command('build')
    .description('make a package of generated kernels that any project can import')
    .argument('<file>', 'kernel file')
    .requiredOption('-o, --output <folder>', 'where the package goes')
    .option(
      '-e, --export <export>',
      "NAME='linear<q4_0>', norm='rmsnorm(1e-5)' or a format; repeatable",
      listed,
    )
    .option('-t, --target <targets>', 'wasm, wgsl, gpujs, cuda; separated by commas', 'wasm')
    .option(
      '--variants <variants>',
      'code beside the plain one, which packages choose from by probe: relaxed, threads; or none',
      'relaxed,threads',
    )
    .option('--preset <preset>', 'what GPUs the target cuda is for: sm_75, sm_80 or sm_90')
    .option('--name <name>', 'name of the package; that of the file by default')
    .option('--json', 'print the list as JSON')
    .addHelpText(
      'after',
      "\nFor example: quern build kernels.ts -e 'linear=linear<q4_0>' -e q4_0 -t wasm,wgsl -o out",
    )
    .action(async (file, options) => (await import('./commands/build.ts')).build(file, options));

  quern
    .command('demo')
    .description('compress the sample model into several formats and compare their losses')
    .option('--limit-windows <n>', 'windows of 256 tokens to evaluate', whole(1))
    .option('--formats <list>', 'semicolon-separated formats in place of the default list')
    .option('--json', 'print the rows as JSON')
    .action(async (options) => (await import('./commands/demo.ts')).demo(options));
  return quern;
}

/** Runs one command line and gives the exit code. */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<number> {
  const quern = program();
  // A reader that has seen enough, as in `quern explain ... | head`, is no error.
  process.stdout.on('error', (e: NodeJS.ErrnoException) => {
    if (e.code === 'EPIPE') process.exit(exit.done);
    throw e;
  });
  const override = (c: Command): void => {
    c.exitOverride();
    c.commands.forEach(override);
  };
  override(quern);
  try {
    await quern.parseAsync([...argv], { from: 'user' });
    return exit.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exit.done : exit.usage;
    return report(error);
  }
}
