// The end of the demo: the way that one datagram took, the counters of the running base, and the
// list of what was shown.

import type { TracedPlace } from '../../src/turn/trace.ts';
import type { Site } from '../site.ts';
import { traceWhile } from '../trace.ts';
import { command, results, say, step, table, verdict } from './show.ts';

/** Sends a datagram and shows its way, as the base recorded it. */
export async function showWay(site: Site, lan: boolean): Promise<void> {
  step('The way of one datagram', 'What the base recorded of a datagram of web.');
  const target = lan ? 'lan' : 'db';
  const line = `ping -c 2 -i 0.2 ${target}`;
  command('web', line);
  const ping = () => site.vm('web').run(line);
  const traced = await traceWhile(site.daemon, 'web', 4, ping);
  const way = traced.find((one) => one.datagram.kind.includes('ICMP') && one.from.port === 'web');
  verdict(way?.to !== undefined && way.to !== null, 'the base shows the way of a datagram');
  if (!way) return;
  const { datagram, storage } = way;
  const place = ({ port, kind, ring, address, bytes }: TracedPlace): string =>
    [
      `${port}'s ${kind}`.replace(/^(\S+)'s adapter’s/, 'adapter $1’s'),
      ...(ring === null ? [] : [`ring ${ring}`]),
      ...(address === null ? [] : [`at ${address}`]),
      ...(bytes === null ? [] : [`${bytes} bytes`]),
    ].join(', ');
  const size = `${storage.bytes} bytes`;
  table(
    ['', ''],
    [
      ['datagram', `${datagram.kind}, ${datagram.source} to ${datagram.destination}`],
      ['read from', place(way.from)],
      ['base storage', `slot ${storage.slot}, offset ${storage.offset}, ${size}`],
      ['decision', `${datagram.destination} looked up in the address list: ${way.decision}`],
      ['written into', way.to ? place(way.to) : 'nowhere'],
    ],
  );
}

/** Shows the base's counters as tables. */
export async function showCounters(site: Site): Promise<void> {
  step('Counters of the base');
  command('host', `basewire status --json --config ${site.daemon.configPath}`);
  const status = await site.daemon.status();
  table(
    ['port', 'state', 'from its output buffer', 'into its input buffer', 'dropped'],
    Object.entries(status.vms).map(([name, vm]) => [
      name,
      vm.state,
      vm.output.datagrams,
      vm.input.datagrams,
      sum(vm.drops),
    ]),
  );
  for (const [name, adapter] of Object.entries(status.adapters)) {
    const { sent, received } = adapter as unknown as Record<string, { datagrams: number }>;
    say('');
    table(
      ['adapter', 'state', 'opened by', 'sent', 'received', 'dropped'],
      [
        [
          name,
          adapter.state,
          String(adapter.openedBy ?? '-'),
          sent?.datagrams ?? 0,
          received?.datagrams ?? 0,
          sum(adapter.drops),
        ],
      ],
    );
  }
  const reasons = Object.entries({ ...status.vms, ...status.adapters }).flatMap(([name, port]) =>
    Object.entries(port.drops)
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => [name, reason, count]),
  );
  if (reasons.length === 0) return;
  say('');
  table(['dropped from', 'reason', 'datagrams'], reasons);
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** Shows the list of results; a cross makes the demo end with code 1. */
export function showResults(seconds: number): void {
  step('Results');
  for (const { ok, text } of results) say(`   ${ok ? '✓' : '✗'} ${text}`);
  const failed = results.filter((result) => !result.ok).length;
  say(
    '',
    `   ${results.length - failed} of ${results.length} as promised, ${seconds.toFixed(0)} s`,
  );
  if (failed > 0) process.exitCode = 1;
}
