// What the runtime asks of a device: buffers, and artifacts made runnable. Calls are enqueued in order; only
// reading bytes back waits. Devices know nothing of dtypes and shapes: see tensor.ts and dispatch.ts.
import type { Artifact, Target } from '../../compiler/artifact.ts';
import type { Limits } from '../../compiler/limits.ts';
import type { HostArray } from '../compiler-api.ts';

/** A block of device memory. Opaque to everyone but its device. */
export interface DeviceBuffer {
  readonly bytes: number;
}

export type DeviceKind = 'wasm' | 'webgpu' | 'cuda' | 'gpujs' | 'reference';

/** What kernels for a device are compiled as. */
export interface CompileTarget {
  readonly name: Target;
  /** Limits by a name that the backend knows. */
  readonly preset?: string;
  /** Where the device offers other than the target's defaults. */
  readonly limits?: Partial<Limits>;
  /** Make the variant for several threads too. */
  readonly threads?: boolean;
  /** Kernels may ask for weights in layouts of their own. */
  readonly resident?: boolean;
  /** Results can be made where params lie that the caller gives up: see Manifest.reuses. */
  readonly reuses?: boolean;
}

/** A kernel on a device, ready to run. */
export interface Executable {
  /**
   * Runs the kernel on the buffers of the parameters (in the order of the manifest) and the values of its
   * dims; gives new buffers of the results, which the caller owns. Temporaries are freed before it returns.
   */
  run(
    params: readonly DeviceBuffer[],
    dims: readonly number[],
  ): readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]>;
  /** The same, where `run` may only record the call: it is made before this returns or resolves. */
  runNow?(
    params: readonly DeviceBuffer[],
    dims: readonly number[],
  ): readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]>;
  /** `run` keeps neither the params nor the dims that it is handed, but only what they hold. */
  readonly keepsNothing?: boolean;
  /** What the kernel has to be compiled for, beside the device's target, before it can run at these sizes. */
  lacks?(dims: readonly number[]): Partial<Limits> | undefined;
}

/** A device that `auto` did not take. */
export interface Declined {
  readonly kind: DeviceKind;
  readonly why: string;
}

/** How the reference device runs a kernel: logical values in, logical values out. */
export type Interpret = (inputs: readonly HostArray[]) => Promise<readonly HostArray[]>;

export interface Device {
  readonly kind: DeviceKind;
  /** The hardware or engine, for people. */
  readonly name: string;
  /** Why this device and not another. */
  readonly reason: string;
  /** Absent where kernels are interpreted. */
  readonly target?: CompileTarget;
  /** Devices that were tried before this one was taken, and why each was not. */
  readonly declined?: readonly Declined[];
  /** Threads of the host that kernels run on; absent where that means nothing. */
  readonly threads?: number;
  /** It stands for a GPU, but computes on the processor: `auto` passes over it. */
  readonly software?: boolean;
  /** Bytes in live buffers. */
  readonly used: number;
  /** Why the device is gone for good, if it is: then `device()` opens another. */
  readonly lost?: string | undefined;

  allocate(bytes: number): DeviceBuffer;
  /** Frees a buffer; a second time does nothing. */
  free(buffer: DeviceBuffer): void;
  write(buffer: DeviceBuffer, offset: number, bytes: Uint8Array): void;
  /** A copy of bytes. */
  read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array>;
  /**
   * The device's own memory under a buffer, where the host can address it. Valid until the next call of the
   * device: memory may move when it grows.
   */
  view?(buffer: DeviceBuffer, offset: number, bytes: number): Uint8Array;
  /** Where calls may be recorded: runs those that write a buffer. A promise if `view` has to wait for it. */
  ready?(buffer: DeviceBuffer): Promise<void> | undefined;
  /** Whether a buffer must not be written through `view`, but by `write`: calls that have not run yet use it. */
  isBusy?(buffer: DeviceBuffer): boolean;
  /** Copies within the device; the ranges may overlap. */
  copy(
    from: DeviceBuffer,
    fromOffset: number,
    to: DeviceBuffer,
    toOffset: number,
    bytes: number,
  ): void;
  /** Makes an artifact runnable; the same artifact gives the same executable. */
  load(artifact: Artifact, interpret: Interpret): Promise<Executable>;
}

/** Fills part of a buffer in place where the device allows it, else through a copy. */
export function fill(
  device: Device,
  buffer: DeviceBuffer,
  offset: number,
  bytes: number,
  into: (out: Uint8Array) => void,
): void {
  if (device.view && !device.isBusy?.(buffer)) into(device.view(buffer, offset, bytes));
  else {
    const out = new Uint8Array(bytes);
    into(out);
    device.write(buffer, offset, out);
  }
}
