/**
 * The documents say what is true: links lead somewhere, commands exist, the configuration of the README is accepted, and every
 * reason and event that the code counts stands in the table with the code's own sentence.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DROP_REASONS, EVENTS } from '../../src/counters.ts';
import { BUILT } from '../support/daemon.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const COMMAND = join(ROOT, 'dist/cli.js');
const DOCUMENTS = [
  'README.md',
  'SECURITY.md',
  'native/README.md',
  'src/wire/README.md',
  'test/corpus/order/README.md',
  'test/corpus/ring/README.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

function read(name: string): string {
  return readFileSync(join(ROOT, name), 'utf8');
}

/** The text without code blocks and inline code. */
function prose(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '`');
}

/** What GitHub makes of a heading. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

function anchors(name: string): string[] {
  return [...read(name).matchAll(/^#+ +(.*)$/gm)].map(([, heading]) => anchor(heading));
}

/** Relative links as [document, target]. */
function links(): [string, string][] {
  return DOCUMENTS.flatMap((name) =>
    [...prose(read(name)).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]): [string, string] => [name, target])
      .filter(([, target]) => !/^[a-z]+:/.test(target)),
  );
}

/** First and second cell of every table row that begins with a name in backquotes. */
function rows(name: string): Map<string, string> {
  return new Map(
    [...read(name).matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm)].map(([, key, cell]) => [
      key,
      cell.trim(),
    ]),
  );
}

function basewire(...args: string[]) {
  return spawnSync(process.execPath, [COMMAND, ...args], { encoding: 'utf8', timeout: 20_000 });
}

describe('links', () => {
  it('lead to files and headings that exist', () => {
    const broken = links().filter(([name, target]) => {
      const [path, heading] = target.split('#', 2);
      const file = path === '' ? name : relative(ROOT, join(ROOT, dirname(name), path));
      if (file.startsWith('..') || !existsSync(join(ROOT, file))) return true;
      if (target.endsWith('/') !== statSync(join(ROOT, file)).isDirectory()) return true;
      return heading !== undefined && !anchors(file).includes(heading);
    });
    expect(broken).toEqual([]);
  });

  it('reach every document from the README', () => {
    const found = new Set(['README.md']);
    for (const name of found) {
      for (const [from, target] of links()) {
        if (from === name && target.endsWith('.md')) found.add(join(dirname(name), target));
      }
    }
    expect(DOCUMENTS.filter((name) => !found.has(name))).toEqual([]);
  });
});

describe('the table of drop reasons', () => {
  const table = rows('docs/drop-reasons.md');

  it('has every reason and event, with the sentence of the code', () => {
    const code: Record<string, string> = { ...DROP_REASONS, ...EVENTS };
    expect(Object.fromEntries(table)).toEqual(code);
  });

  it('knows the reasons that the README explains', () => {
    const explained = [...rows('README.md').keys()];
    expect(explained.length).toBeGreaterThan(3);
    expect(explained.filter((reason) => !(reason in DROP_REASONS))).toEqual([]);
  });

  it('is what other documents speak of: a reason in them exists', () => {
    const named = [
      ...read('docs/hostile-guest.md').matchAll(/(?:drop|recycle), ((?:`\w+`(?:, )?)+)/g),
    ].flatMap(([, list]) => [...list.matchAll(/`(\w+)`/g)].map(([, reason]) => reason));
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((reason) => !(reason in DROP_REASONS))).toEqual([]);
  });
});

it('docs/hostile-guest.md has every hostile test, under the number that the test gives itself', () => {
  const table = read('docs/hostile-guest.md')
    .split('\n')
    .filter((line) => line.startsWith('|'));
  const missing = readdirSync(join(ROOT, 'test/hostile'))
    .filter((file) => file.endsWith('.test.ts'))
    .filter((file) => {
      const said = /Ranked cases? ([\d, and]+)/.exec(read(`test/hostile/${file}`))?.[1] ?? '';
      const numbers = said.match(/\d+/g) ?? [];
      const cells = table
        .filter((line) => line.includes(`/${file})`))
        .map((line) => line.split('|')[1]);
      return !cells.some((cell) => numbers.every((number) => cell.split(/[ ,]+/).includes(number)));
    });
  expect(missing, 'hostile tests without a row').toEqual([]);
});

it('npm commands that the documents name exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const named = DOCUMENTS.flatMap((name) =>
    [...read(name).matchAll(/npm (run [\w:-]+|test\b)/g)].map(([, words]) =>
      words.replace('run ', ''),
    ),
  );
  expect(named.filter((script) => !(script in scripts))).toEqual([]);
});

describe.skipIf(!BUILT)('commands (needs dist/: npm run build)', () => {
  /** Every `basewire ...` of code in the documents, as words. */
  function commands(): string[][] {
    return DOCUMENTS.filter((name) => !name.includes('decisions')).flatMap((name) =>
      [...read(name).matchAll(/(?:^ {4}|`|\$\()basewire ((?:[\w-]+|\[?-)[^`)\n]*)/gm)].map(
        ([, rest]) =>
          // What follows several blanks is a remark.
          rest
            .split(/ {2,}/)[0]
            .split(/[ |[\]]+/)
            .filter(Boolean),
      ),
    );
  }

  it('and options that the documents name exist', () => {
    const help = new Map<string, string>([['', basewire('--help').stdout]]);
    const known = [...help.get('')!.matchAll(/^ {2}([a-z][\w-]*) /gm)].map(([, name]) => name);
    const unknown: string[] = [];
    let seen = 0;
    for (const words of commands()) {
      const command = words[0].startsWith('-') ? '' : words[0];
      if (command !== '' && !known.includes(command)) {
        unknown.push(words.join(' '));
        continue;
      }
      seen++;
      if (!help.has(command)) help.set(command, basewire(command, '--help').stdout);
      for (const word of words) {
        const option = /^--[\w-]+/.exec(word)?.[0];
        if (option && !new RegExp(`${option}\\b`).test(help.get(command)!)) {
          unknown.push(words.join(' '));
        }
      }
    }
    expect(unknown).toEqual([]);
    expect(seen).toBeGreaterThan(8);
  });

  it('accept the configurations of the documents', () => {
    const folder = mkdtempSync(join(tmpdir(), 'basewire-docs-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'base.yaml');
    let checked = 0;
    for (const name of DOCUMENTS) {
      for (const [, text] of read(name).matchAll(/^```yaml\n([\s\S]*?)^```/gm)) {
        writeFileSync(file, text);
        const { status, stdout, stderr } = basewire('check', '--config', file);
        expect({ name, status, stderr: status === 0 ? '' : stderr }).toEqual({
          name,
          status: 0,
          stderr: '',
        });
        expect(stdout).toContain(': ok');
        checked++;
      }
    }
    expect(checked).toBeGreaterThan(1);
  });
});

describe('the documents', () => {
  it('name no folder of anybody’s machine', () => {
    const found = DOCUMENTS.filter((name) =>
      /(^|[\s`(])\/(work|home|root|Users)\//m.test(read(name)),
    );
    expect(found).toEqual([]);
  });
});
