// Code of a function before binaryen has it: what is called on a `Module` is recorded as a tree, which can be looked at and
// changed (pressure.ts, constants.ts), and built when it is final. As with binaryen's own nodes, each is used once and they
// are made in the order in which they run.
import type { Module, Ref } from './binaryen.ts';

/** A call on a module, as `f32x4.add` of two nodes. Arguments are nodes, lists of them, or plain values. */
export class Node {
  readonly op: string;
  readonly args: readonly unknown[];
  /** What stands in its place. */
  instead: Node | undefined;
  /** Builds what the module has no call for. */
  readonly make: ((...args: Ref[]) => Ref) | undefined;

  constructor(op: string, args: readonly unknown[], make?: (...args: Ref[]) => Ref) {
    this.op = op;
    this.args = args;
    this.make = make;
  }
}

/** What stands where a node was. */
export function current(n: Node): Node {
  let now = n;
  while (now.instead) now = now.instead;
  return now;
}

/** Nodes pass as binaryen's references where code is emitted, and back. */
export const asRef = (n: Node): Ref => n as unknown as Ref;
export const asNode = (r: Ref): Node => r as unknown as Node;

/** A module whose calls make nodes. */
export function recorder(): Module {
  const under = (path: string): object => {
    const known = new Map<string, object>();
    const call = (...args: unknown[]): Node => new Node(path, args);
    return new Proxy(call, {
      get(_, key) {
        const name = key as string;
        let next = known.get(name);
        if (!next) {
          next = under(path === '' ? name : `${path}.${name}`);
          known.set(name, next);
        }
        return next;
      },
    });
  };
  return under('') as unknown as Module;
}

/** An instruction that binaryen's wrappers lack. */
export const raw = (op: string, args: readonly Ref[], make: (...args: Ref[]) => Ref): Ref =>
  asRef(new Node(op, args, make));

type Call = (...args: unknown[]) => Ref;

/** What was recorded, in a module; `localOf` gives the numbers that locals have there. */
export function build(m: Module, root: Node, localOf: (recorded: number) => number): Ref {
  const calls = new Map<string, Call>();
  const callOf = (op: string): Call => {
    let call = calls.get(op);
    if (!call) {
      const path = op.split('.');
      const holder = path.slice(0, -1).reduce<object>((o, k) => o[k as keyof typeof o], m);
      call = (holder[path.at(-1) as keyof typeof holder] as Call).bind(holder);
      calls.set(op, call);
    }
    return call;
  };
  const argument = (x: unknown): unknown => {
    if (x instanceof Node) return one(x);
    return Array.isArray(x) ? x.map(argument) : x;
  };
  const one = (node: Node): Ref => {
    const n = current(node);
    const args = n.args.map(argument);
    if (n.op.startsWith('local.')) args[0] = localOf(args[0] as number);
    return n.make ? n.make(...(args as Ref[])) : callOf(n.op)(...args);
  };
  return one(root);
}
