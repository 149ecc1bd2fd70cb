// A chain of calls: what is called inside of `chain(fn)` on a device that can record is written down, and runs in one go,
// without JavaScript between the kernels. Devices register here when they have recorded something, so that the end of a
// chain runs it. GPUs queue their calls anyway, and need nothing of this.

/** A device with recorded calls. */
export interface Recorder {
  /** Runs what was recorded; a promise where that is done by other threads. */
  finish(): void | Promise<void>;
}

let open = 0;
const waiting = new Set<Recorder>();

/** Whether calls are to be recorded now. */
export const isRecording = (): boolean => open > 0;

/** Says that a device has recorded calls. */
export function hasRecorded(device: Recorder): void {
  waiting.add(device);
}

async function finishAll(): Promise<void> {
  const all = [...waiting];
  waiting.clear();
  for (const device of all) await device.finish();
}

/**
 * Runs `body` and records the calls of kernels on WebAssembly devices that are made in the meantime. They run together, in
 * order, when the body ends, or earlier: when somebody reads a result with `data()` or `raw()`, when the length of a result
 * depends on data, or when very much was recorded. Workers are woken once for the whole chain, and results are the same, bit
 * for bit, as without it. On other devices, whose calls are queued anyway, it just calls `body`.
 *
 * A kernel that stops (Q5015) is reported by whatever made the chain run: the read or the chain itself. What it and the calls
 * behind it should have computed then says so when it is used (Q5018). Calls that other code makes while a chain is open
 * are recorded with it, which changes no result.
 */
export async function chain<T>(body: () => Promise<T> | T): Promise<T> {
  open += 1;
  let result: T;
  try {
    result = await body();
  } catch (e) {
    open -= 1;
    // The first error is the one to tell; tensors of calls that fail now say so themselves.
    await finishAll().catch(() => undefined);
    throw e;
  }
  open -= 1;
  await finishAll();
  return result;
}
