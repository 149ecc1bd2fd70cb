// The grammar of loop IR text: tokens, and rules that give a raw tree (raw.ts).
import { createToken, EmbeddedActionsParser, type IToken, Lexer } from 'chevrotain';
import type { RawBuffer, RawExpr, RawPlace, RawProgram, RawStmt } from './raw.ts';
import { keywords } from './words.ts';

// ---- tokens ----

/** A dot inside of a name needs a letter or digit after it, so that `i..n` is a range. */
const Name = createToken({ name: 'Name', pattern: /[A-Za-z_$][\w$]*(?:\.[\w$]+)*/ });
const word = (text: string) =>
  createToken({ name: `Word ${text}`, pattern: new RegExp(text), longer_alt: Name });
const sign = (name: string, pattern: string) => createToken({ name, pattern });
const Space = createToken({ name: 'Space', pattern: /\s+/, group: Lexer.SKIPPED });
const Comment = createToken({ name: 'Comment', pattern: /\/\/[^\n]*/ });
const Text = createToken({ name: 'Text', pattern: /"(?:[^"\\]|\\.)*"/ });
const Num = createToken({ name: 'Num', pattern: /\d+(?:\.\d+)?(?:e[+-]?\d+)?u?/ });
const [
  ProgramW,
  BufferW,
  KernelW,
  By,
  Let,
  Local,
  For,
  In,
  As,
  Step,
  Parallel,
  On,
  Barrier,
  Combine,
  Product,
  Pack,
  Copy,
  Arrive,
  While,
  Test,
  If,
  Else,
  Div,
] = keywords.map(word) as [ReturnType<typeof word>, ...ReturnType<typeof word>[]];
const Range = sign('Range', '..');
const [Open, Close, Left, Right, Begin, End] = [
  sign('Open', '('),
  sign('Close', ')'),
  sign('Left', '['),
  sign('Right', ']'),
  sign('Begin', '{'),
  sign('End', '}'),
] as const;
const Comma = sign('Comma', ',');
const Colon = sign('Colon', ':');
const At = sign('At', '@');
const Operator = createToken({ name: 'Operator', pattern: /<<|>>|<=|>=|==|!=|[|^&<>+*/%]/ });
const Minus = sign('Minus', '-');
const Assign = sign('Assign', '=');
const Not = createToken({ name: 'Not', pattern: /[!~]/ });
const words = [
  ProgramW,
  BufferW!,
  KernelW!,
  By!,
  Let!,
  Local!,
  For!,
  In!,
  As!,
  Step!,
  Parallel!,
  On!,
  Barrier!,
  Combine!,
  Product!,
  Pack!,
  Copy!,
  Arrive!,
  While!,
  Test!,
  If!,
  Else!,
  Div!,
];
const tokens = [
  Space,
  Comment,
  Text,
  Num,
  ...words,
  Name,
  Range,
  Open,
  Close,
  Left,
  Right,
  Begin,
  End,
  Comma,
  Colon,
  At,
  Operator,
  Minus,
  Not,
  Assign,
];
const lexer = new Lexer(tokens, { positionTracking: 'full' });

// ---- rules ----

class LoopGrammar extends EmbeddedActionsParser {
  constructor() {
    super(tokens);
    this.performSelfAnalysis();
  }

  #text = (t: IToken): string =>
    t.image.startsWith('"') ? (JSON.parse(t.image) as string) : t.image;

  program = this.RULE('program', (): RawProgram => {
    const dims: string[] = [];
    const buffers: RawBuffer[] = [];
    const kernels: RawProgram['kernels'][number][] = [];
    this.CONSUME(ProgramW);
    const name = this.#text(this.CONSUME(Text));
    this.CONSUME(Open);
    this.MANY_SEP({ SEP: Comma, DEF: () => dims.push(this.CONSUME(Name).image) });
    this.CONSUME(Close);
    this.CONSUME(Begin);
    this.MANY(() => buffers.push(this.SUBRULE(this.buffer)));
    this.MANY1(() => {
      this.CONSUME(KernelW!);
      const kernel = this.#text(this.CONSUME1(Text));
      this.CONSUME(By!);
      const schedule = this.#text(this.CONSUME2(Text));
      kernels.push({ name: kernel, schedule, body: this.SUBRULE(this.block) });
    });
    this.CONSUME(End);
    return { name, dims, buffers, kernels };
  });

