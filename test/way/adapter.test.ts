/**
 * Out of the base and into it: a management guest opens the adapter, VMs talk to a host on the LAN, and the adapter follows its
 * interface. The daemon, a real cable, a real host's IP stack at its other end.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC, type Status } from '../support/daemon.ts';
import { LAN_ECHO_PORT, LAN_INTERFACE, LAN_IP, Lan, NO_LAN } from '../support/lan.ts';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import { pattern } from '../support/offload-frames.ts';
import { type Parsed, parse } from '../support/packets.ts';
import { A, B, C, type Host, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const LEASE = 2;

describe.skipIf(NO_LAN !== '')(`the adapter${NO_LAN && ` (${NO_LAN})`}`, () => {
  let lan: Lan;
  let world: World;
  let a: Vm;
  /** Controllers, in order of preference. */
  let b: Vm;
  let c: Vm;
  let id = 0;

  beforeAll(async () => {
    lan = await Lan.start();
    world = await World.start(
      {
        vms: {
          ...THREE_VMS,
          b: { ...THREE_VMS.b, management: true },
          c: { ...THREE_VMS.c, management: true },
        },
        adapters: {
          uplink: {
            interface: LAN_INTERFACE,
            network: 'lan',
            controllers: ['b', 'c'],
            lease: LEASE,
          },
        },
      },
      { under: lan.under },
    );
    a = await world.vm('a');
    b = await world.vm('b');
    c = await world.vm('c');
  });
  afterAll(async () => {
    await world?.close();
    await lan?.close();
  });
  beforeEach(() => {
    for (const vm of [a, b, c]) {
      vm.pollReceived();
      vm.received.length = 0;
    }
  });

  const uplink = async (): Promise<Status['adapters'][string]> =>
    (await world.daemon.status()).adapters.uplink;
  const untilUplink = (state: string) =>
    until(`the adapter to be ${state}`, async () => (await uplink()).state === state);

  /** The next datagram that fits; others are passed over. */
  async function take(vm: Vm, what: string, fits: (frame: Parsed) => boolean): Promise<Parsed> {
    return await until(what, () => {
      vm.pollReceived();
      const frames = vm.received.splice(0).map(({ frame }) => parse(frame));
      return frames.find(fits);
    });
  }

  async function control(vm: Vm, host: Host, op: string): Promise<Record<string, unknown>> {
    const request = { id: ++id, op, ...(op !== 'status' && { adapter: 'uplink' }) };
    const text = Buffer.from(JSON.stringify(request));
    await vm.send(udpFrame(host, BASE_IP, text, { ports: [4444, 7356] }));
    const { udp, ip } = await take(vm, 'a reply', ({ udp }) => udp?.sourcePort === 7356);
    expect([ip!.source, udp!.destinationPort]).toEqual([BASE_IP, 4444]);
    return JSON.parse(udp!.payload.toString());
  }

  /** Sends to the LAN's echo until it answers, as an application would; the answer. */
  async function echo(vm: Vm, host: Host, payload: Buffer): Promise<Parsed> {
    const frame = udpFrame(host, LAN_IP, payload, { ports: [6000, LAN_ECHO_PORT] });
    await vm.send(frame);
    return take(vm, 'the echo', ({ udp }) => udp?.payload.equals(payload) ?? false);
  }

  async function open(): Promise<void> {
    await until('b holds the adapter', async () => (await control(b, B, 'open')).ok === true);
  }

  /** Sees that one controller is put off while the other holds the lease, however slow this machine is. */
  async function heldOff(standBy: [Vm, Host], holder: [Vm, Host]): Promise<void> {
    await until('the stand-by is put off', async () => {
      await pause(100);
      if ((await control(...holder, 'open')).ok !== true) return false;
      const { ok, error } = await control(...standBy, 'open');
      if (ok) await control(...standBy, 'close'); // the lease ended in between
      return error === 'held' && (await uplink()).openedBy === (holder[0] === b ? 'b' : 'c');
    });
  }

  test('is closed to begin with: unreachable', async () => {
    await a.send(udpFrame(A, LAN_IP, Buffer.from('anybody?')));
    const { icmp, ip } = await take(a, 'an ICMP error', ({ icmp }) => icmp !== undefined);
    expect([ip!.source, icmp!.type, icmp!.code]).toEqual([BASE_IP, 3, 0]);
    await world.daemon.untilCount('a', 'adapterClosed', 1);
    expect(await uplink()).toMatchObject({ state: 'closed', openedBy: null });
  });

  test('is not opened by an ordinary VM', async () => {
    expect(await control(a, A, 'open')).toMatchObject({ ok: false, error: 'forbidden' });
    expect(await uplink()).toMatchObject({ state: 'closed' });
  });

  test('is opened by a management guest', async () => {
    const reply = await control(b, B, 'open');
    expect(reply).toMatchObject({
      id,
      ok: true,
      adapter: 'uplink',
      state: 'open',
      interface: LAN_INTERFACE,
      mtu: 1500,
      lease: LEASE,
    });
    expect(reply.mac).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    expect(await uplink()).toMatchObject({ state: 'open', openedBy: 'b' });
  });

  test('is not closed by a request that was damaged on its way', async () => {
    const close = Buffer.from(JSON.stringify({ id: ++id, op: 'close', adapter: 'uplink' }));
    await b.send(udpFrame(B, BASE_IP, close, { ports: [4444, 7356], checksum: 0x1234 }));
    // Requests are answered in order: the next answer is the next request's.
    expect(await control(b, B, 'renew')).toMatchObject({ id, ok: true });
    expect(await uplink()).toMatchObject({ state: 'open', openedBy: 'b' });
  });

  test('carries datagrams both ways, byte by byte', async () => {
    await open();
    for (const size of [0, 1, 100, 1472]) {
      const payload = Buffer.alloc(size, `${size} bytes `);
      const { ip, udp, problems, source, destination } = await echo(a, A, payload);
      expect(problems).toEqual([]);
      expect(ip).toMatchObject({ source: LAN_IP, destination: A.ip, ttl: 64 });
      expect(udp).toMatchObject({ sourcePort: LAN_ECHO_PORT, destinationPort: 6000 });
      expect([source, destination]).toEqual([BASE_MAC, A.mac]);
    }
    await world.balance();
  });

  test('tells who sends to an address that nobody has', async () => {
    await open();
    const payloads = ['is anybody there?', 'really nobody?'];
    const drops = (await world.daemon.vm('a')).drops.neighbourUnresolved;
    for (const payload of payloads) {
      const frame = udpFrame(A, '10.77.0.99', Buffer.from(payload));
      await a.send(frame);
      const { icmp, ip } = await take(a, 'an ICMP error', ({ icmp }) => icmp !== undefined);
      expect([ip!.source, icmp!.type, icmp!.code]).toEqual([BASE_IP, 3, 1]);
      expect(icmp!.payload.equals(frame.subarray(14)), payload).toBe(true);
    }
    expect((await world.daemon.vm('a')).drops.neighbourUnresolved - drops).toBe(payloads.length);
    await world.balance();
  });

  test('takes datagrams that the kernel coalesced, each for itself', async () => {
    await open();
    const taken = () => {
      const [link] = JSON.parse(lan.ipInside('-s', '-j', 'link', 'show', LAN_INTERFACE));
      return link.stats64.rx.packets as number;
    };
    await echo(a, A, Buffer.from('so that nobody has to be asked for'));
    const before = taken();
    const payload = pattern(20 * 100 + 50);
    lan.sendCoalesced(A.ip, 6001, payload, 100);
    const parts: Parsed[] = [];
    await until('all parts', () => {
      a.pollReceived();
      const frames = a.received.splice(0).map(({ frame }) => parse(frame));
      parts.push(...frames.filter(({ udp }) => udp?.destinationPort === 6001));
      return parts.length >= 21;
    });
    for (const [index, { ip, udp, problems }] of parts.entries()) {
      expect(problems).toEqual([]);
      expect(ip).toMatchObject({ source: LAN_IP, destination: A.ip });
      const part = payload.subarray(index * 100, index * 100 + 100);
      expect(udp!.payload.equals(part), `part ${index}`).toBe(true);
    }
    // One, and what else hosts say to each other meanwhile.
    expect(taken() - before, 'frames that came over the cable').toBeLessThan(parts.length / 2);
  });

  test('lets the LAN speak first', async () => {
    await open();
    lan.send(A.ip, 5000, 'hello from outside');
    const { udp } = await take(a, 'it', ({ udp }) => udp?.destinationPort === 5000);
    expect(udp!.payload.toString()).toBe('hello from outside');
  });

  test('passes a checksum on that the guest left to the device', async () => {
    await open();
    const payload = Buffer.from('somebody else will sum me up');
    const header = {
      flags: HDR_FLAG.needsCsum,
      checksumStart: 34,
      checksumOffset: 6,
      gsoType: GSO.none,
    };
    const options = {
      ports: [6000, LAN_ECHO_PORT] as [number, number],
      checksum: 'partial' as const,
    };
    await a.send(udpFrame(A, LAN_IP, payload, options), { header });
    const { checksum } = await take(
      a,
      'the echo',
      ({ udp }) => udp?.payload.equals(payload) ?? false,
    );
    expect(['good', 'partial']).toContain(checksum);
  });

  test('follows its interface down and up, gone and made anew', async () => {
    await open();
    lan.setLink('down');
    await untilUplink('down');
    await a.send(udpFrame(A, LAN_IP, Buffer.from('down?')));
    await take(a, 'unreachable', ({ icmp }) => icmp?.type === 3);
    await world.daemon.untilCount('a', 'adapterDown', 1);
    lan.setLink('up');
    await untilUplink('open');
    await echo(a, A, Buffer.from('up again'));

    lan.unplug();
    await untilUplink('gone');
    await a.send(udpFrame(A, LAN_IP, Buffer.from('gone?')));
    await world.daemon.untilCount('a', 'adapterGone', 1);
    lan.plug();
    await untilUplink('open');
    await echo(a, A, Buffer.from('there again'));
    await world.balance();
  });

  test('goes on without its controller, and is taken over by the stand-by', async () => {
    await heldOff([c, C], [b, B]);
    b.close();
    let datagrams = 0;
    await until('the stand-by has it', async () => {
      await echo(a, A, Buffer.from(`datagram ${datagrams++}`));
      await pause(100); // a guest that asks more often is not listened to
      return (await control(c, C, 'open')).ok === true;
    });
    expect(datagrams).toBeGreaterThan(1);
    b = await world.vm('b');
    await heldOff([b, B], [c, C]);
  });

  test('is closed by its holder', async () => {
    await until('it is closed by whom it is held', async () => {
      await pause(100);
      const replies = [await control(b, B, 'close'), await control(c, C, 'close')];
      return replies.every(({ ok }) => ok);
    });
    expect(await uplink()).toMatchObject({ state: 'closed', openedBy: null });
    await a.send(udpFrame(A, LAN_IP, Buffer.from('closed?')));
    await take(a, 'unreachable', ({ icmp }) => icmp?.type === 3);
    await world.balance();
  });
});
