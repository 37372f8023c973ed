/**
 * A LAN for tests: two network namespaces joined by a veth pair. The daemon runs in one and uses its end as the adapter; a kernel with an
 * ordinary address answers in the other. Needs root; everything is deleted by close().
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from './until.ts';

export const LAN_IP = '10.77.0.200';
export const LAN_ECHO_PORT = 7000;
export const LAN_SINK_PORT = 9999;

const HOST = fileURLToPath(new URL('./lan-host.mjs', import.meta.url));

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Why there can be no LAN here, or ''. */
export const NO_LAN = ((): string => {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces';
  const name = `bw-probe-${process.pid}`;
  try {
    ip('netns', 'add', name);
    ip('netns', 'del', name);
    return '';
  } catch (error) {
    return `needs network namespaces: ${(error as Error).message.split('\n')[0]}`;
  }
})();

let count = 0;

export class Lan {
  /** Namespace in which the daemon runs. */
  readonly inside: string;
  /** Namespace of the host on the LAN. */
  readonly outside: string;
  /** The daemon's interface. */
  readonly interface: string = 'bwup';
  /** What came to the sink port. */
  readonly sunk: { from: string; text: string }[] = [];
  #host: ChildProcess | null = null;
  #ended = false;

  private constructor() {
    const suffix = `${process.pid}-${count++}`;
    this.inside = `bw-in-${suffix}`;
    this.outside = `bw-out-${suffix}`;
  }

  static async start(): Promise<Lan> {
    const lan = new Lan();
    try {
      ip('netns', 'add', lan.inside);
      ip('netns', 'add', lan.outside);
      ip(
        '-n',
        lan.inside,
        'link',
        'add',
        lan.interface,
        'type',
        'veth',
        'peer',
        'name',
        'lan0',
        'netns',
        lan.outside,
      );
      ip('-n', lan.inside, 'link', 'set', lan.interface, 'up');
      ip('-n', lan.inside, 'link', 'set', 'lo', 'up');
      ip('-n', lan.outside, 'addr', 'add', `${LAN_IP}/24`, 'dev', 'lan0');
      ip('-n', lan.outside, 'link', 'set', 'lan0', 'up');
      await lan.#runHost();
    } catch (error) {
      await lan.close();
      throw error;
    }
    return lan;
  }

  async #runHost(): Promise<void> {
    const host = spawn(
      'ip',
      [
        'netns',
        'exec',
        this.outside,
        process.execPath,
        HOST,
        `${LAN_ECHO_PORT}`,
        `${LAN_SINK_PORT}`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    this.#host = host;
    host.on('exit', () => {
      this.#ended = true;
    });
    let ready = false;
    let rest = '';
    host.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const entry = JSON.parse(line) as { ready?: boolean; from: string; text: string };
        if (entry.ready) ready = true;
        else this.sunk.push(entry);
      }
    });
    await until('the LAN host', () => ready);
  }

  /** The command under which the daemon runs in its namespace. */
  get under(): string[] {
    return ['ip', 'netns', 'exec', this.inside];
  }

  /** `ip link set` of the daemon's interface. */
  setLink(...words: string[]): void {
    ip('-n', this.inside, 'link', 'set', this.interface, ...words);
  }

  /** One more address of the host on the LAN. */
  addAddress(address: string): void {
    ip('-n', this.outside, 'addr', 'add', `${address}/24`, 'dev', 'lan0');
  }

  deleteLink(): void {
    ip('-n', this.inside, 'link', 'del', this.interface);
  }

  async close(): Promise<void> {
    if (this.#host !== null) {
      if (!this.#ended) this.#host.kill('SIGKILL');
      await until('the LAN host to be gone', () => this.#ended);
    }
    for (const name of [this.inside, this.outside]) {
      try {
        ip('netns', 'del', name);
      } catch {
        // was never made
      }
    }
  }
}
