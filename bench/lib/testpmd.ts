/**
 * DPDK's testpmd behind its interactive console: as generator (front-end of vhost-user sockets), and as the peer that forwards
 * between vhost-user sockets (net_vhost) or to a packet socket (net_af_packet).
 */
import type { Lab } from './lab.ts';
import { Child, sleep } from './process.ts';

const PROMPT = 'testpmd> ';

export interface TestpmdOptions {
  name: string;
  core: number;
  /** --vdev arguments. */
  devices: string[];
  /** Arguments behind "--". */
  args: string[];
  namespace?: string;
  mebibytes?: number;
}

/** Counts of one port since it was started. */
export interface PortCounts {
  received: number;
  sent: number;
  /** Per second, by testpmd's own clock, since the last time the counts were shown. */
  receivedRate: number;
  sentRate: number;
}

export class Testpmd {
  readonly child: Child;
  private mark = 0;

  private constructor(child: Child) {
    this.child = child;
  }

  static async start(
    lab: Pick<Lab, 'hugeDirectory' | 'unique'>,
    options: TestpmdOptions,
  ): Promise<Testpmd> {
    const memory = String(options.mebibytes ?? 256);
    const hugepages = lab.hugeDirectory
      ? ['--huge-dir', lab.hugeDirectory, '--single-file-segments', '-m', memory]
      : ['--no-huge', '-m', memory];
    const child = new Child(
      options.name,
      'stdbuf',
      [
        '-oL',
        'dpdk-testpmd',
        '--no-pci',
        '--no-telemetry',
        `--file-prefix=${lab.unique}${options.name}`,
        ...hugepages,
        '--lcores',
        `0@${options.core},1@${options.core}`,
        ...options.devices.flatMap((device) => ['--vdev', device]),
        '--',
        '--interactive',
        '--nb-cores=1',
        '--no-flush-rx',
        ...options.args,
      ],
      { core: options.core, ...(options.namespace ? { namespace: options.namespace } : {}) },
    );
    const testpmd = new Testpmd(child);
    await testpmd.prompt('start');
    return testpmd;
  }

  get pid(): number {
    return this.child.pid;
  }

  /** Types a command and waits until the prompt is back; what was printed in between. */
  async command(text: string): Promise<string> {
    const start = this.child.printed.length;
    this.child.write(`${text}\n`);
    await this.prompt(text);
    return this.child.printed.slice(start);
  }

  private async prompt(what: string): Promise<void> {
    this.mark = await this.child.until(() => {
      const at = this.child.printed.indexOf(PROMPT, this.mark);
      return at < 0 ? null : at + PROMPT.length;
    }, `the prompt after "${what}"`);
  }

  /** Counts of every port, in order. */
  async counts(): Promise<PortCounts[]> {
    const text = await this.command('show port stats all');
    const numbers = (name: string) =>
      [...text.matchAll(new RegExp(`${name}:\\s+(\\d+)`, 'g'))].map((match) => Number(match[1]));
    const received = numbers('RX-packets');
    const sent = numbers('TX-packets');
    const receivedRate = numbers('Rx-pps');
    const sentRate = numbers('Tx-pps');
    return received.map((count, port) => ({
      received: count,
      sent: sent[port] ?? 0,
      receivedRate: receivedRate[port] ?? 0,
      sentRate: sentRate[port] ?? 0,
    }));
  }

  /**
   * Ends forwarding; accumulated packets received, sent, and lost at a full ring, and how many a second its own work would allow
   * (with --record-core-cycles; 0 otherwise).
   */
  async stopForwarding(): Promise<{
    received: number;
    sent: number;
    unsent: number;
    ceiling: number;
  }> {
    const text = await this.command('stop');
    const total = text.slice(text.indexOf('Accumulated'));
    const read = (pattern: RegExp) => Number(pattern.exec(total)?.[1] ?? 0);
    const [, cycles, megahertz] = /CPU cycles\/packet=([\d.]+).* at (\d+) MHz/.exec(text) ?? [];
    return {
      received: read(/RX-packets:\s+(\d+)/),
      sent: read(/TX-packets:\s+(\d+)/),
      unsent: read(/TX-dropped:\s+(\d+)/),
      ceiling: Number(cycles) > 0 ? (Number(megahertz) * 1e6) / Number(cycles) : 0,
    };
  }

  async quit(): Promise<void> {
    if (this.child.running) {
      this.child.write('stop\nquit\n');
      await Promise.race([
        this.child.until((o) => (o.includes('Bye...') ? true : null), 'Bye', 5),
        sleep(5000),
      ]).catch(() => {});
    }
    await this.child.stop('SIGTERM', 2);
  }
}
