// Guests with several queue pairs, which they enable and disable while datagrams flow.

import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { Site } from '../../qemu/site.ts';
import { Stream } from '../../qemu/stream.ts';
import { randomData, sendData } from '../../qemu/transfer.ts';
import type { Vm } from '../../qemu/vm.ts';
import { until } from '../../qemu/wait.ts';
import { LONG } from '../support/random.ts';
import { balanced } from './books.ts';
import { type Need, suite } from './suite.ts';

const PAIRS = 4;
/** How many pairs the guest uses, one after the other. */
const STEPS = LONG
  ? Array.from({ length: 40 }, (_, i) => 1 + ((i * 3 + 1) % PAIRS))
  : [4, 1, 3, 2, 4];
const MEGABYTES = 5;
const PINGS = 4;
const CGROUP = '/sys/fs/cgroup';
/** Of a flow of its own, in 64 KiB. */
const PIECES = LONG ? 48 : 12;

const ANSWERS = 'answers come on the pair that asked';
const EVERY_RING = 'with all pairs, every output ring of the guest carries datagrams';
/** The tests that look at the driver's counts of each queue. */
const COUNTED = [ANSWERS, EVERY_RING];

queues('several queue pairs', ['guests'], systemQemu());
if (LONG) queues('several queue pairs, newer QEMU', ['guests', 'newerQemu'], newerQemu());

interface RingStatus {
  index: number;
  started: boolean;
  enabled: boolean;
}

