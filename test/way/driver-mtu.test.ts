/** NET_SET_MTU holds for all that the driver gets, what the base itself says included, and for that driver only: not for a later one that knows no MTU. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';

const NOBODY = '192.0.2.1';
/** Their MACs are learned, so a worker does not know those of another's VMs. */
const LEARNED = { a: { addresses: [A.ip] }, b: { addresses: [B.ip] } };
const WITH_MTU = { features: LINUX_FEATURES | FEATURE.MTU };

let world: World;

// Of two workers a and b have one each: what b may send to a only a's knows.
describe.each([{ workers: 1 }, { workers: 2 }])('$workers turn workers', ({ workers }) => {
  beforeAll(async () => {
    world = await World.start({ vms: LEARNED, datapath: { workers } });
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  test('an ICMP error is no longer than the MTU that its driver was told', async () => {
    const a = await world.vm('a', WITH_MTU);
    expect(await a.setMtu(300)).toBe(0n);
    await a.send(udpFrame(A, NOBODY, Buffer.alloc(270)));
    const { ip, icmp, problems } = parse((await a.receive()).frame);
    expect(problems).toEqual([]);
    expect(icmp).toMatchObject({ type: 3 });
    expect(ip!.totalLength).toBeLessThanOrEqual(300);
  });

  test('a control reply is no longer either', async () => {
    const a = await world.vm('a', WITH_MTU);
    expect(await a.setMtu(110)).toBe(0n);
    const request = Buffer.from('{"id":7,"op":"open","adapter":"uplink"}');
    await a.send(udpFrame(A, BASE_IP, request, { ports: [5555, 7356] }));
    const { ip, udp, problems } = parse((await a.receive()).frame);
    expect(problems).toEqual([]);
    expect(ip!.totalLength).toBeLessThanOrEqual(110);
    expect(JSON.parse(udp!.payload.toString())).toMatchObject({
      ...{ id: 7, error: 'forbidden', message: expect.stringMatching(/^this VM is .*…$/) },
    });
  });

  test('a driver without VIRTIO_NET_F_MTU behind one that had it gets what its network takes', async () => {
    const b = await world.vm('b');
    const a = await world.connected('a', WITH_MTU);
    await a.negotiate();
    expect(await a.setMtu(1000)).toBe(0n);
    await a.run();
    const long = udpFrame(B, A.ip, Buffer.alloc(1300, 7));
    await b.send(long);
    const { icmp, ip } = parse((await b.receive()).frame);
    expect(icmp, 'too big').toMatchObject({ type: 3, code: 4 });
    expect(ip!.source).toBe(BASE_IP);
    // The guest boots something that does not know the feature: QEMU sends no NET_SET_MTU.
    for (const index of [0, 1]) await a.stopRing(index);
    a.features &= ~FEATURE.MTU;
    for (const queue of a.queues) queue.reset();
    await a.applyFeatures();
    a.fillReceive();
    for (const index of [0, 1]) await a.startRing(index);
    await b.send(long);
    expect(parse((await a.receive()).frame).udp?.payload.length).toBe(1300);
  });
});

test('what another worker made, too: the one that has the adapters', async () => {
  const uplink = { interface: 'none0', network: 'lan', controllers: ['b'], nextHop: '10.77.0.254' };
  world = await World.start({
    vms: { a: { ...LEARNED.a, worker: 1 }, b: { ...LEARNED.b, management: true, worker: 0 } },
    adapters: { uplink },
    datapath: { workers: 2 },
  });
  try {
    const a = await world.vm('a', WITH_MTU);
    expect(await a.setMtu(300)).toBe(0n);
    const sent = udpFrame(A, NOBODY, Buffer.alloc(270, 7));
    await a.send(sent);
    const { ip, icmp, problems } = parse((await a.receive()).frame);
    expect(problems).toEqual([]);
    expect(icmp).toMatchObject({ type: 3, code: 0 });
    expect(ip!.totalLength).toBe(300);
    expect(icmp!.payload).toEqual(sent.subarray(14).subarray(0, 300 - 28));
    // A reply to a control request can't be cut short there: it comes in fragments.
    const request = Buffer.from(JSON.stringify({ id: 'x'.repeat(60), op: 'open', adapter: 'up' }));
    expect(await a.setMtu(150)).toBe(0n);
    await a.send(udpFrame(A, BASE_IP, request, { ports: [5555, 7356] }));
    const fragments = [(await a.receive()).frame, (await a.receive()).frame].map(parse);
    for (const { ip } of fragments) expect(ip!.totalLength).toBeLessThanOrEqual(150);
    const whole = Buffer.concat(fragments.map(({ ip }) => ip!.payload)).subarray(8);
    expect(JSON.parse(whole.toString())).toMatchObject({ ok: false, error: 'forbidden' });
  } finally {
    await world.close();
  }
});
