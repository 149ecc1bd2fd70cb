// The grammar of tensor IR text: tokens to a syntax tree in which names are still tokens, so that
// parser.ts can say where a fault is. printer.ts shows the form.
import { createToken, type IToken, Lexer, type TokenType } from 'chevrotain';
import type { Poly } from './algebra.ts';
import { type AttrKind, type AttrValue, attrForms } from './attributes.ts';
import { isDType } from './dtype.ts';
import { type OpName, ops } from './ops.ts';
import {
  errorAt,
  keyword,
  LParen,
  Minus,
  NumberToken,
  PolyGrammar,
  polyTokens,
  RParen,
  readAll,
  Word,
  wholeNumber,
} from './parse-poly.ts';

const sign = (name: string, pattern: string | RegExp): TokenType => createToken({ name, pattern });
const ValueName = sign('ValueName', /%[\w$.\u0080-\uffff]+/);
const Text = sign('Text', /"([^"\\\n]|\\.)*"/);
const Colon = sign('Colon', ':');
const Comma = sign('Comma', ',');
const Percent = sign('Percent', '%');
const Equals = sign('Equals', '==');
const Assign = sign('Assign', '=');
const Less = sign('Less', '<');
const Greater = sign('Greater', '>');
const LBracket = sign('LBracket', '[');
const RBracket = sign('RBracket', ']');
const LBrace = sign('LBrace', '{');
const RBrace = sign('RBrace', '}');
const [FuncWord, Require, Param, Encoded, Return, Yield] = [
  'func',
  'require',
  'param',
  'encoded',
  'return',
  'yield',
].map(keyword) as [TokenType, TokenType, TokenType, TokenType, TokenType, TokenType];

// The lexer takes the first match: names of values before a lone %, == before =, keywords before
// words.
const tokens = [
  ...polyTokens.first,
  ValueName,
  Text,
  Colon,
  Comma,
  Percent,
  Equals,
  Assign,
  Less,
  Greater,
  LBracket,
  RBracket,
  LBrace,
  RBrace,
  FuncWord,
  Require,
  Param,
  Encoded,
  Return,
  Yield,
  ...polyTokens.last,
];

/** `%x : f32[M, K]` */
export interface TypedName {
  readonly name: IToken;
  readonly dtype: IToken;
  readonly shape: readonly Poly[];
}
/** One op, in the order of the text. */
export interface OpNode {
  readonly name: IToken;
  readonly results: readonly TypedName[];
  readonly operands: readonly IToken[];
  readonly attrs: ReadonlyMap<string, AttrValue>;
  readonly regions: readonly RegionNode[];
  readonly end: IToken;
}
export interface RegionNode {
  readonly params: readonly TypedName[];
  readonly ops: readonly OpNode[];
  readonly yields: readonly IToken[];
}
/** A parameter (N = TypedName) or a result (N = IToken). */
export interface SignatureNode<N> {
  readonly label: IToken;
  /** Absent for a plain tensor. */
  readonly encoded?: {
    readonly format: IToken;
    readonly shape: readonly Poly[];
    readonly fields: readonly IToken[];
  };
  readonly values: readonly N[];
}
/** The body's ops stand directly in the function; `return` lines are its results. */
export interface FuncNode {
  readonly name: IToken;
  readonly dims: readonly IToken[];
  readonly constraints: readonly { poly: Poly; modulus: number; reason: IToken }[];
  readonly params: readonly SignatureNode<TypedName>[];
  readonly ops: readonly OpNode[];
  readonly results: readonly SignatureNode<IToken>[];
}

/** The name that a word or a quoted text stands for. */
export const labelText = (t: IToken): string =>
  t.image.startsWith('"') ? (JSON.parse(t.image) as string) : t.image;

class IrGrammar extends PolyGrammar {
  constructor() {
    super(tokens);
    this.performSelfAnalysis();
  }

