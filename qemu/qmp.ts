// QEMU's monitor protocol (QMP): JSON objects, one per line, over a Unix socket. We listen, QEMU
// connects.

import { createServer, type Server, type Socket } from 'node:net';
import { within } from './wait.ts';

interface Message {
  QMP?: unknown;
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
  data?: unknown;
}

interface Waiting {
  done: (value: unknown) => void;
  fail: (error: Error) => void;
}

/** The monitor of one QEMU. */
export class Qmp {
  readonly path: string;
  /** Resolves when commands may be given. */
  readonly ready: Promise<void>;
  /** Names of the events that came, oldest first. */
  readonly events: string[] = [];
  readonly #server: Server;
  readonly #waiting = new Map<number, Waiting>();
  #socket: Socket | undefined;
  #rest = '';
  #lastId = 0;
  #becomeReady: () => void = () => {};

  constructor(path: string) {
    this.path = path;
    this.ready = new Promise((resolve) => {
      this.#becomeReady = resolve;
    });
    this.#server = createServer((socket) => {
      this.#socket = socket;
      socket.setEncoding('utf8');
      socket.on('data', (data) => this.#take(String(data)));
      socket.on('error', () => {});
      socket.on('close', () => this.#fail());
    });
  }

  /** Resolves when QEMU may be started. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.path, resolve);
    });
  }

  /** Gives a command; @returns what QEMU returns @throws with QEMU's own words */
  execute(command: string, args: object = {}, deadline = 30_000): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = new Promise<unknown>((done, fail) => this.#waiting.set(id, { done, fail }));
    this.#socket?.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return within(`QMP ${command}`, deadline, answer);
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.#message(JSON.parse(line) as Message);
  }

  #message(message: Message): void {
    if (message.QMP !== undefined) {
      this.execute('qmp_capabilities').then(this.#becomeReady, () => {});
    } else if (message.event !== undefined) {
      this.events.push(message.event);
    } else if (message.id !== undefined) {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) waiting?.fail(new Error(message.error.desc));
      else waiting?.done(message.return);
    }
  }

  #fail(): void {
    for (const waiting of this.#waiting.values())
      waiting.fail(new Error('QEMU closed its monitor'));
    this.#waiting.clear();
  }
}
