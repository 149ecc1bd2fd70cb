// Draws compile errors with their source lines.
import { readFileSync } from 'node:fs';
import pc from 'picocolors';
import type { Diagnostic } from '../compiler/diagnostics/diagnostic.ts';
import { renderDiagnostics } from '../compiler/diagnostics/render.ts';

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

export const renderAll = (diagnostics: readonly Diagnostic[]): string =>
  renderDiagnostics(diagnostics, readText, { color: pc.isColorSupported });
