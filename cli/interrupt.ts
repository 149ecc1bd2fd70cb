// Ctrl-C as an AbortSignal: the work stops at the next chunk and removes what is unfinished. A second Ctrl-C
// ends the process at once.
import { Interrupted, exit } from './exit.ts';

export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(exit.interrupted);
    controller.abort(new Interrupted('Interrupted; nothing was written.'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}
