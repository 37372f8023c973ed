/** Round trips by ping from the far end of the wire: what an adapter adds to each datagram that comes and to each that leaves. */
import type { Lab } from './lab.ts';
import { NoiseMeter } from './machine.ts';
import type { Wire } from './namespaces.ts';
import { Child } from './process.ts';
import { median } from './statistics.ts';

export interface Echo {
  /** Median, in microseconds. */
  microseconds: number;
  foreign: number;
  steal: number;
}

/** Round trips in microseconds, of what ping printed. */
export function pingTimes(output: string): number[] {
  return [...output.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time) * 1000);
}

/** Pings `address`, 2 ms apart; the first ones, which find everything asleep and uncompiled, don't count. */
export async function echo(
  lab: Lab,
  wire: Wire,
  address: string,
  pids: readonly number[],
): Promise<Echo> {
  const ping = async (count: number) => {
    const args = ['-c', String(count), '-i', '0.002', '-W', '1', address];
    const child = new Child('ping', 'ping', args, {
      namespace: wire.far,
      core: lab.cores.generator,
    });
    const noise = new NoiseMeter([process.pid, child.pid, ...pids]);
    // Read while ping lives: it waits for its answers without sleeping.
    await child.until(
      (output) => (output.includes(`icmp_seq=${count - 5} `) ? true : null),
      'ping',
      60,
    );
    const { foreign, steal } = noise.read();
    await child.until((output) => (/packets transmitted/.test(output) ? true : null), 'ping', 60);
    await child.stop('SIGTERM');
    const times = pingTimes(child.output);
    if (times.length < count * 0.9)
      throw new Error(`${address} answers too little:\n${child.output}`);
    return { microseconds: median(times), foreign, steal };
  };
  await ping(lab.timing.quick ? 20 : 1000);
  return ping(lab.timing.quick ? 20 : Math.round(lab.timing.measure * 400));
}
