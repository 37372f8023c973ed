/**
 * Row "idle": processor time of the whole daemon while eight VMs are connected and quiet. The peer that is as cheap is the
 * kernel's tap and bridge, which has no process at all: the limit is absolute. A busy-polling switch stands beside it.
 */
import { join } from 'node:path';
import { dpdkIo, startBase } from '../lib/candidates.ts';
import { PORTS } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter, processSeconds, threadSeconds } from '../lib/machine.ts';
import { DPDK, provide } from '../lib/needs.ts';
import { sleep } from '../lib/process.ts';
import { judgeNoise, summarise, type Verdict } from '../lib/statistics.ts';
import { Testpmd } from '../lib/testpmd.ts';
import type { RowRunner } from './row.ts';

const VMS = 8;
const LIMIT = 0.5; // per cent of a core

/** Connects virtio-user ports to sockets and leaves them quiet. */
export function connectQuietly(
  lab: Lab,
  sockets: string[],
  mac: (index: number) => string,
  name = 'quiet',
): Promise<Testpmd> {
  return Testpmd.start(lab, {
    name,
    core: lab.cores.generator,
    mebibytes: 128,
    devices: sockets.map(
      (socket, index) =>
        `net_virtio_user${index},mac=${mac(index)},path=${socket},queues=1,queue_size=256,packed_vq=0,mrg_rxbuf=1,in_order=0`,
    ),
    args: ['--rxd=256', '--txd=256', `--total-num-mbufs=${4096 + 512 * sockets.length}`],
  });
}

const quietMac = (index: number) =>
  PORTS[index]?.mac ?? `52:54:00:00:01:${index.toString(16).padStart(2, '0')}`;

const timing = ({ quick, rounds }: { quick: boolean; rounds: number }) => ({
  rounds: Math.min(rounds, 3),
  measure: quick ? 3 : 30,
});

export const idleRow: RowRunner = {
  name: 'idle',
  title: 'Idle: share of a core with 8 connected, quiet VMs',
  timing,
  async run(lab, options) {
    const lacking = provide(DPDK, options.install);
    if (lacking !== null) throw new Error(lacking);
    const { measure: seconds, rounds } = timing(lab.timing);
    const ours: number[] = [];
    const notes: string[] = [];
    const noises: { foreign: number; steal: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const more = Array.from({ length: VMS - 2 }, (_, index) => index + 2);
      const base = await startBase(lab, {
        moreVms: more
          .map(
            (index) =>
              `  vm${index}:\n    socket: @/${index}.sock\n    addresses: [10.77.0.${10 + index}]\n    mac: ${quietMac(index)}\n`,
          )
          .join(''),
      });
      const sockets = Array.from({ length: VMS }, (_, index) => join(base.folder, `${index}.sock`));
      const quiet = await connectQuietly(lab, sockets, quietMac);
      try {
        await sleep(lab.timing.quick ? 500 : 3000);
        const noise = new NoiseMeter([process.pid, quiet.pid, ...base.pids]);
        const threads = threadSeconds(base.child.pid);
        const before = processSeconds(base.child.pid);
        await sleep(seconds * 1000);
        // One that has ended has used less than nothing.
        for (const child of [base.child, quiet.child]) child.mustRun();
        const used = processSeconds(base.child.pid) - before;
        noises.push(noise.read());
        ours.push((used / seconds) * 100);
        const after = threadSeconds(base.child.pid);
        const parts = [...after].map(
          ([name, value]) => [name, value - (threads.get(name) ?? 0)] as const,
        );
        const named = parts
          .filter(([, value]) => value > 0)
          .map(([name, value]) => `${name} ${value.toFixed(2)} s`);
        lab.say(
          `round ${round + 1}/${rounds}: ${used.toFixed(2)} s in ${seconds} s (${named.join(', ') || 'no thread ran'})`,
        );
      } finally {
        await quiet.quit();
        await base.stop();
      }
    }
    const busy = await busyShare(lab);
    const summary = summarise(ours);
    const verdict: Verdict = summary.median < LIMIT ? 'reached' : 'missed';
    if (!lab.timing.quick) notes.push(`must stay below ${LIMIT} % of a core: ${verdict}`);
    notes.push(
      'tap and bridge use no processor time at all while nothing is sent; polling switches always use all of it',
    );
    return [
      {
        name: 'idle, 8 VMs',
        unit: '% of a core',
        less: true,
        candidates: { basewire: summary, 'dpdk io': summarise([busy]) },
        comparisons: [],
        noise: judgeNoise(noises, []),
        notes,
        ...(lab.timing.quick ? {} : { limit: { below: LIMIT, verdict } }),
      },
    ];
  },
};

/** What a switch that always polls takes, for the reader: measured, not assumed. */
async function busyShare(lab: Lab): Promise<number> {
  const running = await dpdkIo().start(lab);
  try {
    const before = processSeconds(running.pids[0]!);
    await sleep(2000);
    const used = processSeconds(running.pids[0]!) - before;
    if (used < 0) throw new Error(`dpdk io ended while it was measured\n${running.log()}`);
    return (used / 2) * 100;
  } finally {
    await running.stop();
  }
}
