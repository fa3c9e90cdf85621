/** Style sheet of the report page. One column, few colours, light and dark by the reader's choice, light on paper. */
import { DARK, FONT, LIGHT, type Palette, pictureStyle } from './palette.ts';

function variables(palette: Palette): string {
  const { page, surface, ink, muted, line, good, warn, outage, accent } = palette;
  return `:root{--page:${page};--surface:${surface};--ink:${ink};--muted:${muted};--line:${line};--good:${good};--warn:${warn};--bad:${outage};--accent:${accent}}`;
}

const RULES = `
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 ${FONT};-webkit-text-size-adjust:100%}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:32px}
footer{padding-bottom:40px;color:var(--muted);font-size:13px}
h1{font-size:22px;line-height:1.35;font-weight:600;margin:6px 0 4px;overflow-wrap:anywhere;text-wrap:balance}
h2{font-size:17px;font-weight:600;margin:0 0 12px}
h3{font-size:14px;font-weight:600;margin:20px 0 6px}
p{margin:0 0 10px;max-width:75ch;overflow-wrap:anywhere}
section{background:var(--surface);border:1px solid var(--line);border-radius:8px;padding:20px;margin:16px 0}
.verdict{display:inline-block;font-size:13px;font-weight:600;border:1px solid currentColor;border-radius:999px;padding:1px 10px}
.good{color:var(--good)}
.warn{color:var(--warn)}
.bad{color:var(--bad)}
.sub,.note,.detail,figcaption,.readout{color:var(--muted);font-size:13px}
.notice{border-left:4px solid currentColor;background:var(--surface);padding:10px 14px;margin:14px 0;border-radius:4px}
.notice p{color:var(--ink);margin:0;max-width:none}
.notice strong{font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(20,1fr);gap:10px;margin:18px 0 0}
.tile{grid-column:span 5}
.tile:nth-child(n+5){grid-column:span 4}
.tile{background:var(--surface);border:1px solid var(--line);border-radius:8px;padding:10px 12px;min-width:0}
.tile dt{color:var(--muted);font-size:13px}
.tile dd{margin:0}
.tile .value{display:block;font-size:22px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums}
.tile .note{display:block;line-height:1.35;overflow-wrap:anywhere}
.tile.plain .value{color:var(--ink)}
.tile.good,.tile.warn,.tile.bad{color:inherit}
.tile.good .value{color:var(--good)}
.tile.warn .value{color:var(--warn)}
.tile.bad .value{color:var(--bad)}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0;font-size:14px}
.facts dt{color:var(--muted)}
.facts dd{margin:0;overflow-wrap:anywhere}
figure{margin:0 0 18px}
figure:last-child{margin-bottom:0}
figure>svg{display:block;width:100%;height:auto}
figure>svg.middle,figure>svg.slim{display:none}
figcaption{margin:0 0 6px}
.readout{min-height:1.5em;margin:4px 0 0;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-size:14px;margin:0 0 16px}
table:last-child{margin-bottom:0}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.gantt caption{position:static;width:auto;height:auto;clip-path:none;text-align:left;color:var(--muted);font-size:13px;padding:0 0 4px}
th{text-align:left;font-weight:600;font-size:13px;color:var(--muted)}
th,td{padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere;unicode-bidi:isolate}
th:last-child,td:last-child{padding-right:0}
tr:last-child td{border-bottom:0}
td.code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;font-size:13px}
td.number,th.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.gantt td:first-child{white-space:nowrap}
.gantt td:nth-child(2){width:30%}
.gantt td:nth-child(3){width:42%}
.gantt td{vertical-align:middle}
.swatch{width:10px;height:10px}
.bar{display:block;width:100%;height:20px}
.bar-phase{fill-opacity:.16}
.bar-critical{fill:var(--ink)}
.critical{font-weight:600}
.detail{display:block;line-height:1.35}
.tag{font-size:11px;color:var(--ink);border:1px solid var(--muted);border-radius:3px;padding:0 4px;white-space:nowrap}
details{border-top:1px solid var(--line);padding:6px 0}
details table{margin:6px 0 4px}
.shadow td.code:first-child{width:40%}
summary{cursor:pointer;font-weight:600;font-size:14px;overflow-wrap:anywhere}
summary .note{font-weight:400;margin-left:6px}
summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.warnings{margin:0;padding-left:20px}
.warnings li{margin:4px 0;overflow-wrap:anywhere}
@media (max-width:960px){
figure>svg.broad{display:none}
figure>svg.middle{display:block}
}
@media (max-width:680px){
main,header,footer{padding-left:12px;padding-right:12px}
header{padding-top:18px}
h1{font-size:19px}
section{padding:14px 12px}
.tiles{grid-template-columns:repeat(6,1fr);gap:8px}
.tile,.tile:nth-child(n+5){grid-column:span 3}
.tile:nth-child(n+7){grid-column:span 2}
.tile{padding:8px 10px}
.tile .value{font-size:19px}
.tile .note,.tile dt{font-size:12px}
.facts{grid-template-columns:1fr;gap:0}
.facts dd{margin-bottom:6px}
figure>svg.middle{display:none}
figure>svg.slim{display:block}
table,caption,tbody,tr,td{display:block}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{border-bottom:1px solid var(--line);padding:6px 0}
tr:last-child{border-bottom:0}
td,td.number{border:0;padding:1px 0;text-align:left;white-space:normal}
td:not(:empty){display:grid;grid-template-columns:96px 1fr;align-items:baseline}
td:not(:empty)::before{content:attr(data-label);padding-right:8px;color:var(--muted);font:12px ${FONT}}
.gantt td:not(:empty){display:block}
.gantt td:nth-child(2),.gantt td:nth-child(3),.shadow td.code:first-child{width:auto}
.gantt td:not(:empty)::before{content:none}
.gantt tr{display:grid;grid-template-columns:96px 1fr auto;column-gap:8px;align-items:baseline}
.gantt td:nth-child(5){grid-area:1/3;text-align:right}
.gantt td:nth-child(3){grid-area:2/1/3/3;align-self:center}
.gantt td:nth-child(4){grid-area:2/3;text-align:right;color:var(--muted);font-size:12px}
.gantt td:nth-child(4):not(:empty)::before{content:'at';padding:0 4px 0 0}
}
@media print{
body{background:#fff;font-size:12px}
main,header,footer{max-width:none;padding-left:0;padding-right:0}
section{border:0;padding:0;margin:18px 0}
figure,tr,.tile{break-inside:avoid}
h2,h3{break-after:avoid}
.readout{display:none}
details::details-content{content-visibility:visible;block-size:auto}
}
`;

/** The whole style sheet of the page. */
export function pageStyle(): string {
  return `${variables(LIGHT)}@media screen and (prefers-color-scheme:dark){${variables(DARK)}}${RULES}${pictureStyle('auto')}`;
}