  buffer = this.RULE('buffer', (): RawBuffer => {
    this.CONSUME(BufferW!);
    const name = this.CONSUME(Name).image;
    this.CONSUME(Colon);
    const dtype = this.CONSUME1(Name).image;
    this.CONSUME(Left);
    const size = this.SUBRULE(this.expr);
    this.CONSUME(Right);
    const role = this.CONSUME2(Name).image;
    const mark = this.OPTION1(() => this.CONSUME3(Name).image);
    const data = this.OPTION(() => {
      const list: string[] = [];
      this.CONSUME(Assign);
      this.CONSUME(Begin);
      this.MANY_SEP({ SEP: Comma, DEF: () => list.push(this.SUBRULE(this.datum)) });
      this.CONSUME(End);
      return list;
    });
    return { name, dtype, size, role, ...(mark ? { mark } : {}), ...(data ? { data } : {}) };
  });

  datum = this.RULE('datum', (): string => {
    const minus = this.OPTION(() => this.CONSUME(Minus)) ? '-' : '';
    return this.OR([
      { ALT: () => minus + this.CONSUME(Num).image },
      { ALT: () => minus + this.CONSUME(Name).image },
    ]);
  });

  block = this.RULE('block', (): RawStmt[] => {
    const list: RawStmt[] = [];
    this.CONSUME(Begin);
    this.MANY(() => list.push(this.SUBRULE(this.statement)));
    this.CONSUME(End);
    return list;
  });

  statement = this.RULE('statement', (): RawStmt => {
    const line = this.LA(1).startLine ?? 0;
    return this.OR<RawStmt>([
      { ALT: () => ({ kind: 'comment', line, text: this.CONSUME(Comment).image.slice(2).trim() }) },
      { ALT: () => this.SUBRULE(this.binding) },
      { ALT: () => this.SUBRULE(this.forLoop) },
      { ALT: () => this.SUBRULE(this.whileLoop) },
      { ALT: () => this.SUBRULE(this.choice) },
      { ALT: () => this.SUBRULE(this.barrier) },
      { ALT: () => this.SUBRULE(this.combine) },
      { ALT: () => this.SUBRULE(this.product) },
      { ALT: () => this.SUBRULE(this.pack) },
      { ALT: () => this.SUBRULE(this.copy) },
      { ALT: () => this.SUBRULE(this.arrive) },
      { ALT: () => this.SUBRULE(this.assignment) },
    ]);
  });

  binding = this.RULE('binding', (): RawStmt => {
    const line = this.LA(1).startLine ?? 0;
    const word = this.OR([{ ALT: () => this.CONSUME(Let!) }, { ALT: () => this.CONSUME(Local!) }]);
    const kind = word.image === 'let' ? 'let' : 'local';
    const name = this.CONSUME(Name).image;
    this.CONSUME(Colon);
    const type = this.CONSUME1(Name).image;
    this.CONSUME(Assign);
    return { kind, line, name, type, value: this.SUBRULE(this.expr) };
  });

  assignment = this.RULE('assignment', (): RawStmt => {
    const start = this.CONSUME(Name);
    const line = start.startLine ?? 0;
    const place = this.OPTION(() => this.SUBRULE(this.subscript, { ARGS: [start.image] }));
    this.CONSUME(Assign);
    const value = this.SUBRULE(this.expr);
    return place
      ? { kind: 'store', line, place, value }
      : { kind: 'set', line, name: start.image, value };
  });

