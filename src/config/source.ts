/**
 * A configuration file as text and as values that know where they stand: read once, bounded, never followed into
 * something that is no file.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import {
  type Document,
  isMap,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLParseError,
  type YAMLWarning,
} from 'yaml';
import { keyText, TextChecks, TOO_DEEP } from './text-checks.ts';

/** Larger files are refused unread. A hundred thousand addresses take two. */
const MAX_CONFIG_BYTES = 16 * 1024 * 1024;

export type Path = readonly PropertyKey[];

export interface Position {
  line: number;
  column: number;
}

/** Something wrong with the file; `path` is [] for the file as a whole. */
export interface Complaint extends Position {
  path: Path;
  text: string;
}

export class ConfigSource {
  readonly file: string;
  /** The file's values as plain data; undefined where they can't be had. */
  readonly raw: unknown;
  /** What the text itself has wrong: syntax, keys, aliases. */
  readonly complaints: Complaint[] = [];
  /** Worth saying, but not wrong. */
  readonly warnings: string[];
  /** False: the values are not to be had, or guesses. */
  usable = true;
  readonly #lines = new LineCounter();
  #document: Document | null = null;
  #targets: ReadonlyMap<Node, Node> = new Map();
  #merging: ReadonlySet<Node> = new Set();

  /** Takes the text as if it stood in `file`. */
  constructor(file: string, text: string, warnings: string[] = []) {
    this.file = file;
    this.warnings = warnings;
    try {
      this.#parse(text);
      // The aliases have been counted.
      if (this.usable) this.raw = this.#document!.toJS({ maxAliasCount: -1 });
    } catch (error) {
      // A RangeError is a stack exhausted by nesting.
      const why =
        error instanceof RangeError ? TOO_DEEP : `is no YAML: ${(error as Error).message}`;
      this.refuse(why.split('\n', 1)[0]!);
    }
  }

  /** Complains of the text as a whole, or of one place: no values can be had. */
  refuse(text: string, at: Position = { line: 1, column: 1 }): void {
    this.complaints.push({ ...at, path: [], text });
    this.usable = false;
  }

  #parse(text: string): void {
    const document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      logLevel: 'error',
      // Checked by TextChecks: the library's own check takes quadratic time.
      uniqueKeys: false,
      version: '1.2',
    });
    this.#document = document;
    this.#takeFaults([...document.errors, ...document.warnings]);
    const checks = new TextChecks(document, (offset) => this.#place(offset).line);
    const { problems, targets, merging } = checks;
    this.#targets = targets;
    this.#merging = merging;
    for (const { offset, text, fatal } of problems) {
      this.complaints.push({ ...this.#place(offset), path: [], text });
      if (fatal) this.usable = false;
    }
  }

  /** Syntax. */
  #takeFaults(faults: (YAMLParseError | YAMLWarning)[]): void {
    const deep = faults.find(({ message }) => message.includes('call stack'));
    if (deep) {
      // What else the parser says then is what it expected instead of an end.
      this.refuse(TOO_DEEP, this.#place(deep.pos[0]));
      return;
    }
    const told = new Set<string>();
    for (const { code, message, pos } of faults) {
      // One bracket too many makes every word behind it a fault, and one line that is not in its column every entry.
      const kind = FOLLOWING.find((each) => each.test(message))?.source;
      if (kind !== undefined && told.has(kind)) continue;
      if (kind !== undefined) told.add(kind);
      const text = code === 'MULTIPLE_DOCS' ? SECOND_DOCUMENT : message.replace(/\s+/g, ' ');
      const hint = HINTS.find(([start]) => text.startsWith(start))?.[1];
      const offset = UNCLOSED_QUOTE.test(text) ? this.#openingQuote(pos[0]) : pos[0];
      this.refuse(hint === undefined ? text : `${text}: ${hint}`, this.#place(offset));
    }
  }

  /** Where the text in quotes begins that ends at `end`, which may be the end of the file. */
  #openingQuote(end: number): number {
    let opening = end;
    visit(this.#document!, {
      Scalar(_, { type, range }) {
        if (!type?.startsWith('QUOTE') || range?.[1] !== end) return undefined;
        opening = range[0];
        return visit.BREAK;
      },
    });
    return opening;
  }

  /**
   * Where a value stands ('value'), or its key ('key'). For a path that does not exist: the key of the nearest
   * thing around it that does.
   */
  position(path: Path, which: 'key' | 'value' = 'value'): Position {
    let node = this.#resolve(this.#document?.contents);
    let key: Node | null = null;
    let found = node;
    let whole = true;
    for (const step of path) {
      let next: unknown;
      if (isMap(node)) {
        const pair = node.items.findLast((item) => keyText(item.key) === String(step));
        next = pair?.value;
        if (pair) [key, found] = [pair.key as Node, (pair.value ?? pair.key) as Node];
        else whole = false;
      } else if (isSeq(node) && typeof step === 'number' && node.items[step] !== undefined) {
        next = node.items[step];
        [key, found] = [next as Node, next as Node];
      } else whole = false;
      if (!whole) break;
      node = this.#resolve(next);
    }
    const at = which === 'key' || !whole ? (key ?? found) : found;
    return this.#place((at as Node | undefined)?.range?.[0] ?? 0);
  }

  /** Whether nothing stands at a path, and a refused merge key (<<) was perhaps to bring it. */
  mayBeMerged(path: Path): boolean {
    let node = this.#resolve(this.#document?.contents);
    for (const step of path) {
      if (isSeq(node) && typeof step === 'number') node = this.#resolve(node.items[step]);
      else if (isMap(node)) {
        const pair = node.items.findLast((item) => keyText(item.key) === String(step));
        if (pair === undefined) return this.#merging.has(node);
        node = this.#resolve(pair.value);
      } else return false;
    }
    return false;
  }

  #resolve(node: unknown): Node | undefined {
    const target = this.#targets.get(node as Node) ?? node;
    return (target ?? undefined) as Node | undefined;
  }

  #place(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
}

