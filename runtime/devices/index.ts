// Which devices there are, and which one a caller gets. Never a silent substitute: a device asked for by name
// is that device or an error, and `reason` says why `auto` chose what it did.
import { raise } from '../errors.ts';
import { wasmApi } from '../platform.ts';
import type { Device } from './device.ts';
import { ReferenceDevice } from './reference.ts';
import { WasmDevice } from './wasm.ts';

export type DeviceName = 'auto' | 'wasm' | 'reference' | 'webgpu' | 'cuda';

const known = "'auto', 'wasm' or 'reference'";

export interface DeviceOptions {
  /** Most threads of the wasm device. A number of its own makes a device of its own, with its own tensors. */
  readonly threads?: number;
}

const shared = new Map<string, Device>();

/** One device of a kind a process, so that tensors of different files meet; the first reason stands. */
function share(key: string, make: () => Device): Device {
  let made = shared.get(key);
  if (!made) {
    made = make();
    shared.set(key, made);
  }
  return made;
}

/** The process's device of a kind. `new WasmDevice()` has memory of its own. */
export async function device(
  kind: DeviceName = 'auto',
  options: DeviceOptions = {},
): Promise<Device> {
  const { threads } = options;
  switch (kind) {
    case 'wasm':
      if (threads === undefined) return share('wasm', () => new WasmDevice());
      return share(`wasm ${threads}`, () => new WasmDevice({ threads }));
    case 'reference':
      return share('reference', () => new ReferenceDevice());
    case 'auto': {
      if (!wasmApi()) {
        const reason = 'auto: this host has no WebAssembly';
        return share('reference', () => new ReferenceDevice({ reason }));
      }
      const reason = 'auto: the fastest device that is built';
      if (threads === undefined) return share('wasm', () => new WasmDevice({ reason }));
      return share(`wasm ${threads}`, () => new WasmDevice({ reason, threads }));
    }
    case 'webgpu':
    case 'cuda':
      return raise('Q5103', { kind, known });
    default:
      return raise('Q5106', { kind: String(kind), detail: `there are ${known}` });
  }
}
