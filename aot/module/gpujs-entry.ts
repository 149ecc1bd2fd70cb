// What the runtime.js of a package for gpu.js is made of: the same checks of calls, tensors and formats, on gpujs-memory.ts and
// gpujs-load.ts in place of memory.ts and load.ts.
export { format, kernel, syncOf } from './define.ts';
export { QuernError } from './errors.ts';
export { openGpujs } from './gpujs-load.ts';
export { memoryUsed } from './gpujs-memory.ts';
export { Encoded, empty, Tensor, tensor } from './tensor.ts';
