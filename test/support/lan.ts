/**
 * A LAN for tests: two network namespaces joined by a veth pair. The daemon runs in one and uses its end as the adapter; a kernel with an
 * ordinary address answers in the other. Needs root; everything is deleted by close().
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { NetHeader } from './net-header.ts';
import { until } from './until.ts';
import type { Order } from './wire-sender.ts';

/** The daemon's interface. */
export const LAN_INTERFACE = 'bw0';
export const LAN_IP = '10.77.0.200';
export const LAN_ECHO_PORT = 7000;
export const LAN_SINK_PORT = 9999;

const HOST = fileURLToPath(new URL('./lan-host.mjs', import.meta.url));

function ip(...words: string[]): string {
  return execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
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

const COALESCED_SENDER = `
import socket, sys
UDP_SEGMENT = 103
address, port, size = sys.argv[1:]
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, int(size))
sender.sendto(sys.stdin.buffer.read(), (address, int(port)))
`;

export class Lan {
  /** Namespace in which the daemon runs. */
  readonly inside: string;
  /** Namespace of the host on the LAN. */
  readonly outside: string;
  /** The daemon's interface. */
  readonly interface = LAN_INTERFACE;
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
      ip('-n', lan.inside, 'link', 'set', 'lo', 'up');
      lan.plug();
      await lan.#carries();
      await lan.#runHost();
      // The kernel says so a moment later, up to a second where other links change all the time.
      await until('the link to be up', () =>
        lan.ipInside('-oneline', 'link', 'show', lan.interface).includes('state UP'),
      );
    } catch (error) {
      await lan.close();
      throw error;
    }
    return lan;
  }

  /** A busy kernel lays the cable a moment later (linkwatch): until then it drops what is sent, without a word. */
  async #carries(): Promise<void> {
    const isUp = (namespace: string, name: string): boolean =>
      / UP /.test(ip('-n', namespace, '-br', 'link', 'show', name));
    await until(
      'the cable to carry',
      () => isUp(this.inside, this.interface) && isUp(this.outside, 'lan0'),
    );
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
      { stdio: ['pipe', 'pipe', 'inherit'] },
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

  /** Lays the cable; both ends up. */
  plug(): void {
    const peer = ['peer', 'name', 'lan0', 'netns', this.outside];
    ip('-n', this.inside, 'link', 'add', this.interface, 'type', 'veth', ...peer);
    ip('-n', this.outside, 'addr', 'add', `${LAN_IP}/24`, 'dev', 'lan0');
    ip('-n', this.outside, 'link', 'set', 'lan0', 'up');
    ip('-n', this.inside, 'link', 'set', this.interface, 'up');
  }

  /** Takes the cable away. */
  unplug(): void {
    ip('-n', this.inside, 'link', 'del', this.interface);
  }

  /** `ip link set` of the daemon's interface. */
  setLink(...words: string[]): void {
    ip('-n', this.inside, 'link', 'set', this.interface, ...words);
  }

  /** `ip` where the daemon's interface is; what it printed. */
  ipInside(...words: string[]): string {
    return ip('-n', this.inside, ...words);
  }

  /** `ip` where the host on the LAN is; what it printed. */
  ipOutside(...words: string[]): string {
    return ip('-n', this.outside, ...words);
  }

  /** One more address of the host on the LAN. */
  addAddress(address: string): void {
    this.ipOutside('addr', 'add', `${address}/24`, 'dev', 'lan0');
  }

  /** The host on the LAN knows the MAC of an address and never asks for it. */
  know(address: string, mac: string): void {
    this.ipOutside('neigh', 'replace', address, 'lladdr', mac, 'nud', 'permanent', 'dev', 'lan0');
  }

  /** Has the host on the LAN send a datagram of text. */
  send(address: string, port: number, text: string, ttl = 64): void {
    this.#host!.stdin!.write(`${JSON.stringify({ address, port, text, ttl })}\n`);
  }

  /**
   * Has the host on the LAN send UDP datagrams of `size` bytes in one frame, which nobody cuts on this cable (udp(7), UDP_SEGMENT): what an
   * interface with UDP GRO makes of datagrams that come in a row.
   */
  sendCoalesced(address: string, port: number, payload: Buffer, size: number): void {
    const words = ['-c', COALESCED_SENDER, address, `${port}`, `${size}`];
    execFileSync('ip', ['netns', 'exec', this.outside, 'python3', ...words], { input: payload });
  }

  /** Whether the host on the LAN looks for the path's MTU, and so forbids to fragment what it sends from now on. */
  setPathDiscovery(on: boolean): void {
    const set = `echo ${on ? 0 : 1} >/proc/sys/net/ipv4/ip_no_pmtu_disc`;
    ip('netns', 'exec', this.outside, 'sh', '-c', set);
  }

  /** Bytes of all IP datagrams that the far end's kernel has received. */
  octetsReceived(): number {
    const text = ip('netns', 'exec', this.outside, 'cat', '/proc/net/netstat');
    const [names, values] = text.split('\n').filter((line) => line.startsWith('IpExt:'));
    return Number(values!.split(' ')[names!.split(' ').indexOf('InOctets')]);
  }

  /** How many good ICMP messages of a type the kernel of the host on the LAN has taken. */
  icmpReceived(type: number): number {
    const text = ip('netns', 'exec', this.outside, 'cat', '/proc/net/snmp');
    const [names, values] = text
      .split('\n')
      .filter((line) => line.startsWith('IcmpMsg:'))
      .map((line) => line.split(' '));
    return Number(values?.[names.indexOf(`InType${type}`)] ?? 0);
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

const SENDER = fileURLToPath(new URL('./wire-sender.ts', import.meta.url));

/** A packet socket at the LAN's end of the cable: what no honest IP stack would send. */
export class Wire {
  readonly #child: ChildProcess;
  #done = 0;
  #said = '';
  #ended = false;

  private constructor(lan: Lan) {
    const command = [process.execPath, '--import', 'tsx', SENDER, 'lan0'];
    this.#child = spawn('ip', ['netns', 'exec', lan.outside, ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.on('exit', () => {
      this.#ended = true;
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text;
      });
  }

  static async open(lan: Lan): Promise<Wire> {
    const wire = new Wire(lan);
    await wire.#until('ready', 60_000);
    return wire;
  }

  async #until(word: string, milliseconds?: number): Promise<void> {
    await until(
      `the wire to be ${word}`,
      () => {
        if (this.#ended) throw new Error(`the wire's sender ended: ${this.#said}`);
        return this.#said.split('\n').filter((line) => line === word).length > this.#done;
      },
      milliseconds,
    );
  }

  /** Resolves when all have left. */
  async send(frame: Buffer, header: Partial<NetHeader> = {}, times = 1): Promise<void> {
    const order: Order = { frame: frame.toString('hex'), header, times };
    this.#child.stdin!.write(`${JSON.stringify(order)}\n`);
    await this.#until('done', 60_000);
    this.#done++;
  }

  async close(): Promise<void> {
    if (!this.#ended) this.#child.kill('SIGKILL');
    await until('the wire to be closed', () => this.#ended);
  }
}
