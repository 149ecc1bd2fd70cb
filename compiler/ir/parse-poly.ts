// Reads dims as Poly prints them: `3*K / 2 + 1`, `(K + 31 div 32)`. The tokens and the grammar of
// dims are shared by the parsers of text forms, which extend PolyGrammar; names stand for dims.
import { createToken, EmbeddedActionsParser, type IToken, Lexer, type TokenType } from 'chevrotain';
import { floorDiv, Poly } from './algebra.ts';

const token = (name: string, pattern: RegExp | string, more: object = {}): TokenType =>
  createToken({ name, pattern, ...more });

/** Words; keywords count as words wherever a name may stand. */
export const Word = token('Word', /[A-Za-z_$\u0080-\uffff][\w$.\u0080-\uffff]*/);
export const keyword = (word: string): TokenType =>
  token(`Keyword_${word}`, word, { label: word, longer_alt: Word, categories: [Word] });
export const Div = keyword('div');
export const NumberToken = token('Number', /\d+(\.\d+)?([eE][+-]?\d+)?/);
export const Plus = token('Plus', '+');
export const Minus = token('Minus', '-');
export const Star = token('Star', '*');
export const Slash = token('Slash', '/');
export const LParen = token('LParen', '(');
export const RParen = token('RParen', ')');
const Space = token('Space', /\s+/, { group: Lexer.SKIPPED });
const Comment = token('Comment', /\/\/[^\n]*/, { group: Lexer.SKIPPED });

/** In order of precedence; grammars put their own tokens between skipped ones and words. */
export const polyTokens = {
  first: [Space, Comment],
  last: [Div, Word, NumberToken, Plus, Minus, Star, Slash, LParen, RParen],
} as const;

/** Text that cannot be read; `line` and `column` count from 1. */
export class TextError extends Error {
  override readonly name = 'TextError';
  readonly line: number;
  readonly column: number;
  constructor(detail: string, line: number, column: number) {
    super(`${line}:${column}: ${detail}`);
    this.line = line;
    this.column = column;
  }
}

export const errorAt = (t: IToken, detail: string): TextError =>
  new TextError(detail, t.startLine || 1, t.startColumn || 1);

/**
 * Subclasses add rules and call performSelfAnalysis at the end of their constructor. While
 * chevrotain records the grammar, tokens are dummies: whatever looks at them stands in ACTION.
 */
export class PolyGrammar extends EmbeddedActionsParser {
  /** term (('+' | '-') term)* */
  readonly poly = this.RULE('poly', (): Poly => {
    let sum = this.SUBRULE(this.term);
    this.MANY(() => {
      const sign = this.OR1([
        { ALT: () => this.CONSUME(Plus) },
        { ALT: () => this.CONSUME(Minus) },
      ]);
      const next = this.SUBRULE1(this.term);
      this.ACTION(() => {
        sum = sign.image === '-' ? sum.sub(next) : sum.add(next);
      });
    });
    return sum;
  });

  /** '-'? factor ('*' factor)* ('/' number)? */
  readonly term = this.RULE('term', (): Poly => {
    const negative = this.OPTION(() => this.CONSUME(Minus)) !== undefined;
    let value = this.SUBRULE(this.factor);
    this.MANY(() => {
      this.CONSUME(Star);
      const next = this.SUBRULE1(this.factor);
      this.ACTION(() => {
        value = value.mul(next);
      });
    });
    const by = this.OPTION1(() => {
      this.CONSUME(Slash);
      return this.CONSUME(NumberToken);
    });
    return this.ACTION(() => {
      if (negative) value = value.neg();
      if (!by) return value;
      const quotient = wholeNumber(by) === 0 ? undefined : value.over(wholeNumber(by));
      if (!quotient) throw errorAt(by, 'a dim is divided by a whole number other than 0');
      return quotient;
    });
  });

  /** number | name | '(' poly ('div' poly)? ')' */
  readonly factor = this.RULE(
    'factor',
    (): Poly =>
      this.OR<Poly>([
        {
          ALT: () => {
            const n = this.CONSUME(NumberToken);
            return this.ACTION(() => Poly.of(wholeNumber(n)));
          },
        },
        {
          ALT: () => {
            const name = this.CONSUME(Word);
            return this.ACTION(() => Poly.dim(name.image));
          },
        },
        {
          ALT: () => {
            this.CONSUME(LParen);
            let value = this.SUBRULE(this.poly);
            this.OPTION(() => {
              const div = this.CONSUME(Div);
              const den = this.SUBRULE1(this.poly);
              this.ACTION(() => {
                if (den.constant !== undefined && den.constant <= 0)
                  throw errorAt(div, `div by ${den}: a divisor is positive`);
                value = floorDiv(value, den);
              });
            });
            this.CONSUME(RParen);
            return value;
          },
        },
      ]),
  );
}

/** A number token as an integer that a dim can hold. */
export function wholeNumber(t: IToken): number {
  const n = Number(t.image);
  if (!Number.isSafeInteger(n)) throw errorAt(t, `${t.image} is no whole number`);
  return n;
}

/** Runs a rule of a grammar over all of `text`; throws a TextError at the first fault. */
export function readAll<P extends PolyGrammar, T>(
  lexer: Lexer,
  parser: P,
  text: string,
  rule: (parser: P) => T,
): T {
  const { tokens, errors } = lexer.tokenize(text);
  const [bad] = errors;
  if (bad)
    throw new TextError(
      `unexpected ${JSON.stringify(text[bad.offset])}`,
      bad.line ?? 1,
      bad.column ?? 1,
    );
  parser.input = tokens;
  const value = rule(parser);
  const [problem] = parser.errors;
  if (problem) {
    const last = tokens.at(-1);
    const t = problem.token;
    // The end of the text has no place of its own: point behind the last token.
    if (Number.isNaN(t.startLine ?? Number.NaN))
      throw new TextError(problem.message, last?.endLine ?? 1, (last?.endColumn ?? 0) + 1);
    throw errorAt(t, problem.message);
  }
  return value;
}

class PolyParser extends PolyGrammar {
  constructor(tokens: TokenType[]) {
    super(tokens);
    this.performSelfAnalysis();
  }
}

const tokens = [...polyTokens.first, ...polyTokens.last];
/** Built on first use: setting up a grammar takes longer than reading a dim. */
let tools: { lexer: Lexer; parser: PolyParser } | undefined;

export function parsePoly(text: string): Poly {
  tools ??= { lexer: new Lexer(tokens), parser: new PolyParser(tokens) };
  return readAll(tools.lexer, tools.parser, text, (p) => p.poly());
}
