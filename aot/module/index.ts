// What the runtime.js of a package is made of; bundle.ts joins these files and all that they import.
export { format, kernel, syncOf } from './define.ts';
export { QuernError } from './errors.ts';
export { memoryUsed } from './memory.ts';
export { Encoded, empty, Tensor, tensor } from './tensor.ts';
