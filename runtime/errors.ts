// Every error that the runtime raises: one row a code, like the compiler's table of diagnostics.
// A row turns facts into a sentence: what was found, what was expected, what to do. Codes are never
// reused. Q50 calls of kernels, Q51 devices and memory, Q61 weight files (Q60 is the models, runtime/models).

/** What the table says about one problem. */
export interface Explanation {
  readonly message: string;
  readonly found?: string;
  readonly expected?: string;
  readonly hint?: string;
}

/** Where an error of a call happened: `linear`, `argument w`. */
interface Place {
  readonly kernel: string;
  readonly where: string;
}

const at = (f: Place): string => `${f.kernel}: ${f.where}`;

export const runtimeCodes = {
  Q5001: (f: { kernel: string; found: number; expected: string }): Explanation => ({
    message: `${f.kernel}: wrong number of arguments`,
    found: String(f.found),
    expected: f.expected,
    hint: 'Arguments go by position, compile-time constants included.',
  }),
  Q5002: (f: Place & { found: string; expected: string }): Explanation => ({
    message: `${at(f)} is of the wrong kind`,
    found: f.found,
    expected: f.expected,
    hint: 'Tensors are { data, shape } or the results of kernels; encoded weights come from encode().',
  }),
  Q5003: (f: Place & { found: string; expected: string }): Explanation => ({
    message: `${at(f)} has the wrong dtype`,
    found: f.found,
    expected: f.expected,
    hint: 'Pass an array of that type, or convert with array(data, shape, dtype).',
  }),
  Q5004: (f: Place & { found: string; expected: string }): Explanation => ({
    message: `${at(f)} has the wrong number of axes`,
    found: f.found,
    expected: f.expected,
    hint: 'Pass the same data with a shape of that many axes.',
  }),
  Q5005: (f: Place & { axis: number; size: number; wanted: string }): Explanation => ({
    message: `${at(f)}: axis ${f.axis} is ${f.size}, but ${f.wanted}`,
    hint: 'Dims of the same name must have the same size in every argument.',
  }),
  Q5006: (f: {
    kernel: string;
    text: string;
    modulus: number;
    reason: string;
    value: number;
  }): Explanation => ({
    message: `${f.kernel}: ${f.text} must be a multiple of ${f.modulus} (${f.reason}), got ${f.value}`,
    hint: `Pad the axis to a multiple of ${f.modulus}, or choose a format with another block size.`,
  }),
  Q5007: (f: { kernel: string; dim: string }): Explanation => ({
    message: `${f.kernel}: the size of ${f.dim} does not follow from the shapes of the arguments`,
    hint: `Give some parameter an axis that is ${f.dim} alone.`,
  }),
  Q5008: (f: { where: string; found: number; expected: number; shape: string }): Explanation => ({
    message: `${f.where}: the data does not fill the shape ${f.shape}`,
    found: `${f.found} elements`,
    expected: `${f.expected} elements`,
    hint: 'The shape must multiply out to the length of the data.',
  }),
  Q5009: (f: { where: string; found: string }): Explanation => ({
    message: `${f.where}: a shape is a list of whole numbers >= 0`,
    found: f.found,
    hint: 'Pass a shape such as [2, 64].',
  }),
  Q5010: (f: { what: string; known: string }): Explanation => ({
    message: `No ${f.what}`,
    expected: f.known,
    hint: 'Check the spelling; only exported names can be called.',
  }),
  Q5011: (f: Place & { found: string; expected: string }): Explanation => ({
    message: `${at(f)} is encoded in another format`,
    found: f.found,
    expected: f.expected,
    hint: 'Encode the tensor with the expected format.',
  }),
  Q5012: (f: Place & { field: string; found: string; expected: string }): Explanation => ({
    message: `${at(f)}: field ${f.field} does not fit the format`,
    found: f.found,
    expected: f.expected,
    hint: 'The fields must come from encode(), unpack() or a file of this very format.',
  }),
  Q5013: (f: {
    kernel: string;
    result: string;
    index: string;
    found: number;
    expected: number;
    difference: number;
    tolerance: number;
  }): Explanation => ({
    message: `${f.kernel}: the device disagrees with the reference interpreter in ${f.result}${f.index}`,
    found: `${f.found} (differs by ${f.difference}, tolerance ${f.tolerance})`,
    expected: String(f.expected),
    hint: 'Please report this with the kernel file; device("reference") gives the right numbers.',
  }),
  Q5014: (f: Place & { value: number; dtype: string; range: string }): Explanation => ({
    message: `${at(f)} holds ${f.value}, which ${f.dtype} cannot hold`,
    expected: f.range,
    hint: 'Clamp or rescale the values first.',
  }),
  Q5015: (f: { kernel: string; detail: string }): Explanation => ({
    message: `${f.kernel}: the kernel stopped: ${f.detail}`,
    hint: 'Please report this with the kernel file and the shapes of the arguments.',
  }),

  Q5017: (f: Place & { found: string }): Explanation => ({
    message: `${at(f)} cannot be given up`,
    found: f.found,
    expected: 'a tensor that has its memory to itself',
    hint: 'Dispose views first, and pass the tensor once; or pass it without give().',
  }),
  Q5018: (f: { kernel: string }): Explanation => ({
    message: `The tensor was never computed: ${f.kernel} stopped, and the chain of calls with it`,
    hint: 'The error of the chain says why; make the tensor again.',
  }),
  Q5019: (f: { bytes: number }): Explanation => ({
    message: `The memory of a tensor (${f.bytes} bytes) is looked at before the calls that write it have run`,
    hint: 'Await the chain that makes the tensor, or data(): its kernels run on other threads.',
  }),

  Q5101: (f: { what: string; use: string }): Explanation => ({
    message: `${f.what} was disposed, and ${f.use} needs it`,
    hint: 'Dispose after the last use; a scope() frees what it does not return.',
  }),
  Q5102: (f: { needed: number; used: number; limit: number; detail: string }): Explanation => ({
    message: `Out of device memory: ${f.detail}`,
    found: `${f.needed} bytes asked for, ${f.used} of ${f.limit} in use`,
    hint: 'Dispose tensors, use scope(), or process the tensor a slab of rows at a time.',
  }),
  Q5104: (f: Place & { found: string; expected: string }): Explanation => ({
    message: `${at(f)} lives on another device`,
    found: f.found,
    expected: f.expected,
    hint: 'Read it with data() and pass { data, shape }, which uploads it.',
  }),
  Q5105: (f: { what: string; found: string; expected: string }): Explanation => ({
    message: `${f.what} is out of range`,
    found: f.found,
    expected: f.expected,
    hint: 'Rows are counted along axis 0.',
  }),
  Q5106: (f: { kind: string; detail: string }): Explanation => ({
    message: `The device ${f.kind} is not available: ${f.detail}`,
    hint: "Use device('auto'), which takes the best one there is.",
  }),
  Q5107: (f: { detail: string }): Explanation => ({
    message: `A worker thread was lost: ${f.detail}`,
    hint: 'Call again: the device starts new ones. QUERN_THREADS=1 does without.',
  }),
  Q5108: (f: { call: string; name: string; text: string }): Explanation => ({
    message: `The CUDA driver refused ${f.call}: ${f.name} (${f.text})`,
    hint: 'After a fault of a kernel every later call fails too: start the process again.',
  }),
  Q5109: (f: { kernel: string; compiler: string; detail: string }): Explanation => ({
    message: `${f.kernel}: ${f.compiler} refused the emitted CUDA C`,
    found: f.detail,
    hint: 'Please report this with the kernel file and the version of the compiler.',
  }),
  Q5110: (f: { tried: string }): Explanation => ({
    message: `No CUDA compiler was found: ${f.tried}`,
    hint: 'Install the CUDA toolkit, and set CUDA_HOME if it is in an unusual place.',
  }),
  Q5121: (f: { kernel: string; detail: string }): Explanation => ({
    message: `${f.kernel}: the GPU's driver refuses the generated code: ${f.detail}`,
    hint: "Please report this with the kernel file; device('wasm') runs it.",
  }),
  Q5122: (f: { name: string; detail: string }): Explanation => ({
    message: `The GPU (${f.name}) was lost: ${f.detail}`,
    hint: "Tensors on it are gone. device('webgpu') gives a new one; load the kernels and the data again.",
  }),
  Q5123: (f: { name: string; detail: string }): Explanation => ({
    message: `The GPU (${f.name}) reports an error: ${f.detail}`,
    hint: 'Results since the last read are not to be trusted. Out of memory: dispose tensors, or use scope().',
  }),
  Q5124: (f: { kernel: string; found: number; limit: number }): Explanation => ({
    message: `${f.kernel}: a tensor is larger than what the GPU binds at once`,
    found: `${f.found} bytes`,
    expected: `at most ${f.limit} bytes`,
    hint: "Split the tensor into slabs of rows, or use device('wasm').",
  }),
  Q5125: (f: { kernel: string; what: string }): Explanation => ({
    message: `${f.kernel}: ${f.what}, which gpu.js cannot count`,
    expected: 'at most 16777216',
    hint: "Numbers are floats there, and whole ones exact up to 2^24: use device('wasm') or 'webgpu'.",
  }),

  Q6101: (f: { file: string; detail: string }): Explanation => ({
    message: `Cannot read ${f.file}: ${f.detail}`,
    hint: 'Check the path and its permissions.',
  }),
  Q6102: (f: { file: string; reason: string }): Explanation => ({
    message: `${f.file} is not a valid safetensors file: ${f.reason}`,
    hint: 'The file is damaged or truncated, or it has another format; fetch or write it again.',
  }),
  Q6103: (f: { file: string; tensor: string; reason: string }): Explanation => ({
    message: `${f.file}: tensor ${JSON.stringify(f.tensor)}: ${f.reason}`,
    hint: 'The file is damaged or was written wrongly; fetch or write it again.',
  }),
  Q6104: (f: { file: string; tensor: string; known: string }): Explanation => ({
    message: `${f.file}: no tensor ${JSON.stringify(f.tensor)}`,
    expected: f.known,
    hint: 'Names are those of the safetensors header.',
  }),
  Q6105: (f: { file: string; what: string; found: string; expected: string }): Explanation => ({
    message: `${f.file}: ${f.what}`,
    found: f.found,
    expected: f.expected,
    hint: 'Tensors are written whole and in the order in which they were declared.',
  }),
  Q6106: (f: { file: string; reason: string }): Explanation => ({
    message: `${f.file} is not a valid index of shards: ${f.reason}`,
    hint: 'The index maps each tensor to a file beside it, under "weight_map".',
  }),
  Q6107: (f: { file: string; detail: string }): Explanation => ({
    message: `Cannot write ${f.file}: ${f.detail}`,
    hint: 'Check the free space and the permissions of the folder.',
  }),
  Q6108: (f: { file: string; reason: string }): Explanation => ({
    message: `${f.file} is not a valid GGUF file: ${f.reason}`,
    hint: 'The file is damaged or truncated, or it has another format; fetch or write it again.',
  }),
  Q6109: (f: { file: string; tensor: string; reason: string }): Explanation => ({
    message: `${f.file}: tensor ${JSON.stringify(f.tensor)}: ${f.reason}`,
    hint: 'A GGUF file has each tensor once, aligned and apart from the others, in a type of ggml.',
  }),
  Q6110: (f: { file: string; reason: string }): Explanation => ({
    message: `${f.file}: the parts of a split file do not fit together: ${f.reason}`,
    hint: 'All parts lie in one folder under the names that the splitting gave them.',
  }),
  Q6111: (f: { file: string; reason: string }): Explanation => ({
    message: `Cannot continue ${f.file}: ${f.reason}`,
    hint: 'Run the command without --resume to begin anew.',
  }),
  Q6112: (f: { file: string; pid: string }): Explanation => ({
    message: `${f.file} is being written by process ${f.pid}`,
    hint: 'Wait until it ends, or write elsewhere.',
  }),
  Q6113: (f: { file: string; reason: string }): Explanation => ({
    message: `${f.file} is not a valid importance matrix: ${f.reason}`,
    hint: 'It is what `quern imatrix` and llama-imatrix write, as .gguf or as .dat.',
  }),
} as const;

