/** Colours in light and dark, and the style sheet of the pictures. Meaning never rests on colour alone. */
import { PHASES } from '../base/phases.ts';
import type { PhaseName } from './model.ts';

export type Theme = 'light' | 'dark' | 'auto';

export interface Palette {
  page: string;
  surface: string;
  ink: string;
  muted: string;
  line: string;
  received: string;
  outage: string;
  good: string;
  warn: string;
  accent: string;
  phases: Record<PhaseName, string>;
}

export const LIGHT: Palette = {
  page: '#f5f6f8',
  surface: '#ffffff',
  ink: '#1b2430',
  muted: '#586473',
  line: '#dbe0e7',
  received: '#2a6cb0',
  outage: '#c02f4a',
  good: '#1f7a4d',
  warn: '#8f5a00',
  accent: '#1f5f9e',
  phases: {
    preflight: '#93a0b1',
    reserve: '#73879f',
    stage: '#5f90bd',
    detach: '#d19033',
    copy: '#8377c4',
    switchover: '#c4566a',
    attach: '#2f9c8f',
    settle: '#79a866',
  },
};

export const DARK: Palette = {
  page: '#0e1217',
  surface: '#161b22',
  ink: '#e4eaf1',
  muted: '#9ba8b7',
  line: '#313943',
  received: '#6aaef0',
  outage: '#ff7d8e',
  good: '#5cc48d',
  warn: '#e0ab52',
  accent: '#79b6f2',
  phases: {
    preflight: '#7f8b9a',
    reserve: '#66798f',
    stage: '#5686b3',
    detach: '#c98a33',
    copy: '#8b80cf',
    switchover: '#cd6377',
    attach: '#35a899',
    settle: '#74a463',
  },
};

/** Font stack of the page and of the pictures. */
export const FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif";

/** Rules for the classes that the pictures use, in one palette. Literal colours: not every viewer knows variables. */
function pictureRules(palette: Palette): string {
  const phases = PHASES.map((name) => `.sf-p-${name}{fill:${palette.phases[name]}}`).join('');
  return [
    `.sf{font-family:${FONT};font-variant-numeric:tabular-nums}`,
    `.sf-surface{fill:${palette.surface};stroke:${palette.line}}`,
    `.sf text{fill:${palette.ink}}`,
    `.sf .sf-quiet{fill:${palette.muted}}`,
    `.sf .sf-halo{paint-order:stroke;stroke:${palette.surface};stroke-width:3px;stroke-linejoin:round}`,
    `.sf-grid{stroke:${palette.line};stroke-width:1;fill:none}`,
    `.sf-base{stroke:${palette.muted};stroke-width:1;fill:none}`,
    `.sf-mark{stroke:${palette.muted};stroke-width:1;stroke-dasharray:2 3;fill:none}`,
    `.sf-leader{stroke:${palette.muted};stroke-width:1;fill:none}`,
    `.sf-outline{stroke:${palette.muted};stroke-width:1;fill:none}`,
    `.sf-cursor{stroke:${palette.ink};stroke-width:1;fill:none}`,
    `.sf-lane{fill:${palette.line};fill-opacity:.45}`,
    `.sf-left{fill:${palette.muted};fill-opacity:.2;stroke:${palette.muted};stroke-opacity:.6}`,
    `.sf-in-area{fill:${palette.received};fill-opacity:.16}`,
    `.sf-in{stroke:${palette.received};stroke-width:1.5;fill:none;stroke-linejoin:round}`,
    `.sf-out{stroke:${palette.muted};stroke-width:1.2;stroke-dasharray:4 3;fill:none}`,
    `.sf-outage{fill:${palette.outage}}`,
    `.sf .sf-outage-text{fill:${palette.outage};font-weight:600}`,
    `.sf-outage-zone{fill:${palette.outage};fill-opacity:.2}`,
    `.sf-blackout{fill:${palette.ink}}`,
    `.sf-blackout-zone{fill:${palette.ink};fill-opacity:.3}`,
    '.sf .sf-strong{font-weight:600}',
    '.sf-tint{fill-opacity:.09}',
    phases,
  ].join('');
}

/** Style sheet of the pictures. `auto` follows the reader's colour scheme on screens and is light on paper. */
export function pictureStyle(theme: Theme): string {
  if (theme === 'dark') return pictureRules(DARK);
  const light = pictureRules(LIGHT);
  return theme === 'light'
    ? light
    : `${light}@media screen and (prefers-color-scheme:dark){${pictureRules(DARK)}}`;
}
