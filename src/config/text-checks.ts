/**
 * What a YAML text has wrong although its syntax is right: nesting without end, aliases that lead nowhere or stand for too much, keys that are
 * not what stands there. One walk over the nodes, whose depth is bounded.
 */
import { type Document, isAlias, isMap, isScalar, isSeq, type Node, type YAMLMap } from 'yaml';

/** A configuration has six levels. */
const MAX_DEPTH = 100;
/** Values that all aliases together may stand for; stops "billion laughs". */
const MAX_ALIASED = 10_000;

export interface Problem {
  /** In the text. */
  offset: number;
  text: string;
  /** The values of the text are not to be had, or would be guesses. */
  fatal: boolean;
}

interface Anchor {
  node: Node;
  /** Values it stands for. */
  size: number;
  /** We are inside of it. */
  open: boolean;
}

/** All problems, which node each alias stands for, and in which mappings a merge key (<<) was refused. */
export class TextChecks {
  readonly problems: Problem[] = [];
  readonly targets = new Map<Node, Node>();
  readonly merging = new Set<Node>();
  readonly #lineOf: (offset: number) => number;
  readonly #anchors = new Map<string, Anchor>();
  #aliased = 0;
  #tooDeep = false;

  constructor(document: Document, lineOf: (offset: number) => number) {
    this.#lineOf = lineOf;
    this.#walk(document.contents as Node | null, 0);
  }

  #complain(offset: number, text: string, fatal: boolean): void {
    this.problems.push({ offset, text, fatal });
  }

  /** How many values a node is, with all that is in it. */
  #walk(node: unknown, depth: number): number {
    if (isAlias(node)) return this.#alias(node);
    if (depth > MAX_DEPTH) {
      if (!this.#tooDeep) this.#complain(startOf(node), TOO_DEEP, true);
      this.#tooDeep = true;
      return 1;
    }
    const anchor: Anchor = { node: node as Node, size: 1, open: true };
    const name = (node as { anchor?: string } | null)?.anchor;
    if (name !== undefined) this.#anchors.set(name, anchor);
    if (isMap(node)) anchor.size += this.#pairs(node, depth);
    if (isSeq(node)) for (const item of node.items) anchor.size += this.#walk(item, depth + 1);
    anchor.open = false;
    return anchor.size;
  }

  #alias(alias: Node & { source: string }): number {
    const anchor = this.#anchors.get(alias.source);
    const offset = startOf(alias);
    const name = `*${alias.source}`;
    if (anchor === undefined) {
      this.#complain(offset, `there is no anchor &${alias.source} before ${name}`, true);
      return 1;
    }
    if (anchor.open) {
      this.#complain(offset, `${name} stands inside of what it stands for: write it out`, true);
      return 1;
    }
    this.targets.set(alias, anchor.node);
    const before = this.#aliased;
    this.#aliased += anchor.size;
    if (before <= MAX_ALIASED && this.#aliased > MAX_ALIASED) {
      const text = `with ${name} the aliases stand for more than ${MAX_ALIASED} values: write less of them`;
      this.#complain(offset, text, true);
    }
    return anchor.size;
  }

  #pairs(map: YAMLMap, depth: number): number {
    const seen = new Map<string, number>();
    let size = 0;
    for (const { key, value } of map.items) {
      const offset = startOf(key);
      const trouble = keyTrouble(key);
      if (trouble === MERGE_KEY) this.merging.add(map);
      if (trouble !== '') this.#complain(offset, trouble, !isScalar(key));
      else this.#once(keyText(key), offset, seen);
      size += this.#walk(key, depth + 1) + this.#walk(value, depth + 1);
    }
    return size;
  }

  #once(name: string, offset: number, seen: Map<string, number>): void {
    const first = seen.get(name);
    if (first === undefined) {
      seen.set(name, offset);
      return;
    }
    const text = `key "${name}" is given twice (first in line ${this.#lineOf(first)}): remove one`;
    this.#complain(offset, text, false);
  }
}

export const TOO_DEEP = 'is nested too deeply';

const MERGE_KEY = 'YAML 1.2 has no merge key <<: write out what it stands for';

/** Why a key is not what stands there; '' when it is. */
function keyTrouble(key: unknown): string {
  if (isAlias(key)) return `*${key.source} can’t be a key: write it out`;
  if (!isScalar(key)) return 'a key must be text';
  const { value, source } = key;
  if (value === null && !source) return 'a key is missing';
  if (source === '<<' && key.type === 'PLAIN') return MERGE_KEY;
  if (keyText(key) === source || typeof value === 'string') return '';
  const kind = value === null ? 'as nothing' : `as ${kindOf(value)}${String(value)}`;
  return `key ${source} is read ${kind}: put it in quotes`;
}

function kindOf(value: unknown): string {
  return typeof value === 'number' || typeof value === 'bigint' ? 'the number ' : '';
}

/** A key as it is found in the values. */
export function keyText(key: unknown): string {
  const value = isScalar(key) ? key.value : key;
  return value === null ? '' : String(value);
}

function startOf(node: unknown): number {
  return (node as Node | null)?.range?.[0] ?? 0;
}
