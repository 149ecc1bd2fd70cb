// Artifacts that a device has made runnable: the same artifact gives the same executable, and one that failed to load is
// tried again, since what was missing may be there by then.
import type { Artifact } from '../../compiler/artifact.ts';
import type { Executable } from './device.ts';

export class Executables {
  readonly #made = new WeakMap<Artifact, Promise<Executable>>();
  readonly #make: (artifact: Artifact) => Promise<Executable>;

  constructor(make: (artifact: Artifact) => Promise<Executable>) {
    this.#make = make;
  }

  of(artifact: Artifact): Promise<Executable> {
    let made = this.#made.get(artifact);
    if (!made) {
      made = this.#make(artifact);
      this.#made.set(artifact, made);
      made.catch(() => this.#made.delete(artifact));
    }
    return made;
  }
}
