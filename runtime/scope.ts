// Memory belongs to scopes: what is made inside `scope(fn)` is freed when fn ends, except what it returns.
// On Node the scope follows the asynchronous call chain (AsyncLocalStorage), so scopes may run side by side.
// Browsers have no such thing: there the scope opened last owns what is made, so scopes that overlap in time
// must be nested, never concurrent.
import { nodeModule } from './platform.ts';

/** Something that owns device memory. Disposing twice is harmless. */
export interface Disposable {
  dispose(): void;
}

interface Scope {
  readonly outer: Scope | undefined;
  readonly members: Set<Disposable>;
  closed: boolean;
}

interface Tracker {
  current(): Scope | undefined;
  run<T>(scope: Scope, body: () => Promise<T>): Promise<T>;
}

/** Scopes by the order of opening, for hosts without AsyncLocalStorage. */
export function stackTracker(): Tracker {
  const open: Scope[] = [];
  return {
    current: () => open[open.length - 1],
    async run(scope, body) {
      open.push(scope);
      try {
        return await body();
      } finally {
        open.splice(open.lastIndexOf(scope), 1);
      }
    },
  };
}

function asyncTracker(): Tracker | undefined {
  const hooks = nodeModule('node:async_hooks');
  if (!hooks) return undefined;
  const storage = new hooks.AsyncLocalStorage<Scope>();
  return { current: () => storage.getStore(), run: (scope, body) => storage.run(scope, body) };
}

/** Made by the first scope: tracking costs nothing to those who use none. */
let tracker: Tracker | undefined;

/** Puts a new owner of memory under the current scope, if there is one. */
export function track(member: Disposable): void {
  let scope = tracker?.current();
  // Work that outlives its scope belongs to the next one outside that is still open.
  while (scope?.closed) scope = scope.outer;
  scope?.members.add(member);
}

/** Forgets a member that was disposed by hand. */
export function untrack(member: Disposable): void {
  for (let s = tracker?.current(); s; s = s.outer) if (s.members.delete(member)) return;
}

/**
 * Runs `body` and frees every tensor made inside, except those in its result: the value itself, or anywhere
 * in the arrays and plain objects of it. Those belong to the scope around, if there is one.
 */
export function scope<T>(body: () => Promise<T> | T): Promise<T> {
  tracker ??= asyncTracker() ?? stackTracker();
  return scopeWith(tracker, body);
}

/** `scope` under a tracker of one's own; exported for the tests of both trackers. */
export async function scopeWith<T>(by: Tracker, body: () => Promise<T> | T): Promise<T> {
  const previous = tracker;
  tracker = by;
  try {
    const outer = by.current();
    const inner: Scope = { outer, members: new Set(), closed: false };
    try {
      const result = await by.run(inner, async () => body());
      eachDisposable(result, (kept) => {
        if (inner.members.delete(kept)) outer?.members.add(kept);
      });
      return result;
    } finally {
      inner.closed = true;
      // Whoever is disposed leaves the set, which iteration allows.
      for (const m of inner.members) m.dispose();
      inner.members.clear();
    }
  } finally {
    tracker = previous;
  }
}

const isDisposable = (x: object): x is Disposable =>
  'dispose' in x && typeof x.dispose === 'function';

/** Every owner of memory that a value holds. */
function eachDisposable(
  value: unknown,
  visit: (owner: Disposable) => void,
  seen = new Set<object>(),
): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  if (seen.has(value)) return;
  seen.add(value);
  if (isDisposable(value)) visit(value);
  if (value instanceof Map || value instanceof Set)
    for (const v of value.values()) eachDisposable(v, visit, seen);
  else if (Array.isArray(value))
    for (let i = 0; i < value.length; i++) eachDisposable(value[i], visit, seen);
  else for (const v of Object.values(value)) eachDisposable(v, visit, seen);
}
