// Brings named values down to where they are first wanted, and drops those that nobody wants, so that few of them are
// live at once: schedules name a value as soon as it can be named, and a backend computes it there. Loads move as
// well, as far as nothing is written in between to the memory that they read.
import { expressionsOf, nested } from './walk.ts';
import { type Expr, operands, type Stmt } from './loops.ts';

/** What a statement does, with all that it contains: variables that it reads and sets, buffers that it writes. */
interface Touches {
  readonly reads: Set<number>;
  readonly sets: Set<number>;
  readonly writes: Set<number>;
  readonly meets: boolean;
}

/** Statements in the same order, values named with `let` as late as that list of statements allows. */
export function lateLets(list: readonly Stmt[]): Stmt[] {
  return late(list, new Set());
}

/** Statements where they are, without values named with `let` that nobody wants. */
export function wantedLets(list: readonly Stmt[]): Stmt[] {
  return late(list, new Set(), false);
}

/** `wanted`: variables that statements after the list read; those that the list reads are added. */
function late(list: readonly Stmt[], wanted: Set<number>, moves = true): Stmt[] {
  const out: { readonly s: Stmt; readonly touches: Touches }[] = [];
  for (const original of [...list].reverse()) {
    const s = inner(original, wanted, moves);
    if (s.kind === 'let' && !wanted.has(s.var.id)) continue;
    const touches = touchesOf(s);
    for (const id of touches.reads) wanted.add(id);
    const at = moves && s.kind === 'let' ? firstWanted(s, out) : 0;
    out.splice(at, 0, { s, touches });
  }
  return out.map(({ s }) => s);
}

function inner(s: Stmt, wanted: Set<number>, moves: boolean): Stmt {
  switch (s.kind) {
    case 'for':
      return { ...s, body: late(s.body, wanted, moves) };
    case 'while': {
      // What is named in the header may be read in the body.
      const body = late(s.body, wanted, moves);
      for (const v of readsOf(s.cond)) wanted.add(v);
      return { ...s, header: late(s.header, wanted, moves), body };
    }
    case 'if': {
      const other = late(s.else, wanted, moves);
      return { ...s, then: late(s.then, wanted, moves), else: other };
    }
    default:
      return s;
  }
}

/** The place in front of the first statement that needs the value, or changes what it is made of. */
function firstWanted(
  s: Extract<Stmt, { kind: 'let' }>,
  after: readonly { readonly touches: Touches }[],
): number {
  const own = readsOf(s.value);
  const memory = buffersOf(s.value);
  const at = after.findIndex(
    ({ touches }) =>
      touches.reads.has(s.var.id) ||
      (memory.size > 0 && touches.meets) ||
      [...touches.sets].some((id) => own.has(id)) ||
      [...touches.writes].some((id) => memory.has(id)),
  );
  return at < 0 ? after.length : at;
}

/** What no access to shared memory may be moved over. */
const meeting: ReadonlySet<Stmt['kind']> = new Set(['barrier', 'combine', 'product', 'arrive']);

function touchesOf(s: Stmt): Touches {
  const reads = new Set<number>();
  const sets = new Set<number>();
  const writes = new Set<number>();
  let meets = false;
  const visit = (x: Stmt): void => {
    for (const e of expressionsOf(x)) readsOf(e, reads);
    if (x.kind === 'set' || x.kind === 'product') sets.add(x.var.id);
    if (x.kind === 'store') writes.add(x.buffer.id);
    if (x.kind === 'copy') writes.add(x.to.id);
    if (meeting.has(x.kind)) meets = true;
    for (const list of nested(x)) list.forEach(visit);
  };
  visit(s);
  return { reads, sets, writes, meets };
}

/** Variables that an expression reads, added to `into`; each part of it is looked at once. */
function readsOf(e: Expr, into = new Set<number>()): Set<number> {
  walk(e, (x) => {
    if (x.kind === 'var') into.add(x.var.id);
  });
  return into;
}

function buffersOf(e: Expr): Set<number> {
  const out = new Set<number>();
  walk(e, (x) => {
    if ('buffer' in x) out.add(x.buffer.id);
  });
  return out;
}

function walk(e: Expr, look: (e: Expr) => void, seen = new Set<Expr>()): void {
  if (seen.has(e)) return;
  seen.add(e);
  look(e);
  for (const o of operands(e)) walk(o, look, seen);
}
