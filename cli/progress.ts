// A progress bar on standard error, only when a person looks at it.
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  update(done: number, what: string): void;
  stop(): void;
}

export function progress(total: number, label: string): Progress {
  if (!process.stderr.isTTY) return { update() {}, stop() {} };
  const bar = new SingleBar(
    {
      format: `${label} {bar} {percentage}% {what}`,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
    },
    Presets.shades_classic,
  );
  bar.start(total, 0, { what: '' });
  return { update: (done, what) => bar.update(done, { what }), stop: () => bar.stop() };
}
