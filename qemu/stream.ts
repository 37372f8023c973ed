// One TCP connection between two guests that carries numbered random data for as long as a test
// wants, across whatever happens meanwhile. Both ends compute a sha256 over the whole of it: a byte
// that was lost, repeated or changed makes them differ.

import { DIGEST_PORT } from './transfer.ts';
import type { Vm } from './vm.ts';

/** Sent between two pauses. */
const PIECE = 64 * 1024;

let begun = 0;

/** How a stream ended. */
export interface Streamed {
  /** Sent, in pieces of 64 KiB. */
  pieces: number;
  /** sha256 at the sender, and at the receiver. */
  sent: string;
  received: string;
}

/** A transfer under way in a guest. */
export class Stream {
  #vm: Vm;
  readonly #folder: string;
  readonly #to: string;

  private constructor(vm: Vm, to: string) {
    this.#vm = vm;
    this.#to = to;
    this.#folder = `/run/stream${++begun}`;
  }

  /** Begins to send from a guest to a name, with `pause` seconds after each 64 KiB. */
  static async begin(vm: Vm, to: string, pause = 0.05): Promise<Stream> {
    const stream = new Stream(vm, to);
    const random = `[ -s /srv/pieces ] || dd if=/dev/urandom of=/srv/pieces bs=${PIECE} count=16`;
    const piece = `dd if=/srv/pieces bs=${PIECE} count=1 skip=$((i % 16)) 2>/dev/null`;
    const source = [
      'i=0',
      'while [ ! -e stop ]; do',
      'if [ -e pause ]; then sleep 0.1; continue; fi',
      `i=$((i + 1)); echo "piece $i"; ${piece}; echo $i >count.new; mv count.new count; sleep ${pause}`,
      'done',
    ].join('\n');
    const send = `sh source | tee pipe | nc ${to} ${DIGEST_PORT} >answer 2>&1; echo "status $?" >>answer`;
    await vm.ok(
      [
        `mkdir -p ${stream.#folder} && cd ${stream.#folder}`,
        `${random} 2>/dev/null`,
        `cat >source <<'END'\n${source}\nEND`,
        'mkfifo pipe && echo 0 >count && : >answer',
        '(sha256sum <pipe >sum) </dev/null >/dev/null 2>&1 &',
        `(${send}) </dev/null >/dev/null 2>&1 &`,
      ].join('\n'),
    );
    return stream;
  }

  /** The sending guest goes on under another QEMU. */
  moved(vm: Vm): void {
    this.#vm = vm;
  }

  /** Resolves when `count` more pieces have left the sending program. */
  async flows(count = 8, limit = 100): Promise<void> {
    const wait = `while [ ! -s answer ] && [ "$(cat count)" -lt $to ]; do sleep 0.1; done`;
    const script = `cd ${this.#folder}; to=$(($(cat count) + ${count})); ${wait}; cat answer`;
    const answer = await this.#vm.ok(script, limit);
    if (answer !== '') throw new Error(`the stream to ${this.#to} ended: ${answer}`);
  }

  /** Resolves when nothing more leaves the sending program: it is paused, or the receiver does not read. */
  async stands(limit = 60): Promise<void> {
    const look = 'last=; until [ "$(cat count)" = "$last" ]; do last=$(cat count); sleep 1; done';
    await this.#vm.ok(`cd ${this.#folder}; ${look}`, limit);
  }

  /** Sends nothing until `resume`; resolves when that is so. */
  async pause(): Promise<void> {
    await this.#vm.ok(`touch ${this.#folder}/pause`);
    await this.stands();
  }

  async resume(): Promise<void> {
    await this.#vm.ok(`rm ${this.#folder}/pause`);
  }

  /** Ends it; @returns what both ends say of it */
  async end(limit = 100): Promise<Streamed> {
    const wait = 'touch stop; until grep -q ^status answer && [ -s sum ]; do sleep 0.2; done';
    const text = await this.#vm.ok(
      `cd ${this.#folder}; ${wait}; cat answer count sum; cd /; rm -r ${this.#folder}`,
      limit,
    );
    const [received = '', status, pieces, sent = ''] = text.split('\n');
    if (status !== 'status 0') throw new Error(`the stream to ${this.#to} broke: ${text}`);
    const sum = (line: string): string => line.split(' ')[0] ?? '';
    return { pieces: Number(pieces), sent: sum(sent), received: sum(received) };
  }
}
