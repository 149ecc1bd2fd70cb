// Exit codes, and how an error becomes one clean message. Stack traces only with QUERN_DEBUG set.
import pc from 'picocolors';
import type { Explanation } from '../runtime/errors.ts';

/** 0 done; 1 the work failed; 2 the command line is wrong; 130 interrupted. */
export const exit = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** A wrong command line that commander cannot see. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The run was stopped by Ctrl-C after everything unfinished was removed. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

interface Coded {
  readonly code?: unknown;
  readonly explanation?: Explanation;
  readonly diagnostics?: unknown;
}

const systemHints: { readonly [code: string]: string } = {
  ENOENT: 'Check the path.',
  EACCES: 'Check the permissions of the file and its folder.',
  EPERM: 'Check the permissions of the file and its folder.',
  EISDIR: 'A file is needed here, not a folder.',
  ENOTDIR: 'A part of the path is a file, not a folder.',
  ENOSPC: 'Free some space, or write elsewhere.',
  EROFS: 'Write elsewhere: the file system is read-only.',
};

/** Prints the error and gives the exit code. */
export async function report(error: unknown): Promise<number> {
  if (process.env.QUERN_DEBUG) console.error(error);
  if (error instanceof Interrupted) {
    console.error(error.message);
    return exit.interrupted;
  }
  const e = (error instanceof Error ? error : new Error(String(error))) as Error & Coded;
  if (Array.isArray(e.diagnostics)) {
    // A CompileError. Its source excerpts are drawn by the compiler, which is loaded by now anyway.
    const { renderAll } = await import('./diagnostics.ts');
    console.error(renderAll(e.diagnostics));
    return exit.failed;
  }
  const code = typeof e.code === 'string' ? e.code : undefined;
  const { message, found, expected, hint } = e.explanation ?? {
    message: e.message,
    hint: code ? systemHints[code] : undefined,
  };
  console.error(`${pc.red(code ? `error ${code}` : 'error')}: ${message}`);
  if (found !== undefined) console.error(`     found: ${found}`);
  if (expected !== undefined) console.error(`  expected: ${expected}`);
  if (hint !== undefined) console.error(`      ${pc.cyan('hint')}: ${hint}`);
  if (!code && !(e instanceof UsageError))
    console.error(`      ${pc.cyan('hint')}: Set QUERN_DEBUG=1 for the stack trace.`);
  return e instanceof UsageError ? exit.usage : exit.failed;
}
