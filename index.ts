// What `import … from 'quern'` gives: the language, which authors write kernels in, and the runtime, which
// loads and runs them. The two share no names.
export * from './compiler/language/index.ts';
export type { Argument } from './runtime/arguments.ts';
export { chain } from './runtime/chain.ts';
export type { Device, DeviceKind } from './runtime/devices/device.ts';
export { type DeviceName, type DeviceOptions, device } from './runtime/devices/index.ts';
export type { Plan } from './runtime/dispatch.ts';
export { QuernError, type RuntimeCode } from './runtime/errors.ts';
export type { FieldLayout, FormatHandle, Packed } from './runtime/formats.ts';
export { type LoadOptions, formatFromRef, load } from './runtime/load.ts';
export type { KernelFunction, Loaded } from './runtime/loaded.ts';
export type { Result, Results } from './runtime/results.ts';
export { scope } from './runtime/scope.ts';
export {
  type Given,
  type HostTensor,
  DeviceTensor,
  EncodedTensor,
  array,
  give,
} from './runtime/tensor.ts';
