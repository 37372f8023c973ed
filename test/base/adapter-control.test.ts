/** What becomes of a control reply: the control side of the adapters alone, with an outbox of the test's. */
import { expect, test } from 'vitest';
import { AdapterControl, type AdapterControlContext } from '../../src/base/adapter-control.ts';
import type { FromWorker } from '../../src/base/messages.ts';
import { Counters } from '../../src/counters.ts';
import { Port } from '../../src/port/port.ts';
import { Network } from '../../src/routing/network.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { HEADER_BYTES } from '../../src/wire/virtio-net-header.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { type Parsed, parse } from '../support/packets.ts';
import { A } from '../support/traffic.ts';

const PEER = { key: keyOf(A.ip), udpPort: 5555 };

/** A management guest (VM 0) and what is sent to it. */
class Rig {
  readonly posted: FromWorker[] = [];
  readonly packets: Uint8Array[] = [];
  /** Packets that the outbox takes. */
  room = Number.POSITIVE_INFINITY;
  mtu = 1500;
  private readonly control: AdapterControl;

  constructor() {
    const plan = lanPlan([{ addresses: [A.ip], mac: A.mac, management: true }]);
    const outbox = {
      add: (_from: number, _to: number, packet: Uint8Array): boolean => {
        if (this.packets.length >= this.room) return false;
        this.packets.push(packet);
        return true;
      },
    };
    // There is no adapter: nothing else of it is asked for.
    this.control = new AdapterControl({
      plan,
      counters: new Counters(1),
      outbox,
      networks: plan.networks.map((network) => new Network(network)),
      ports: plan.vms.map((vm, number) => new Port(number, vm, PEER.key, false)),
      hasAdapters: true,
      post: (message: FromWorker) => this.posted.push(message),
      now: () => 1000,
      mtuTo: () => this.mtu,
    } as unknown as AdapterControlContext);
  }

  ask(request: unknown): void {
    this.control.service.receive(0, PEER, new TextEncoder().encode(JSON.stringify(request)));
  }
}

test('a reply is one datagram where the MTU of its VM allows it, else fragments', () => {
  const rig = new Rig();
  const ask = (): Parsed[] => {
    rig.packets.length = 0;
    rig.ask({ id: 'x'.repeat(60), op: 'close', adapter: 'no such' });
    return rig.packets.map((packet) => parse(packet.subarray(HEADER_BYTES)));
  };
  const [whole] = ask();
  expect(whole.ip!.flags, 'not to be cut').toBe(2);
  const text = '"error":"unknownAdapter","message":"no adapter of this name is configured"}';
  expect(whole.udp!.payload.toString()).toContain(text);

  rig.mtu = whole.ip!.totalLength - 1;
  const [shorter, ...none] = ask();
  expect(none).toEqual([]);
  expect(shorter.ip!.totalLength).toBeLessThanOrEqual(rig.mtu);
  expect(shorter.udp!.payload.toString()).toMatch(/"message":"no adapter of .*…"}$/);

  rig.mtu = 68;
  const fragments = ask();
  expect(fragments.flatMap(({ problems }) => problems)).toEqual([]);
  expect(fragments.length).toBeGreaterThan(1);
  for (const { ip } of fragments) expect(ip!.totalLength).toBeLessThanOrEqual(68);
  expect(new Set(fragments.map(({ ip }) => ip!.identification)).size).toBe(1);
});

test('that a reply was lost is logged as about its VM, whose lines are limited', () => {
  const rig = new Rig();
  rig.room = 0;
  rig.ask({ id: 1, op: 'status' });
  expect(rig.posted).toEqual([
    {
      kind: 'log',
      level: 'warn',
      vm: 'vm0',
      message: `a control reply to ${A.ip} was lost: too much is waiting`,
    },
  ]);
});
