/**
 * The plot: one panel of horizontal bars per row, a bar per candidate, its spread as a thin line. Plain SVG that reads on light and
 * dark pages.
 */
import { writeFileSync } from 'node:fs';
import { type Results, type Row, quantity } from './results.ts';

const COLOURS = ['#2f7ed8', '#8a8f98', '#c58b2a', '#5aa469', '#a05fb4'];
const WIDTH = 940;
const LEFT = 245;
const BAR = 16;

const escapeText = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** Draws one row from y on; the drawing and where it ends. */
function panel(
  row: Row,
  top: number,
  colours: Map<string, string>,
): { svg: string; bottom: number } {
  const parts = [`<text x="10" y="${top + 16}" font-weight="bold">${escapeText(row.title)}</text>`];
  let y = top + 30;
  for (const cell of row.cells) {
    const entries = Object.entries(cell.candidates);
    const largest = Math.max(...entries.flatMap(([, summary]) => summary.values));
    if (!(largest > 0)) continue;
    const scale = (WIDTH - LEFT - 290) / largest;
    parts.push(`<text x="10" y="${y + 12}">${escapeText(cell.name)}</text>`);
    for (const [name, summary] of entries) {
      if (!colours.has(name)) colours.set(name, COLOURS[colours.size % COLOURS.length]!);
      const length = Math.max(1, summary.median * scale);
      const low = LEFT + Math.min(...summary.values) * scale;
      const high = LEFT + Math.max(...summary.values) * scale;
      const middle = y + BAR / 2 - 1;
      parts.push(
        `<rect x="${LEFT}" y="${y}" width="${length.toFixed(1)}" height="${BAR - 3}" fill="${colours.get(name)}"/>`,
        `<path d="M${low.toFixed(1)} ${middle}H${high.toFixed(1)}" stroke="#d22" stroke-width="1.5"/>`,
        `<text x="${Math.max(LEFT + length, high) + 6}" y="${y + 11}">${escapeText(name)} ${quantity(summary.median, cell.unit)} ${escapeText(cell.unit)}</text>`,
      );
      y += BAR;
    }
    y += 8;
  }
  return { svg: parts.join('\n'), bottom: y + 12 };
}

export function drawPlot(results: Results): string {
  const colours = new Map<string, string>();
  let y = 8;
  const panels: string[] = [];
  for (const row of Object.values(results.rows)) {
    const { svg, bottom } = panel(row, y, colours);
    panels.push(svg);
    y = bottom;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" font-family="sans-serif" font-size="12">
<style>text { fill: #333 } @media (prefers-color-scheme: dark) { text { fill: #ddd } }</style>
${panels.join('\n')}
</svg>
`;
}

export function writePlot(path: string, results: Results): void {
  writeFileSync(path, drawPlot(results));
}
