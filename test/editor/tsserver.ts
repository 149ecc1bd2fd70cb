// A TypeScript language server on a project folder, as editors run one: requests as lines, answers and events back.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export interface ServerDiagnostic {
  readonly start: { readonly line: number; readonly offset: number };
  readonly end: { readonly line: number; readonly offset: number };
  readonly text: string;
  readonly code: number;
  readonly source?: string;
  readonly relatedInformation?: readonly { readonly message: string }[];
}

interface Message {
  readonly type: 'response' | 'event';
  readonly event?: string;
  readonly request_seq?: number;
  readonly body?: unknown;
}

const server = join(dirname(createRequire(import.meta.url).resolve('typescript')), 'tsserver.js');

export class Server {
  readonly #child;
  #seq = 0;
  #text = '';
  readonly #seen: Message[] = [];
  readonly #waiting = new Set<() => void>();

  /** `plugins` is where the package is installed that plugins come from. */
  constructor(folder: string, plugins: string) {
    this.#child = spawn(
      process.execPath,
      [server, '--disableAutomaticTypingAcquisition', '--pluginProbeLocations', plugins],
      { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.#child.stdout.setEncoding('utf8').on('data', (part: string) => {
      this.#text += part;
      const lines = this.#text.split('\n');
      this.#text = lines.pop()!;
      for (const line of lines)
        if (line.startsWith('{')) this.#seen.push(JSON.parse(line) as Message);
      for (const wake of [...this.#waiting]) wake();
    });
  }

  tell(command: string, args: object): number {
    const seq = ++this.#seq;
    const request = { seq, type: 'request', command, arguments: args };
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return seq;
  }

  async #until(found: (m: Message) => boolean): Promise<Message> {
    for (;;) {
      const m = this.#seen.find(found);
      if (m) return m;
      await new Promise<void>((done) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          done();
        };
        this.#waiting.add(wake);
      });
    }
  }

  /** What Quern says of a file as it stands in the editor. */
  async problems(file: string): Promise<readonly ServerDiagnostic[]> {
    const seq = this.tell('semanticDiagnosticsSync', { file });
    const { body } = await this.#until((m) => m.request_seq === seq);
    return (body as ServerDiagnostic[]).filter((d) => d.source === 'quern');
  }

  /** The same once there are any: the server does not wait for the compiler. */
  async problemsOnceChecked(file: string): Promise<readonly ServerDiagnostic[]> {
    for (const end = Date.now() + 60_000; ; ) {
      const found = await this.problems(file);
      if (found.length) return found;
      if (Date.now() > end) throw new Error('the plugin reports nothing');
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  end(): void {
    this.#child.kill();
  }
}
