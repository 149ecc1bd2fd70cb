// How a builtin exists at run time. Kernel files are parsed and compiled, never executed; but they are real
// modules, so importing one must work, and calling a builtin must say why there is no value to give.

/** A function of the language: it can be imported and named, not called outside of a compiled kernel. */
export function builtin(name: string): () => never {
  return () => {
    throw new Error(
      `${name}() is part of the Quern language and has no value outside of a compiled kernel. ` +
        'Load the kernel file and call its exports: const kernels = await load(file).',
    );
  };
}
