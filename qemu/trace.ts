// Asks a running base for the way that datagrams took (`GET /v1/trace`), while something happens.

import type { TracedDatagram } from '../src/turn/trace.ts';
import type { Daemon } from '../test/support/daemon.ts';

/** Seconds in which `action` must bring the datagrams about. */
const SECONDS = 4;

/**
 * @returns the next datagrams that a VM sends or gets while `action` runs, at most `count` of them;
 *   fewer when there are not so many within four seconds
 */
export async function traceWhile(
  daemon: Daemon,
  vm: string,
  count: number,
  action: () => Promise<unknown>,
): Promise<TracedDatagram[]> {
  const answer = daemon.get(`/v1/trace?vm=${vm}&count=${count}&seconds=${SECONDS}`);
  const [text] = await Promise.all([answer, action()]);
  return (JSON.parse(text) as { datagrams: TracedDatagram[] }).datagrams;
}
