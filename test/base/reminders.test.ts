/** What a VM is told when its rings go on, with a clock of the test's: of whom, how often, and how much at most. */
import { describe, expect, it } from 'vitest';
import { BASE, Outbox } from '../../src/storage/outbox.ts';
import type { NetworkPlan, VmPlan } from '../../src/plan.ts';
import { Reminders } from '../../src/base/reminders.ts';
import { Counters } from '../../src/counters.ts';
import { Port } from '../../src/port/port.ts';
import { Network } from '../../src/routing/network.ts';
import { parse } from '../support/packets.ts';
import { dirtyStorage, frameOf } from '../support/slots.ts';

const MAC = '02:00:0a:4d:00:01';

function world(vms: number, addressesEach = 1) {
  const network = new Network({
    name: 'lan',
    subnet: '10.77.0.0',
    prefix: 16,
    address: '10.77.0.1',
    mac: MAC,
    mtu: 1500,
  } as NetworkPlan);
  const ports = Array.from({ length: vms }, (_, number) => {
    const addresses = Array.from(
      { length: addressesEach },
      (_, index) => `10.77.${number + 1}.${index + 1}`,
    );
    const vm = { name: `vm${number}`, network: 0, addresses, prefixes: [] as string[] } as VmPlan;
    const port = new Port(number, vm, 0);
    network.enter(port);
    return port;
  });
  const outbox = new Outbox(new Counters(vms));
  const dues: number[] = [];
  const reminders = new Reminders(outbox, [network], (time) => dues.push(time));
  const storage = dirtyStorage();
  return {
    reminders,
    ports,
    dues,
    outbox,
    /** What was said since, by port. */
    said(): Map<number, string[]> {
      const told = new Map<number, string[]>();
      while (outbox.length > 0) {
        storage.clear();
        outbox.moveTo(storage);
        for (let slot = 0; slot < storage.count; slot++) {
          expect(storage.from[slot]).toBe(BASE);
          const { arp } = parse(frameOf(storage, slot));
          expect(arp).toMatchObject({ operation: 1, senderMac: MAC, targetIp: arp?.senderIp });
          const to = storage.to[slot];
          told.set(to, [...(told.get(to) ?? []), arp?.senderIp ?? '']);
        }
      }
      return told;
    },
  };
}

describe('reminders', () => {
  it("name the base and every other VM, never the guest's own addresses", () => {
    const { reminders, ports, dues, said } = world(3, 2);
    reminders.begin(ports[1], 100);
    expect(dues).toEqual([100]);
    reminders.tick(100);
    const others = ['10.77.0.1', '10.77.1.1', '10.77.1.2', '10.77.3.1', '10.77.3.2'];
    expect(said()).toEqual(new Map([[1, others]]));
  });

  it('are said twice, a moment apart, and then no more', () => {
    const { reminders, ports, said } = world(2);
    reminders.begin(ports[0], 0);
    const again = reminders.tick(0);
    expect(said().get(0)).toHaveLength(2);
    reminders.tick(again - 1);
    expect(said().size).toBe(0);
    expect(reminders.tick(again)).toBe(Number.POSITIVE_INFINITY);
    expect(said().get(0)).toHaveLength(2);
    expect(reminders.tick(again + 10_000)).toBe(Number.POSITIVE_INFINITY);
    expect(said().size).toBe(0);
  });

  it('end with the rings', () => {
    const { reminders, ports, said } = world(2);
    reminders.begin(ports[0], 0);
    const again = reminders.tick(0);
    expect(said().get(0)).toHaveLength(2);
    reminders.end(ports[0]);
    expect(reminders.tick(again)).toBe(Number.POSITIVE_INFINITY);
    expect(said().size).toBe(0);
  });

  it('go to all VMs soon, however many they are, and leave room in the outbox', () => {
    const { reminders, ports, outbox, said } = world(40, 8);
    for (const port of ports) reminders.begin(port, 0);
    const counts = new Map<number, number>();
    let most = 0;
    let now = 0;
    while (now !== Number.POSITIVE_INFINITY) {
      const next = reminders.tick(now);
      most = Math.max(most, outbox.length);
      for (const [port, addresses] of said()) {
        expect(addresses.length).toBeLessThanOrEqual(64);
        counts.set(port, (counts.get(port) ?? 0) + addresses.length);
      }
      now = next;
    }
    expect(most).toBeLessThanOrEqual(256);
    // 256 addresses each, twice.
    expect([...counts.values()]).toEqual(Array(40).fill(512));
  });

  it('a port that begins again and again gets no more than its share, and others get theirs', () => {
    const { reminders, ports, said } = world(20, 20);
    const counts = new Map<number, number>();
    reminders.begin(ports[19], 0);
    for (let now = 0; now < 1000; now++) {
      for (const port of ports.slice(0, 19)) reminders.begin(port, now);
      reminders.tick(now);
      for (const [port, addresses] of said())
        counts.set(port, (counts.get(port) ?? 0) + addresses.length);
    }
    expect(counts.get(19)).toBeGreaterThanOrEqual(256);
    const total = [...counts.values()].reduce((sum, count) => sum + count);
    expect(total).toBeLessThanOrEqual((1000 / 20 + 1) * 256);
  });
});
