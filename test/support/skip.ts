// A skip is a fact about the machine, so it is printed: the test driver counts these lines.
export function skip(name: string, reason: string): void {
  console.log(`SKIP ${name}: ${reason}`);
}
