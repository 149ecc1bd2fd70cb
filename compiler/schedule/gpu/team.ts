// Who runs the code that is being emitted for a GPU. A team is the threads of a group or the lanes of a warp; all of
// its members run the same statements on the same values, except inside of a loop that they share. Whatever is
// emitted outside of such a loop is therefore uniform, and members may meet there.
import type { Dim } from '../../ir/algebra.ts';
import type { Expr, ReduceOp, Spread, Team } from '../../loops/loops.ts';
import * as L from '../../loops/loops.ts';
import type { Lowering } from '../lowering.ts';

/** Loops shorter than this are run by every member for itself. */
const worthSharing = 64;

export class TeamState {
  readonly level: Team;
  /** Depth of the body of the shared loop that is open, if one is. */
  #inside: number | undefined = undefined;
  /** Depth of the body of the loop on groups or warps. */
  floor = 0;

  constructor(level: Team) {
    this.level = level;
  }

  /** Whether all members run what is placed at this depth. */
  shares(depth: number): boolean {
    return this.#inside === undefined || depth < this.#inside;
  }

  /** The team, when a loop of this extent at this depth is better shared. */
  sharesLoop(depth: number, extent: Dim): Team | undefined {
    return this.shares(depth) && (extent.constant ?? worthSharing) >= worthSharing
      ? this.level
      : undefined;
  }

  /** Emits the body of a loop: a shared one, or one that goes around the team. */
  within(on: Spread, depth: number, body: () => void): void {
    const before = this.#inside;
    if (on === this.level) this.#inside = depth;
    else this.floor = depth;
    try {
      body();
    } finally {
      this.#inside = before;
    }
  }
}

/** The members' values combined; each of them gets the result. */
export function together(
  lo: Lowering,
  op: ReduceOp,
  value: Expr,
  team: Spread,
  name: string,
): Expr {
  const { em } = lo;
  const v = em.newVar(name, value.type);
  em.push({ kind: 'combine', var: v, op, team: team as Team, value });
  return L.variable(v);
}

/** The members wait for each other; twice in a row is once. */
export function meet(lo: Lowering): void {
  const list = lo.em.scopes.at(-1)!.stmts;
  if (list.at(-1)?.kind !== 'barrier') list.push({ kind: 'barrier', team: lo.team!.level });
}
