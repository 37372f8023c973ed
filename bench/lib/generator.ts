/**
 * The generator of the switch rows: one testpmd with two net_virtio_user ports that sends every datagram it receives straight
 * back (5tswap: MAC addresses, IP addresses and UDP ports swapped), so that a fixed number of datagrams is always in flight.
 *
 * The first 512 leave from port 0 alone and are addressed to port 1, so that each frame ever sent carries its
 * port's own addresses. At the end the loop is opened and the datagrams are counted: what was lost shows.
 */
import type { Lab } from './lab.ts';
import { sleep } from './process.ts';
import { Testpmd } from './testpmd.ts';

/** A port of the generator as the switch must know it. */
export interface PortAddress {
  mac: string;
  address: string;
}

export const PORTS: [PortAddress, PortAddress] = [
  { mac: '52:54:00:00:00:10', address: '10.77.0.10' },
  { mac: '52:54:00:00:00:11', address: '10.77.0.11' },
];
export const BASE_MAC = '02:00:0a:4d:00:01';
const BURST = 32;

export interface GeneratorOptions {
  /** vhost-user sockets the switch listens on. */
  sockets: [string, string];
  inOrder?: boolean;
  packed?: boolean;
  /** Mergeable receive buffers; yes unless told. */
  mergeable?: boolean;
  /** 256 sources (10.77.0..255.12) instead of one. */
  multiFlow?: boolean;
}

export interface Measurement {
  /** Datagrams received per second, both ports together. */
  rate: number;
  /** Of those seeded, how many did not come back; 0 unless the switch drops. */
  lost: number;
  /** Datagrams per second that the generator's own work would allow: no switch can be measured above it. */
  ceiling: number;
  foreign: number;
  steal: number;
}

export class Generator {
  readonly testpmd: Testpmd;

  private constructor(testpmd: Testpmd) {
    this.testpmd = testpmd;
  }

  static async start(
    lab: Pick<Lab, 'hugeDirectory' | 'unique' | 'cores'>,
    options: GeneratorOptions,
  ): Promise<Generator> {
    const flags = `packed_vq=${options.packed ? 1 : 0},mrg_rxbuf=${options.mergeable === false ? 0 : 1},in_order=${options.inOrder ? 1 : 0}`;
    const testpmd = await Testpmd.start(lab, {
      name: 'generator',
      core: lab.cores.generator,
      devices: PORTS.map(
        (port, index) =>
          `net_virtio_user${index},mac=${port.mac},path=${options.sockets[index]},queues=1,queue_size=1024,${flags}`,
      ),
      args: [
        '--forward-mode=5tswap',
        '--port-topology=loop',
        '--rxd=1024',
        '--txd=1024',
        '--total-num-mbufs=16384',
        '--record-core-cycles',
        ...PORTS.map((_, index) => `--eth-peer=${index},${BASE_MAC}`),
        `--tx-ip=${PORTS[0].address},${PORTS[1].address}`,
        ...(options.multiFlow ? ['--txonly-multi-flow'] : []),
      ],
    });
    const generator = new Generator(testpmd);
    await generator.untilForwarding();
    return generator;
  }

  /** A switch may take a moment from the last vhost-user message to its first datagram: tries with a handful. */
  private async untilForwarding(): Promise<void> {
    for (let attempt = 0; attempt < 40; attempt++) {
      await this.seed(64, BURST);
      if ((await this.drain(BURST)).remaining >= BURST) return;
    }
    throw new Error('no datagram came back from the switch');
  }

  get pid(): number {
    return this.testpmd.pid;
  }

  /** Puts `count` datagrams of `bytes` bytes (Ethernet frame without checksum) on their way. `count` is a multiple of 32. */
  async seed(bytes: number, count: number): Promise<void> {
    await this.testpmd.command('set portlist 0');
    await this.testpmd.command('set fwd 5tswap');
    await this.testpmd.command(`set burst ${Math.min(BURST, count)}`);
    await this.testpmd.command(`set txpkts ${bytes}`);
    await this.testpmd.command(`start tx_first ${Math.ceil(count / BURST)}`);
    await this.testpmd.command('stop');
    await this.testpmd.command(`set burst ${BURST}`);
    await this.testpmd.command('set portlist 0,1');
    await this.testpmd.command('start');
  }

  /** Datagrams received per second on both ports over `seconds`. */
  async rate(seconds: number): Promise<number> {
    await this.testpmd.counts();
    await sleep(seconds * 1000);
    const counts = await this.testpmd.counts();
    return counts.reduce((sum, port) => sum + port.receivedRate, 0);
  }

  /** Opens the loop and waits until `expected` datagrams have come back, or nothing has arrived for a second. */
  async drain(expected: number): Promise<{ remaining: number; ceiling: number }> {
    const { ceiling } = await this.testpmd.stopForwarding();
    await this.testpmd.command('set fwd rxonly');
    const received = async () =>
      (await this.testpmd.counts()).reduce((sum, port) => sum + port.received, 0);
    const start = await received();
    await this.testpmd.command('start');
    let before = start;
    for (let quiet = 0; quiet < 10; quiet++) {
      const now = await received();
      if (now - start >= expected) break;
      if (now !== before) quiet = 0;
      before = now;
      await sleep(100);
    }
    return { remaining: (await this.testpmd.stopForwarding()).received, ceiling };
  }

  stop(): Promise<void> {
    return this.testpmd.quit();
  }
}