const SECOND_DOCUMENT =
  'a second document begins here: a file holds one configuration, remove the others';

const UNCLOSED_QUOTE = /^Missing closing ["']quote/;

/** Faults that follow from the first of their kind: only that one is told. */
const FOLLOWING = [/^Unexpected [\w-]+ token in YAML stream/, /^All mapping items must start at/];

/** What most often is behind the parser's words, by how these begin. */
const HINTS: [start: string, hint: string][] = [
  ['Tabs are not allowed', 'use spaces'],
  [
    'Implicit keys need',
    'is there no colon, or no space behind it, or is a line indented too far?',
  ],
  ['Implicit map keys need', 'is there no colon, or no space behind it?'],
  ['All mapping items must', 'is this line indented too little, or one above it too far?'],
  ['Unexpected flow-', 'is it one too many?'],
  ['Flow sequence in block', 'is there no ] above?'],
  ['Flow map in block', 'is there no } above?'],
  ['Missing closing', 'it begins here'],
  [
    'Nested mappings are not',
    'is a line indented too far, or a text with a colon in it not quoted?',
  ],
];

/** Reads a configuration file. Whatever is wrong with it is a complaint of the result; nothing is thrown. */
export function readConfig(file: string): ConfigSource {
  const refused = (text: string, at?: Position) => {
    const source = new ConfigSource(file, '');
    source.refuse(text, at);
    return source;
  };
  let fd: number;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    return refused(`can’t be opened: ${systemReason(error)}`);
  }
  try {
    const status = fstatSync(fd);
    if (!status.isFile())
      return refused(`is ${status.isDirectory() ? 'a directory' : 'no regular file'}`);
    const bytes = new Uint8Array(MAX_CONFIG_BYTES + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got) {
      got = readSync(fd, bytes, length, bytes.length - length, null);
    }
    if (length > MAX_CONFIG_BYTES) return refused('is larger than 16 MiB');
    const warnings: string[] = [];
    if (status.mode & 0o002) warnings.push('anyone on this host can write this file (chmod o-w)');
    const { text, rest } = decode(bytes.subarray(0, length));
    if (rest.length > 0) {
      const byte = rest[0]!.toString(16).padStart(2, '0');
      return refused(`is not UTF-8 text (byte 0x${byte})`, endOf(text));
    }
    return new ConfigSource(file, text, warnings);
  } catch (error) {
    return refused(`can’t be read: ${systemReason(error)}`);
  } finally {
    closeSync(fd);
  }
}

/** What of it is UTF-8, and what is left from the first byte on that is not. A byte order mark is taken away. */
function decode(bytes: Uint8Array): { text: string; rest: Uint8Array } {
  const decoded = (length: number, whole: boolean) => {
    const decoder = new TextDecoder('utf-8', { fatal: true });
    return decoder.decode(bytes.subarray(0, length), { stream: !whole });
  };
  try {
    return { text: decoded(bytes.length, true), rest: new Uint8Array(0) };
  } catch {
    // So many bytes can be the beginning of a text, and so many can't.
    let [good, bad] = [0, bytes.length + 1];
    while (bad - good > 1) {
      const middle = (good + bad) >> 1;
      try {
        decoded(middle, false);
        good = middle;
      } catch {
        bad = middle;
      }
    }
    const text = decoded(good, false);
    const mark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
    return { text, rest: bytes.subarray(mark + Buffer.byteLength(text)) };
  }
}

/** Where something would stand behind a text. */
function endOf(text: string): Position {
  const lineStart = text.lastIndexOf('\n') + 1;
  return { line: text.split('\n').length, column: text.length - lineStart + 1 };
}

/** The system's reason in words: "no such file or directory". */
function systemReason(error: unknown): string {
  const message = (error as Error).message ?? String(error);
  return /^[A-Z0-9]+: ([^,]+)/.exec(message)?.[1] ?? message;
}
