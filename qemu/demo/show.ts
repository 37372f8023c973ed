// What the demo prints: numbered steps, the command that is run, the lines that matter, a tick or
// a cross, tables; and the seconds of whatever takes longer than two of them.

const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint = (code: string, text: string): string =>
  colour ? `\x1b[${code}m${text}\x1b[0m` : text;

/** Prints lines. */
export function say(...lines: string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`);
}

let steps = 0;

/** Begins a numbered step; `why` says what it shows. */
export function step(title: string, ...why: string[]): void {
  say('', paint('1', `${++steps}. ${title}`), ...why.map((line) => `   ${paint('2', line)}`));
}

/** Shows a command and whose terminal it is typed on. */
export function command(where: string, text: string): void {
  say(`   ${paint('36', `${where}$`)} ${text}`);
}

/** Shows lines of output, at most `most` of them. */
export function output(text: string, most = 6): void {
  const lines = text
    .trim()
    .split('\n')
    .filter((line) => line.trim() !== '');
  for (const line of lines.slice(0, most)) say(`     ${line.trimEnd()}`);
  if (lines.length > most) say(`     ... ${lines.length - most} more lines`);
}

/** What was shown to work or not, for the table at the end. */
export const results: { text: string; ok: boolean }[] = [];

/** Shows and keeps a result. */
export function verdict(ok: boolean, text: string): void {
  results.push({ text, ok });
  say(`   ${ok ? paint('32', '✓') : paint('31', '✗')} ${text}`);
}

/** Shows something worth knowing. */
export function note(text: string): void {
  say(`   ${paint('33', '!')} ${text}`);
}

/** Shows a table; columns of numbers stand right. */
export function table(head: string[], rows: (string | number)[][]): void {
  const text = rows.map((row) => row.map((cell) => formatted(cell)));
  const widths = head.map((name, column) =>
    Math.max(name.length, ...text.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: string[], right: (column: number) => boolean): string =>
    cells
      .map((cell, i) => (right(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  const numeric = (column: number): boolean => rows.every((row) => typeof row[column] === 'number');
  if (head.some((name) => name !== '')) say(`   ${paint('1', line(head, numeric))}`);
  for (const row of text) say(`   ${line(row, numeric)}`);
}

function formatted(cell: string | number): string {
  return typeof cell === 'number' ? cell.toLocaleString('en-GB') : cell;
}

/** Runs `work` and shows that it goes on: a line whose seconds count on a terminal. */
export async function during<T>(title: string, work: Promise<T>): Promise<T> {
  const start = Date.now();
  const seconds = (): string => ((Date.now() - start) / 1000).toFixed(1);
  const live = process.stdout.isTTY === true;
  let said = false;
  const timer = setInterval(() => {
    if (live) process.stdout.write(`\r\x1b[K   ${title} ... ${seconds()} s`);
    else if (!said && Date.now() - start > 2000) {
      said = true;
      say(`   ${title} ...`);
    }
  }, 250);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (live) process.stdout.write('\r\x1b[K');
    say(`   ${title} (${seconds()} s)`);
  }
}