export type RuntimeCode = keyof typeof runtimeCodes;
export type RuntimeFacts<C extends RuntimeCode> = Parameters<(typeof runtimeCodes)[C]>[0];

/** An error of the runtime; `code` is stable, the parts are the sentences of the message. */
export class QuernError extends Error {
  override readonly name = 'QuernError';
  readonly code: RuntimeCode;
  readonly explanation: Explanation;

  constructor(code: RuntimeCode, explanation: Explanation, options?: ErrorOptions) {
    const { message, found, expected, hint } = explanation;
    const lines = [`${code}: ${message}`];
    if (found !== undefined) lines.push(`  found: ${found}`);
    if (expected !== undefined) lines.push(`  expected: ${expected}`);
    if (hint !== undefined) lines.push(`  hint: ${hint}`);
    super(lines.join('\n'), options);
    this.code = code;
    this.explanation = explanation;
  }
}

export function raise<C extends RuntimeCode>(
  code: C,
  facts: RuntimeFacts<C>,
  cause?: unknown,
): never {
  const explain = runtimeCodes[code] as (f: RuntimeFacts<C>) => Explanation;
  throw new QuernError(code, explain(facts), cause === undefined ? undefined : { cause });
}

/** Sentence about a caught value, for `detail` facts. */
export const reasonOf = (e: unknown): string => (e instanceof Error ? e.message : String(e));

export const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
