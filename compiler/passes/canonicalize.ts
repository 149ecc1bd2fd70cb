// Folds constants and applies the exact algebra of rules.ts until nothing changes: what is left of
// a kernel is what its author meant, without the scaffolding of the front end. Changes no bit of
// any result.
import { type Rule, rulePass } from './engine.ts';
import { arithmeticRules, choiceRules, foldRules, viewRules } from './rules.ts';

export const canonicalizeRules: readonly Rule[] = [
  ...foldRules,
  ...arithmeticRules,
  ...choiceRules,
  ...viewRules,
];

export const canonicalize = rulePass('canonicalize', canonicalizeRules);
