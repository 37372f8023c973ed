// Drives a guest over its serial lines. Line 0 is the guest's console (kernel log, a login shell
// for people); line 1 is an agent that runs one script at a time and reports its output and
// status between marks (qemu/guest/files/agent), so kernel messages never mix with output.

import { EventEmitter } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { within } from './wait.ts';

/** What a command in the guest gave: both its streams, and its exit status. */
export interface Result {
  output: string;
  status: number;
}

const KEPT = 256 * 1024;
/** The guest's terminal takes at most this much at a time. */
const LONGEST_LINE = 3500;

/** One serial line: we listen, QEMU connects. Keeps the last 256 KiB that came. */
export class SerialLine extends EventEmitter<{ data: [string]; open: [] }> {
  readonly path: string;
  readonly #server: Server;
  #socket: Socket | undefined;
  kept = '';

  constructor(path: string) {
    super();
    this.path = path;
    this.#server = createServer((socket) => {
      this.#socket = socket;
      socket.setEncoding('utf8');
      socket.on('data', (data) => {
        this.kept = (this.kept + String(data)).slice(-KEPT);
        this.emit('data', String(data));
      });
      socket.on('error', () => {});
      this.emit('open');
    });
  }

  /** Resolves when QEMU may be started. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.path, resolve);
    });
  }

  write(text: string): void {
    this.#socket?.write(text);
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }
}

/** The agent on line 1. */
export class Agent {
  readonly #line: SerialLine;
  readonly #name: string;
  #buffer = '';
  #boots = 0;
  #waiting: { boots: number; resolve: () => void }[] = [];
  #running: { id: number; done: (result: Result) => void; fail: (e: Error) => void } | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #lastId = 0;

  constructor(name: string, line: SerialLine) {
    this.#name = name;
    this.#line = line;
    line.on('data', (text) => this.#take(text));
  }

  /** How often the guest has come up since QEMU started. */
  get boots(): number {
    return this.#boots;
  }

  /** Resolves when the guest has come up `boots` times. */
  booted(boots = 1, deadline = 120_000): Promise<void> {
    if (this.#boots >= boots) return Promise.resolve();
    const up = new Promise<void>((resolve) => this.#waiting.push({ boots, resolve }));
    return within(`${this.#name} to boot`, deadline, up);
  }

  /**
   * Runs a shell script in the guest, after those asked for before it. What it leaves in the
   * background must not hold the output open.
   * @param limit seconds until the guest ends it (its status is then 143)
   */
  run(script: string, limit = 30): Promise<Result> {
    const next = this.#queue.then(() => this.#runNow(script, limit));
    this.#queue = next.catch(() => {});
    return next;
  }

  async #runNow(script: string, limit: number): Promise<Result> {
    const id = ++this.#lastId;
    const line = `RUN ${id} ${limit} ${Buffer.from(script).toString('base64')}\n`;
    if (line.length > LONGEST_LINE) throw new Error(`script too long: ${line.length} characters`);
    const result = new Promise<Result>((done, fail) => {
      this.#running = { id, done, fail };
    });
    this.#line.write(line);
    try {
      // The guest enforces the limit; ours is for a guest that answers no more.
      return await within(`${this.#name} to run: ${script}`, limit * 1000 + 20_000, result);
    } finally {
      this.#running = undefined;
    }
  }

  #take(text: string): void {
    this.#buffer += text;
    for (;;) {
      const ready = /@basewire@ READY \S*\r?\n/.exec(this.#buffer);
      const end = /\r?\n@basewire@ END (\d+) (\d+)\r?\n/.exec(this.#buffer);
      if (ready && (!end || ready.index < end.index)) {
        this.#buffer = this.#buffer.slice(ready.index + ready[0].length);
        this.#ready();
      } else if (end) {
        const before = this.#buffer.slice(0, end.index);
        this.#buffer = this.#buffer.slice(end.index + end[0].length);
        this.#end(Number(end[1]), Number(end[2]), before);
      } else return;
    }
  }

  #ready(): void {
    this.#boots++;
    this.#running?.fail(new Error(`${this.#name} restarted in the middle of a command`));
    const due = this.#waiting.filter((one) => one.boots <= this.#boots);
    this.#waiting = this.#waiting.filter((one) => one.boots > this.#boots);
    for (const one of due) one.resolve();
  }

  #end(id: number, status: number, before: string): void {
    if (this.#running?.id !== id) return;
    const mark = `@basewire@ BEGIN ${id}\n`;
    const start = before.lastIndexOf(mark);
    this.#running.done({ output: before.slice(start + mark.length), status });
  }
}
