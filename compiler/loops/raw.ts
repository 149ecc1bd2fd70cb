// The tree that the grammar of loop IR text gives: names not resolved, types not known.
export type RawExpr = { readonly line: number } & (
  | { readonly kind: 'number'; readonly text: string }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly RawExpr[] }
  | { readonly kind: 'place'; readonly place: RawPlace }
  | { readonly kind: 'prefix'; readonly sign: string; readonly a: RawExpr }
  | {
      readonly kind: 'chain';
      readonly first: RawExpr;
      readonly rest: readonly (readonly [string, RawExpr])[];
    }
);
export interface RawPlace {
  readonly name: string;
  /** Another dtype to read the buffer as. */
  readonly as?: string;
  readonly index: RawExpr;
  readonly lanes: number;
  readonly align: number;
}
export type RawStmt = { readonly line: number } & (
  | { readonly kind: 'comment'; readonly text: string }
  | {
      readonly kind: 'let' | 'local';
      readonly name: string;
      readonly type: string;
      readonly value: RawExpr;
    }
  | { readonly kind: 'set'; readonly name: string; readonly value: RawExpr }
  | { readonly kind: 'store'; readonly place: RawPlace; readonly value: RawExpr }
  | {
      readonly kind: 'for';
      readonly name: string;
      readonly start: RawExpr;
      readonly end: RawExpr;
      readonly step: number;
      readonly parallel: boolean;
      readonly on?: string;
      readonly body: readonly RawStmt[];
    }
  | { readonly kind: 'barrier'; readonly team: string }
  | {
      readonly kind: 'combine';
      readonly name: string;
      readonly type: string;
      readonly op: string;
      readonly team: string;
      readonly value: RawExpr;
    }
  | {
      readonly kind: 'pack';
      readonly name: string;
      readonly type: string;
      readonly how: string;
      readonly value: RawExpr;
    }
  | {
      readonly kind: 'product';
      readonly name: string;
      readonly dtype: string;
      readonly a: readonly [RawExpr, RawExpr];
      readonly b: RawExpr;
    }
  | {
      readonly kind: 'copy';
      readonly to: RawPlace;
      readonly from: RawPlace;
      readonly valid?: RawExpr;
    }
  | { readonly kind: 'arrive'; readonly pending: number }
  | {
      readonly kind: 'while';
      readonly header: readonly RawStmt[];
      readonly cond: RawExpr;
      readonly body: readonly RawStmt[];
    }
  | {
      readonly kind: 'if';
      readonly cond: RawExpr;
      readonly then: readonly RawStmt[];
      readonly else: readonly RawStmt[];
    }
);
export interface RawBuffer {
  readonly name: string;
  readonly dtype: string;
  readonly size: RawExpr;
  readonly role: string;
  readonly mark?: string;
  readonly data?: readonly string[];
}
export interface RawProgram {
  readonly name: string;
  readonly dims: readonly string[];
  readonly buffers: readonly RawBuffer[];
  readonly kernels: readonly {
    readonly name: string;
    readonly schedule: string;
    readonly body: readonly RawStmt[];
  }[];
}