  subscript = this.RULE('subscript', (name: string): RawPlace => {
    const as = this.OPTION2(() => {
      this.CONSUME(As!);
      return this.CONSUME(Name).image;
    });
    this.CONSUME(Left);
    const index = this.SUBRULE(this.expr);
    const lanes = this.OPTION(() => {
      this.CONSUME(Colon);
      return this.CONSUME(Num).image;
    });
    const align = this.OPTION1(() => {
      this.CONSUME(At);
      return this.CONSUME1(Num).image;
    });
    this.CONSUME(Right);
    const counts = { lanes: Number(lanes ?? 1), align: Number(align ?? 1) };
    return { name, index, ...counts, ...(as ? { as } : {}) };
  });

  forLoop = this.RULE('forLoop', (): RawStmt => {
    const line = this.CONSUME(For!).startLine ?? 0;
    const name = this.CONSUME(Name).image;
    this.CONSUME(In!);
    const start = this.SUBRULE(this.expr);
    this.CONSUME(Range);
    const end = this.SUBRULE1(this.expr);
    this.CONSUME(Step!);
    const step = Number(this.CONSUME(Num).image);
    const parallel = this.OPTION(() => this.CONSUME(Parallel!)) !== undefined;
    const on = this.OPTION1(() => {
      this.CONSUME(On!);
      return this.CONSUME1(Name).image;
    });
    const body = this.SUBRULE(this.block);
    return { kind: 'for', line, name, start, end, step, parallel, ...(on ? { on } : {}), body };
  });

  barrier = this.RULE('barrier', (): RawStmt => {
    const line = this.CONSUME(Barrier!).startLine ?? 0;
    return { kind: 'barrier', line, team: this.CONSUME(Name).image };
  });

  combine = this.RULE('combine', (): RawStmt => {
    const line = this.CONSUME(Combine!).startLine ?? 0;
    const name = this.CONSUME(Name).image;
    this.CONSUME(Colon);
    const type = this.CONSUME1(Name).image;
    this.CONSUME(By!);
    const op = this.CONSUME2(Name).image;
    this.CONSUME(On!);
    const team = this.CONSUME3(Name).image;
    this.CONSUME(Assign);
    return { kind: 'combine', line, name, type, op, team, value: this.SUBRULE(this.expr) };
  });

  pack = this.RULE('pack', (): RawStmt => {
    const line = this.CONSUME(Pack!).startLine ?? 0;
    const name = this.CONSUME(Name).image;
    this.CONSUME(Colon);
    const type = this.CONSUME1(Name).image;
    this.CONSUME(By!);
    const how = this.CONSUME2(Name).image;
    this.CONSUME(Assign);
    return { kind: 'pack', line, name, type, how, value: this.SUBRULE(this.expr) };
  });

  product = this.RULE('product', (): RawStmt => {
    const line = this.CONSUME(Product!).startLine ?? 0;
    const name = this.CONSUME(Name).image;
    this.CONSUME(By!);
    const dtype = this.CONSUME1(Name).image;
    this.CONSUME(Assign);
    const first = this.SUBRULE(this.expr);
    this.CONSUME(Comma);
    const second = this.SUBRULE1(this.expr);
    this.CONSUME(On!);
    const b = this.SUBRULE2(this.expr);
    return { kind: 'product', line, name, dtype, a: [first, second], b };
  });

  copy = this.RULE('copy', (): RawStmt => {
    const line = this.CONSUME(Copy!).startLine ?? 0;
    const to = this.SUBRULE(this.subscript, { ARGS: [this.CONSUME(Name).image] });
    this.CONSUME(Assign);
    const from = this.SUBRULE1(this.subscript, { ARGS: [this.CONSUME1(Name).image] });
    const valid = this.OPTION(() => {
      this.CONSUME(For!);
      return this.SUBRULE(this.expr);
    });
    return { kind: 'copy', line, to, from, ...(valid ? { valid } : {}) };
  });

  arrive = this.RULE('arrive', (): RawStmt => {
    const line = this.CONSUME(Arrive!).startLine ?? 0;
    return { kind: 'arrive', line, pending: Number(this.CONSUME(Num).image) };
  });

