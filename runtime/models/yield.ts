// Kernels on the CPU run without ever waiting, so a long series of calls would keep timers, input and Ctrl-C from
// being heard. Called between windows or tokens, this lets them be.
export const yieldToHost = (): Promise<void> => new Promise((resume) => setTimeout(resume, 0));