  /** func name<dims>, then require and param lines, then the body in braces. */
  readonly func = this.RULE('func', (): FuncNode => {
    this.CONSUME(FuncWord);
    const name = this.SUBRULE(this.label);
    const dims: IToken[] = [];
    this.OPTION(() => {
      this.CONSUME(Less);
      this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => dims.push(this.CONSUME(Word)) });
      this.CONSUME(Greater);
    });
    const constraints: FuncNode['constraints'][number][] = [];
    this.MANY(() => {
      this.CONSUME(Require);
      const poly = this.SUBRULE(this.poly);
      this.CONSUME(Percent);
      const modulus = this.CONSUME(NumberToken);
      this.CONSUME(Equals);
      const zero = this.CONSUME1(NumberToken);
      const reason = this.CONSUME(Text);
      this.ACTION(() => {
        if (zero.image !== '0') throw errorAt(zero, 'a requirement ends in == 0');
        constraints.push({ poly, modulus: wholeNumber(modulus), reason });
      });
    });
    const params: SignatureNode<TypedName>[] = [];
    this.MANY1(() => {
      this.CONSUME(Param);
      params.push(this.SUBRULE(this.paramSignature));
    });
    this.CONSUME(LBrace);
    const body: OpNode[] = [];
    this.MANY2(() => body.push(this.SUBRULE(this.op)));
    const results: SignatureNode<IToken>[] = [];
    this.MANY3(() => {
      this.CONSUME(Return);
      results.push(this.SUBRULE(this.resultSignature));
    });
    this.CONSUME(RBrace);
    return { name, dims, constraints, params, ops: body, results };
  });

  readonly label = this.RULE('label', () =>
    this.OR([{ ALT: () => this.CONSUME(Word) }, { ALT: () => this.CONSUME(Text) }]),
  );

  readonly paramSignature = this.RULE('paramSignature', (): SignatureNode<TypedName> => {
    const label = this.SUBRULE(this.label);
    this.CONSUME(Assign);
    return this.OR<SignatureNode<TypedName>>([
      { ALT: () => ({ label, values: [this.SUBRULE(this.typed)] }) },
      {
        ALT: () => {
          const { format, shape } = this.SUBRULE(this.encodedHead);
          const fields: IToken[] = [];
          const values: TypedName[] = [];
          this.CONSUME(LBrace);
          this.MANY_SEP({
            SEP: Comma,
            DEF: () => {
              fields.push(this.SUBRULE1(this.label));
              this.CONSUME1(Assign);
              values.push(this.SUBRULE1(this.typed));
            },
          });
          this.CONSUME(RBrace);
          return { label, encoded: { format, shape, fields }, values };
        },
      },
    ]);
  });

  readonly resultSignature = this.RULE('resultSignature', (): SignatureNode<IToken> => {
    const label = this.SUBRULE(this.label);
    this.CONSUME(Assign);
    return this.OR<SignatureNode<IToken>>([
      { ALT: () => ({ label, values: [this.CONSUME(ValueName)] }) },
      {
        ALT: () => {
          const { format, shape } = this.SUBRULE(this.encodedHead);
          const fields: IToken[] = [];
          const values: IToken[] = [];
          this.CONSUME(LBrace);
          this.MANY_SEP({
            SEP: Comma,
            DEF: () => {
              fields.push(this.SUBRULE1(this.label));
              this.CONSUME1(Assign);
              values.push(this.CONSUME1(ValueName));
            },
          });
          this.CONSUME(RBrace);
          return { label, encoded: { format, shape, fields }, values };
        },
      },
    ]);
  });

  /** encoded "formats.ts#q4_0" [N, K], before its fields in braces. */
  readonly encodedHead = this.RULE('encodedHead', () => {
    this.CONSUME(Encoded);
    const format = this.CONSUME(Text);
    return { format, shape: this.SUBRULE(this.shape) };
  });

  readonly shape = this.RULE('shape', (): Poly[] => {
    const out: Poly[] = [];
    this.CONSUME(LBracket);
    this.MANY_SEP({ SEP: Comma, DEF: () => out.push(this.SUBRULE(this.poly)) });
    this.CONSUME(RBracket);
    return out;
  });

  /** %x : f32[M, K] */
  readonly typed = this.RULE('typed', (): TypedName => {
    const name = this.CONSUME(ValueName);
    this.CONSUME(Colon);
    const dtype = this.CONSUME(Word);
    this.ACTION(() => {
      if (!isDType(dtype.image)) throw errorAt(dtype, `unknown dtype ${dtype.image}`);
    });
    const shape = this.OPTION(() => this.SUBRULE(this.shape)) ?? [];
    return { name, dtype, shape };
  });

  /** %a : f32, %b : i32 = for(%x, %y) {extent: N} region* */
  readonly op = this.RULE('op', (): OpNode => {
    const results: TypedName[] = [];
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => results.push(this.SUBRULE(this.typed)) });
    this.CONSUME(Assign);
    const name = this.CONSUME(Word);
    this.ACTION(() => {
      if (!Object.hasOwn(ops, name.image)) throw errorAt(name, `unknown op ${name.image}`);
    });
    const operands = this.OPTION1(() => this.SUBRULE(this.operands)) ?? [];
    const attrs = this.OPTION2(() => this.SUBRULE(this.attrs, { ARGS: [name] })) ?? new Map();
    const regions: RegionNode[] = [];
    this.MANY(() => regions.push(this.SUBRULE(this.region)));
    const end = this.ACTION(() => this.LA(0));
    return { name, results, operands, attrs, regions, end };
  });

  readonly operands = this.RULE('operands', (): IToken[] => {
    const out: IToken[] = [];
    this.CONSUME(LParen);
    this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => out.push(this.CONSUME(ValueName)) });
    this.CONSUME(RParen);
    return out;
  });

  /** (%i : i32, %acc : f32) { ops yield %next } */
  readonly region = this.RULE('region', (): RegionNode => {
    const params: TypedName[] = [];
    const body: OpNode[] = [];
    const yields: IToken[] = [];
    this.OPTION(() => {
      this.CONSUME(LParen);
      this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => params.push(this.SUBRULE(this.typed)) });
      this.CONSUME(RParen);
    });
    this.CONSUME(LBrace);
    this.MANY(() => body.push(this.SUBRULE(this.op)));
    this.CONSUME(Yield);
    this.MANY_SEP({ SEP: Comma, DEF: () => yields.push(this.CONSUME(ValueName)) });
    this.CONSUME(RBrace);
    return { params, ops: body, yields };
  });

  /** {axis: 0, start: K / 2}; how a value is read depends on the op that it belongs to. */
  readonly attrs = this.RULE('attrs', (op: IToken): ReadonlyMap<string, AttrValue> => {
    const out = new Map<string, AttrValue>();
    this.CONSUME(LBrace);
    this.AT_LEAST_ONE_SEP({
      SEP: Comma,
      DEF: () => {
        const key = this.CONSUME(Word);
        this.CONSUME(Colon);
        const kind = this.ACTION(() => kindOf(op, key)) ?? 'number';
        out.set(key.image, this.SUBRULE(this.attrValue, { ARGS: [kind] }));
      },
    });
    this.CONSUME(RBrace);
    return out;
  });

  readonly attrValue = this.RULE('attrValue', (kind: AttrKind): AttrValue => {
    return this.OR<AttrValue>({
      // The alternatives begin alike; the gates choose.
      IGNORE_AMBIGUITIES: true,
      DEF: [
        {
          GATE: () => kind === 'text',
          ALT: () => {
            const t = this.CONSUME(Text);
            return this.ACTION(() => labelText(t));
          },
        },
        { GATE: () => kind === 'dims', ALT: () => this.SUBRULE(this.shape) },
        { GATE: () => kind === 'dim', ALT: () => this.SUBRULE(this.poly) },
        {
          GATE: () => kind === 'numbers' || kind === 'ints',
          ALT: () => this.SUBRULE(this.numbers),
        },
        {
          GATE: () => kind === 'flag',
          ALT: () => {
            const t = this.CONSUME(Word);
            return this.ACTION(() => flag(t));
          },
        },
        { GATE: () => kind === 'number', ALT: () => this.SUBRULE(this.number) },
      ],
    });
  });

  readonly numbers = this.RULE('numbers', (): number[] => {
    const out: number[] = [];
    this.CONSUME(LBracket);
    this.MANY_SEP({ SEP: Comma, DEF: () => out.push(this.SUBRULE(this.number)) });
    this.CONSUME(RBracket);
    return out;
  });

  /** -1.5e-3, nan, inf, -inf */
  readonly number = this.RULE('number', (): number => {
    const negative = this.OPTION(() => this.CONSUME(Minus)) !== undefined;
    const t = this.OR([
      { ALT: () => this.CONSUME(NumberToken) },
      { ALT: () => this.CONSUME(Word) },
    ]);
    return this.ACTION(() => {
      const value = t.image === 'inf' ? Infinity : Number(t.image);
      if (Number.isNaN(value) && t.image !== 'nan') throw errorAt(t, `${t.image} is no number`);
      return negative ? -value : value;
    });
  });
}

/** How the attribute is written; unknown ones are refused here, where the key is at hand. */
function kindOf(op: IToken, key: IToken): AttrKind {
  const written: Readonly<Record<string, AttrKind | undefined>> =
    attrForms[op.image as OpName].written;
  const kind = Object.hasOwn(written, key.image) ? written[key.image] : undefined;
  if (!kind) throw errorAt(key, `${op.image} has no attribute ${key.image}`);
  return kind;
}

function flag(t: IToken): boolean {
  if (t.image !== 'true' && t.image !== 'false')
    throw errorAt(t, `${t.image} is neither true nor false`);
  return t.image === 'true';
}

let tools: { lexer: Lexer; parser: IrGrammar } | undefined;

/** The syntax tree of one function; throws a TextError. */
export function readFunc(text: string): FuncNode {
  tools ??= { lexer: new Lexer(tokens), parser: new IrGrammar() };
  return readAll(tools.lexer, tools.parser, text, (p) => p.func());
}