  whileLoop = this.RULE('whileLoop', (): RawStmt => {
    const line = this.CONSUME(While!).startLine ?? 0;
    const header = this.SUBRULE(this.block);
    this.CONSUME(Test!);
    const cond = this.SUBRULE(this.expr);
    return { kind: 'while', line, header, cond, body: this.SUBRULE1(this.block) };
  });

  choice = this.RULE('choice', (): RawStmt => {
    const line = this.CONSUME(If!).startLine ?? 0;
    const cond = this.SUBRULE(this.expr);
    const yes = this.SUBRULE(this.block);
    const no = this.OPTION(() => {
      this.CONSUME(Else!);
      return this.SUBRULE1(this.block);
    });
    return { kind: 'if', line, cond, then: yes, else: no ?? [] };
  });

  /** Operators in a row; the parser sorts out which binds tighter. `div` occurs in sizes. */
  expr = this.RULE('expr', (): RawExpr => {
    const line = this.LA(1).startLine ?? 0;
    const first = this.SUBRULE(this.operand);
    const rest: (readonly [string, RawExpr])[] = [];
    this.MANY(() => {
      const op = this.OR([
        { ALT: () => this.CONSUME(Operator) },
        { ALT: () => this.CONSUME(Minus) },
        { ALT: () => this.CONSUME(Div!) },
      ]);
      rest.push([op.image, this.SUBRULE1(this.operand)]);
    });
    return rest.length ? { kind: 'chain', line, first, rest } : first;
  });

  operand = this.RULE('operand', (): RawExpr => {
    const line = this.LA(1).startLine ?? 0;
    return this.OR<RawExpr>([
      {
        ALT: () => {
          const t = this.OR1([
            { ALT: () => this.CONSUME(Minus) },
            { ALT: () => this.CONSUME(Not) },
          ]);
          return { kind: 'prefix', line, sign: t.image, a: this.SUBRULE(this.operand) };
        },
      },
      { ALT: () => ({ kind: 'number', line, text: this.CONSUME(Num).image }) },
      {
        ALT: () => {
          this.CONSUME(Open);
          const inner = this.SUBRULE(this.expr);
          this.CONSUME(Close);
          // A chain of its own, also around a single operand: `-(3)` is not the literal -3.
          return { kind: 'chain', line, first: inner, rest: [] };
        },
      },
      { ALT: () => this.SUBRULE(this.named) },
    ]);
  });

  named = this.RULE('named', (): RawExpr => {
    const t = this.CONSUME(Name);
    const line = t.startLine ?? 0;
    return this.OR<RawExpr>([
      {
        ALT: () => {
          const args: RawExpr[] = [];
          this.CONSUME(Open);
          this.MANY_SEP({ SEP: Comma, DEF: () => args.push(this.SUBRULE(this.expr)) });
          this.CONSUME(Close);
          return { kind: 'call', line, name: t.image, args };
        },
      },
      {
        ALT: () => {
          const place = this.SUBRULE(this.subscript, { ARGS: [t.image] });
          return { kind: 'place', line, place };
        },
      },
      { ALT: () => ({ kind: 'name', line, name: t.image }) },
    ]);
  });
}

let grammar: LoopGrammar | undefined;

/** Throws SyntaxError with line and column. */
export function parseRaw(text: string): RawProgram {
  const { tokens: list, errors } = lexer.tokenize(text);
  const [bad] = errors;
  if (bad) throw new SyntaxError(`loop IR ${bad.line}:${bad.column}: ${bad.message}`);
  grammar ??= new LoopGrammar();
  grammar.input = list;
  const out = grammar.program();
  const [wrong] = grammar.errors;
  if (wrong) {
    const { startLine, startColumn } = wrong.token;
    throw new SyntaxError(`loop IR ${startLine}:${startColumn}: ${wrong.message}`);
  }
  return out;
}
