/**
 * A configuration file as text and as values that know where they stand: read once, bounded, never followed into
 * something that is no file.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type Document,
  visit,
} from 'yaml';

/** Larger files are refused unread. A hundred thousand addresses take two. */
export const MAX_CONFIG_BYTES = 16 * 1024 * 1024;

/** How often aliases may expand into collections; stops "billion laughs". */
const MAX_ALIASES = 100;

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
  /** The file's values as plain data; undefined when the text could not be parsed at all. */
  readonly raw: unknown;
  /** What the text itself has wrong: syntax, duplicate keys, too many aliases. */
  readonly complaints: Complaint[] = [];
  /** Worth saying, but not wrong. */
  readonly warnings: string[];
  readonly #lines = new LineCounter();
  readonly #document: Document | null = null;

  /** Takes the text as if it stood in `file`. */
  constructor(file: string, text: string, warnings: string[] = []) {
    this.file = file;
    this.warnings = warnings;
    try {
      const document = parseDocument(text, {
        lineCounter: this.#lines,
        prettyErrors: false,
        logLevel: 'error',
        // Checked by findDuplicates: the library's own check takes quadratic time.
        uniqueKeys: false,
        version: '1.2',
      });
      for (const problem of [...document.errors, ...document.warnings]) {
        const text = problem.message.replace(/\s+/g, ' ');
        this.complaints.push({ ...this.#place(problem.pos[0]), path: [], text });
      }
      this.#document = document;
      this.#findDuplicates(document);
      this.raw = document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (error) {
      // A RangeError is the parser's stack, exhausted by nesting; a ReferenceError comes from aliases.
      const why =
        error instanceof RangeError
          ? 'nested too deeply'
          : (error as Error).message.split('\n', 1)[0];
      this.complaints.push({ line: 1, column: 1, path: [], text: `is not usable as YAML: ${why}` });
      this.raw = undefined;
    }
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

  #resolve(node: unknown): Node | undefined {
    const target = isAlias(node) && this.#document ? node.resolve(this.#document) : node;
    return (target ?? undefined) as Node | undefined;
  }

  #place(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  #findDuplicates(document: Document): void {
    visit(document, {
      Map: (_key, map) => {
        const seen = new Map<string, number>();
        for (const pair of map.items) {
          const name = keyText(pair.key);
          const offset = (pair.key as Node | null)?.range?.[0] ?? 0;
          const first = seen.get(name);
          if (first === undefined) seen.set(name, offset);
          else {
            const text = `key "${name}" is given twice (first in line ${this.#place(first).line}): remove one`;
            this.complaints.push({ ...this.#place(offset), path: [], text });
          }
        }
      },
    });
  }
}

function keyText(key: unknown): string {
  const value = isScalar(key) ? key.value : key;
  return value === null ? '' : String(value);
}

/** Reads a configuration file. Whatever is wrong with it is a complaint of the result; nothing is thrown. */
export function readConfig(file: string): ConfigSource {
  const refused = (text: string) => {
    const source = new ConfigSource(file, '');
    source.complaints.push({ line: 1, column: 1, path: [], text });
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
    // The decoder takes a byte order mark away.
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length));
    return new ConfigSource(file, text, warnings);
  } catch (error) {
    if (error instanceof TypeError) return refused('is not UTF-8 text');
    return refused(`can’t be read: ${systemReason(error)}`);
  } finally {
    closeSync(fd);
  }
}

/** The system's reason in words: "no such file or directory". */
export function systemReason(error: unknown): string {
  const message = (error as Error).message ?? String(error);
  return /^[A-Z0-9]+: ([^,]+)/.exec(message)?.[1] ?? message;
}
