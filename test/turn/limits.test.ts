/** Drop reasons that only much traffic provokes: whole turns in this process, all counted. */
import { expect, test } from 'vitest';
import { ECHO_REPLIES } from '../../src/routing/icmp-answers.ts';
import { BASE_IP } from '../support/daemon.ts';
import { SEGMENTING, Site } from '../support/site.ts';
import { echoFrame, tcpFrame, udpFrame } from '../support/traffic.ts';

const site = new Site();
const count = (cell: 'icmpLimited' | 'storageFull' | 'delivered' | 'receivedDatagrams') =>
  site.counters.get(1, cell);

test('pings of the base beyond what a port may make it answer are `icmpLimited`', () => {
  site.begin(1);
  site.prepareFrame(1, echoFrame(site.hosts[1], BASE_IP));
  while (count('receivedDatagrams') < ECHO_REPLIES.burst + 1000) {
    site.send(1);
    site.turn(0);
  }
  expect(count('delivered')).toBe(ECHO_REPLIES.burst);
  expect(count('icmpLimited')).toBe(count('receivedDatagrams') - ECHO_REPLIES.burst);
  site.end();
});

test('so is what the base would answer with an ICMP error, beyond what it may say', () => {
  site.begin(1);
  const before = [count('delivered'), count('icmpLimited')];
  site.prepareFrame(1, udpFrame(site.hosts[1], BASE_IP, Buffer.from('nobody listens')));
  const taken = count('receivedDatagrams');
  while (count('receivedDatagrams') < taken + 1000) {
    site.send(1);
    site.turn(0);
  }
  const [delivered, limited] = [count('delivered') - before[0], count('icmpLimited') - before[1]];
  expect(delivered).toBe(50);
  expect(limited).toBe(count('receivedDatagrams') - taken - delivered);
  site.end();
});

test('what base storage has no room to segment is `storageFull`; the turn goes on', () => {
  site.begin(1, SEGMENTING);
  const [receiver, sender] = site.hosts;
  site.prepareSegments(1, 7680);
  const before = [count('receivedDatagrams'), count('storageFull')];
  site.send(1);
  const [, taken] = site.turn();
  const lost = count('storageFull') - before[1];
  expect(lost).toBeGreaterThan(0);
  // Those that fitted count as so many received ones as they became.
  expect(taken).toBeGreaterThan(1000);
  expect(count('receivedDatagrams') - before[0]).toBe(taken);
  site.prepareFrame(1, tcpFrame(sender, receiver.ip, Buffer.from('small')));
  const delivered = count('delivered');
  for (let turn = 0; count('delivered') === delivered; turn++) {
    expect(turn, 'turns until a small one is through').toBeLessThan(100);
    site.turn();
  }
  site.end();
});

test('a broadcast that is as long as a VM takes is for it, a byte more is `missed`', () => {
  site.begin(1);
  const [BYTES, MTU] = [120, 120 - 14];
  site.prepareFrame(1, udpFrame(site.hosts[1], '255.255.255.255', Buffer.alloc(BYTES - 42)));
  const [takes, takesLess] = [2, 3];
  site.base.portControls[takes].port.current!.mtu = MTU;
  site.base.portControls[takesLess].port.current!.mtu = MTU - 1;
  const missed = () => [takes, takesLess].map((vm) => site.counters.get(vm, 'missed'));
  const copies = () => [takes, takesLess].map((vm) => site.counters.get(vm, 'broadcasts'));
  const before = [missed(), copies()];
  site.send(1, 1);
  site.turn();
  const more = (now: number[], then: number[]) => now.map((count, index) => count - then[index]);
  expect(more(copies(), before[1])).toEqual([1, 0]);
  expect(more(missed(), before[0])[1]).toBe(1);
  site.end();
});
