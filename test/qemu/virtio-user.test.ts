// A second real front-end: DPDK's net_virtio_user. Two of its ports send each other's datagrams
// back and forth through the base until a million have passed; none may be lost.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { Generator, PORTS } from '../../bench/lib/generator.ts';
import { killChildren } from '../../bench/lib/process.ts';
import { until } from '../../qemu/wait.ts';
import { Daemon, type VmStatus } from '../support/daemon.ts';
import { BOTH_FORMATS } from '../support/formats.ts';
import { balanced } from './books.ts';
import { suite } from './suite.ts';

const MILLION = 1_000_000;
const IN_FLIGHT = 256;
const BYTES = 64;
// Ordinary pages and no core of its own: this test is about loss, not speed.
const PLACE = {
  hugeDirectory: null,
  unique: `bwt${process.pid}`,
  cores: { generator: 0, switch: 1 },
};

suite("DPDK's virtio-user as front-end", ['dpdk', 'root'], (can) => {
  let daemon: Daemon;

  beforeAll(async () => {
    if (!can) return;
    const [left, right] = PORTS;
    daemon = await Daemon.start({
      networks: BOTH_FORMATS.networks!,
      vms: {
        left: { addresses: [left.address], mac: left.mac },
        right: { addresses: [right.address], mac: right.mac },
      },
    });
  });

  afterAll(async () => {
    killChildren();
    await daemon?.stop();
  });

  const CASES = [false, true].flatMap((packed) =>
    [false, true].flatMap((inOrder) =>
      [false, true].map((mergeable) => ({ packed, inOrder, mergeable })),
    ),
  );
  for (const features of CASES) {
    const [packed, inOrder, mergeable] = Object.values(features).map(Number);
    const name = `packed_vq=${packed}, in_order=${inOrder}, mrg_rxbuf=${mergeable}`;
    test(`a million datagrams pass two ports without loss, ${name}`, async () => {
      const sockets: [string, string] = [daemon.socket('left'), daemon.socket('right')];
      const generator = await Generator.start(PLACE, { sockets, ...features });
      const before = await delivered();
      await generator.seed(BYTES, IN_FLIGHT);
      await until(
        'a million datagrams',
        100_000,
        async () => (await delivered()) - before > MILLION,
        200,
      );
      const { remaining } = await generator.drain(IN_FLIGHT);
      expect(remaining).toBe(IN_FLIGHT);
      await balanced(daemon);
      for (const port of await ports()) {
        expect(dropped(port)).toEqual([]);
        expect(port.rings.map(({ format }) => format)).toEqual(
          port.rings.map(() => (features.packed ? 'packed' : 'split')),
        );
      }
      await generator.stop();
      for (const name of ['left', 'right']) await daemon.untilState(name, 'waiting', 10_000);
    });
  }

  async function ports(): Promise<(VmStatus & { rings: { format: string }[] })[]> {
    return Object.values((await daemon.status()).vms) as never;
  }

  async function delivered(): Promise<number> {
    return (await ports()).reduce((sum, port) => sum + port.input.datagrams, 0);
  }

  /** Drops with their counts; what was sent before both ports ran does not count as a loss. */
  function dropped(port: VmStatus): [string, number][] {
    return Object.entries(port.drops).filter(
      ([reason, count]) => count > 0 && reason !== 'receiverNotRunning',
    );
  }
});
