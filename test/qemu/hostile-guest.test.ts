// A hostile guest in a real QEMU: one lie in its output ring, between good datagrams. What must
// become of each stands in test/support/qtest/cases.ts; docs/hostile-guest.md has DPDK's answers beside ours.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemQemu } from '../../qemu/qemu.ts';
import { BASE_MAC, Daemon } from '../support/daemon.ts';
import { ethernet, ETHERTYPE, ipv4, PROTOCOL, udp } from '../support/packets.ts';
import { LIES } from '../support/qtest/cases.ts';
import { tellLie } from '../support/qtest/outcome.ts';
import { VirtioGuest } from '../support/qtest/virtio-guest.ts';
import { suite } from './suite.ts';

const MAC = '52:54:00:00:00:11';
const SOURCE = '10.77.0.11';
/** Nobody: each good datagram is counted as noRoute, so a lie that is believed is counted, too. */
const NOBODY = '10.77.0.99';

suite('a hostile guest without a kernel, under a real QEMU', ['qemu'], (can) => {
  let daemon: Daemon;
  let guest: VirtioGuest;

  beforeAll(async () => {
    if (!can) return;
    daemon = await Daemon.start({ vms: { liar: { addresses: [SOURCE], mac: MAC } } });
    guest = await VirtioGuest.start(systemQemu()!.program, daemon.socket('liar'), MAC);
    await daemon.untilState('liar', 'running');
  });

  afterAll(async () => {
    await guest?.stop();
    await daemon?.stop();
  });

  test.each(LIES)('$name: $expected', { timeout: 60_000 }, async (lie) => {
    const payload = udp(
      { source: SOURCE, destination: NOBODY, sourcePort: 1, destinationPort: 9 },
      Buffer.alloc(20, 7),
    );
    const packet = ipv4({ source: SOURCE, destination: NOBODY, protocol: PROTOCOL.udp }, payload);
    const frame = Buffer.concat([
      Buffer.alloc(12),
      ethernet({ source: MAC, destination: BASE_MAC, type: ETHERTYPE.ipv4 }, packet),
    ]);
    const before = await daemon.vm('liar');
    const outcome = await tellLie(guest, lie, frame);
    const after = await daemon.vm('liar');
    const counted = (reason: string): number => after.drops[reason] - before.drops[reason];
    // Whatever it told, its next driver is served.
    expect(outcome.usedAfterReset).toBe(3);
    if (lie.expected === 'broken') {
      expect(outcome.used).toBe(1);
      expect(counted('noRoute')).toBe(1 + 3);
    } else {
      expect(outcome.used).toBe(4);
      expect(counted('noRoute')).toBe((lie.expected === 'delivered' ? 4 : 3) + 3);
      if (lie.reason) expect(counted(lie.reason)).toBe(1);
    }
    expect(daemon.running).toBe(true);
  });
});