function queues(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;

    beforeAll(async () => {
      if (!can || !qemu) return;
      site = await Site.start({
        qemu,
        guests: {
          // Four processors, or the driver would use one pair only.
          wide: { number: 11, queues: PAIRS, arguments: ['-smp', `${PAIRS}`] },
          narrow: { number: 12 },
        },
      });
      await site.boot();
    }, 300_000);

    afterAll(async () => {
      await site?.stop();
    });

    afterEach(async () => {
      if (can) await balanced(site.daemon);
    });

    function phase(name: string, body: () => Promise<void>): void {
      test(name, { timeout: 300_000 }, async (context) => {
        onTestFailed(() => {
          process.stderr.write(`${site.transcript()}\n`);
        });
        const { status } = await site.vm('wide').run('command -v ethtool');
        if (status !== 0) context.skip('no ethtool in the guests (no package could be had)');
        if (COUNTED.includes(name) && !(await countsPackets())) {
          context.skip('the driver tells ethtool no packets of each queue (as in Linux 6.12)');
        }
        await body();
      });
    }

    phase(`all ${PAIRS} pairs are there`, async () => {
      const { queuePairs, rings } = await site.daemon.vm('wide');
      expect((rings as RingStatus[]).filter((ring) => ring.started)).toHaveLength(2 * PAIRS);
      expect(queuePairs).toBeGreaterThanOrEqual(1);
      const sum = await randomData(site.vm('wide'), MEGABYTES);
      expect(await sendData(site.vm('wide'), 'narrow')).toBe(sum);
    });

    phase('pairs come and go under traffic, and every byte arrives', async () => {
      const wide = site.vm('wide');
      const out = await Stream.begin(wide, 'narrow');
      const into = await Stream.begin(site.vm('narrow'), 'wide');
      for (const pairs of STEPS) {
        await wide.ok(`ethtool -L eth0 combined ${pairs}`);
        await enabledIs(pairs);
        await Promise.all([out.flows(4), into.flows(4)]);
        await wide.ok('ping -c 2 -i 0.2 -W 10 narrow');
      }
      for (const stream of [out, into]) {
        const { sent, received } = await stream.end();
        expect(received).toBe(sent);
      }
      expect(await wide.ok('dmesg')).not.toMatch(/is not a head|BUG:|Oops|hw csum|WATCHDOG/);
    });

    // It may change pairs, if nothing comes for a moment.
    phase('a flow comes in order', async () => {
      const wide = site.vm('wide');
      const narrow = site.vm('narrow');
      await wide.ok(`ethtool -L eth0 combined ${PAIRS}`);
      await enabledIs(PAIRS);
      const outOfOrder = [await segmentsOutOfOrder(wide), await segmentsOutOfOrder(narrow)];
      for (const [from, to] of [
        [narrow, 'wide'],
        [wide, 'narrow'],
      ] as const) {
        const stream = await Stream.begin(from, to);
        await stream.flows(PIECES);
        await stream.end();
      }
      expect([await segmentsOutOfOrder(wide), await segmentsOutOfOrder(narrow)]).toEqual(
        outOfOrder,
      );
    });

    phase(ANSWERS, async () => {
      const wide = site.vm('wide');
      await wide.ok(`ethtool -L eth0 combined ${PAIRS}`);
      await enabledIs(PAIRS);
      await wide.ok(`mkdir -p ${CGROUP} && mount -t cgroup2 none ${CGROUP}
        echo +cpuset > ${CGROUP}/cgroup.subtree_control && mkdir ${CGROUP}/one`);
      for (let processor = 0; processor < PAIRS; processor++) {
        const sent = await packetsOf(wide, 'tx');
        const came = await packetsOf(wide, 'rx');
        // The driver chooses the ring by processor. To the base all pings are one flow, which changes pairs when nothing came for a moment.
        await wide.ok(`echo ${processor} > ${CGROUP}/one/cpuset.cpus
          sleep 0.3; sh -c 'echo $$ > ${CGROUP}/one/cgroup.procs; exec ping -c ${PINGS} -W 10 narrow'`);
        const asked = (await packetsOf(wide, 'tx')).map((count, pair) => count - sent[pair]!);
        const answered = (await packetsOf(wide, 'rx')).map((count, pair) => count - came[pair]!);
        const pair = asked.findIndex((count) => count >= PINGS);
        expect(pair, `${asked}`).toBeGreaterThanOrEqual(0);
        expect(answered[pair], `asked ${asked}, answered ${answered}`).toBeGreaterThanOrEqual(
          PINGS,
        );
      }
    });

    phase(EVERY_RING, async () => {
      const wide = site.vm('wide');
      await wide.ok(`ethtool -L eth0 combined ${PAIRS}`);
      // The driver chooses the ring by processor, and the scheduler moves the senders.
      const send = 'for i in 1 2 3 4 5 6 7 8; do wget -q -O /dev/null http://narrow/ & done; wait';
      await until('all rings to be used', 60_000, async () => {
        await wide.ok(send, 60);
        const counts = await packetsOf(wide, 'tx');
        const sum = counts.reduce((all, count) => all + count, 0);
        // And the base took what the rings sent, no more and no less.
        const { output } = await site.daemon.vm('wide');
        return counts.every((count) => count > 0) && output.datagrams === sum;
      });
    });

    async function countsPackets(): Promise<boolean> {
      return /rx_queue_\d+_packets/.test(await site.vm('wide').ok('ethtool -S eth0'));
    }

    /** The driver's count of each of its receive or transmit queues. */
    async function packetsOf(vm: Vm, kind: 'rx' | 'tx'): Promise<number[]> {
      const text = await vm.ok('ethtool -S eth0');
      const counts = text.matchAll(new RegExp(`${kind}_queue_\\d+_packets: (\\d+)`, 'g'));
      const packets = [...counts].map((match) => Number(match[1]));
      expect(packets).toHaveLength(PAIRS);
      return packets;
    }

    /** TCP segments that came to a guest before others which had been sent earlier. */
    async function segmentsOutOfOrder(vm: Vm): Promise<number> {
      const [names = [], values = []] = (await vm.ok('grep ^TcpExt: /proc/net/netstat'))
        .split('\n')
        .map((line) => line.trim().split(' '));
      const at = names.indexOf('TCPOFOQueue');
      expect(at).toBeGreaterThan(0);
      return Number(values[at]);
    }

    async function enabledIs(pairs: number): Promise<void> {
      await until(`${pairs} pairs to be enabled`, 20_000, async () => {
        const rings = (await site.daemon.vm('wide')).rings as RingStatus[];
        const enabled = rings.filter((ring) => ring.started && ring.enabled);
        return enabled.length === 2 * pairs;
      });
    }
  });
}
