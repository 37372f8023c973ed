/** Ranked case 34: control requests by the wrong VM, malformed ones, floods of them. The adapter's state does not change; the manager is still served. */
import { describe, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { useFixture } from '../support/fixture.ts';
import { parse } from '../support/packets.ts';
import { A, C, type Host, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';

const CONTROL_PORT = 7356;

describe('control requests lie', () => {
  // On a network of its own: the fixture has one on the VMs'.
  const fixture = useFixture({
    networks: {
      lan: { subnet: '10.77.0.0/24', address: BASE_IP, mac: BASE_MAC },
      other: { subnet: '10.78.0.0/24', address: '10.78.0.1' },
    },
    vms: {
      a: { ...THREE_VMS.a, network: 'lan' },
      b: { ...THREE_VMS.b, network: 'lan' },
      c: { ...THREE_VMS.c, network: 'lan', management: true },
    },
    adapters: { uplink: { interface: 'bw-none0', network: 'other', controllers: ['c'] } },
  });

  const request = (from: Host, text: string | Buffer) =>
    udpFrame(from, BASE_IP, Buffer.from(text), { ports: [5555, CONTROL_PORT] });

  interface Answer {
    id?: unknown;
    ok?: boolean;
    error?: string;
  }

  function answerOf(frame: Buffer): Answer {
    const { udp, ip, problems } = parse(frame);
    expect(problems).toEqual([]);
    expect(ip?.source).toBe(BASE_IP);
    expect(udp).toMatchObject({ sourcePort: CONTROL_PORT, destinationPort: 5555 });
    return JSON.parse(udp!.payload.toString()) as Answer;
  }

  async function ask(a: Vm, text: string | Buffer): Promise<Answer> {
    await a.send(request(A, text));
    return answerOf((await a.receive()).frame);
  }

  async function managerAsks(text: string): Promise<Answer> {
    const { c, flow } = fixture();
    await c.send(request(C, text));
    return answerOf((await flow.other(c)).frame);
  }

  async function adapterState(): Promise<string> {
    return (await fixture().daemon.status()).adapters.uplink.state;
  }

  for (const op of ['open', 'close', 'renew']) {
    test(`${op} by a VM that is no controller`, async () => {
      const a = await fixture().attacker();
      expect(await ask(a, `{"id":1,"op":"${op}","adapter":"uplink"}`)).toMatchObject({
        id: 1,
        ok: false,
        error: 'forbidden',
      });
      expect(await adapterState()).toBe('closed');
      await fixture().goodPasses(a);
    });
  }

  test('status by a VM that is no management guest', async () => {
    const a = await fixture().attacker();
    const before = await fixture().daemon.count('a', 'controlRefused');
    expect(await ask(a, '{"id":"s","op":"status"}')).toMatchObject({
      id: 's',
      ok: false,
      error: 'forbidden',
    });
    await fixture().daemon.untilCount('a', 'controlRefused', before + 1);
  });

  test('a request in fragments, and a damaged one: not answered, not obeyed', async () => {
    const { c, flow, daemon } = fixture();
    const text = '{"id":1,"op":"open","adapter":"uplink"}';
    const before = await daemon.count('c', 'controlRequests');
    const whole = request(C, text);
    for (const ip of [{ flags: 1 }, { flags: 0, fragmentOffset: 1 }])
      await c.send(udpFrame(C, BASE_IP, Buffer.from(text), { ports: [5555, CONTROL_PORT], ip }));
    const damaged = Buffer.from(whole);
    damaged[damaged.length - 3] ^= 1;
    await c.send(damaged);
    await c.untilSent();
    await flow.advance(20);
    expect(flow.others(c)).toEqual([]);
    expect(await daemon.count('c', 'controlRequests')).toBe(before);
    expect(await adapterState()).toBe('closed');
  });

  test("in the manager's name: dropped as spoofed, no answer to anybody", async () => {
    const a = await fixture().attacker();
    const before = (await fixture().daemon.vm('a')).drops.spoofed;
    await a.send(request({ mac: A.mac, ip: C.ip }, '{"id":7,"op":"open","adapter":"uplink"}'));
    await fixture().daemon.untilCount('a', 'spoofed', before + 1);
    await fixture().goodPasses(a);
    expect(await adapterState()).toBe('closed');
  });

  test('what is malformed is refused, the manager is served afterwards', async () => {
    const bad = [
      '',
      '{',
      'null',
      '[]',
      '7',
      '"open"',
      '{}',
      '{"id":1}',
      '{"op":"open"}',
      '{"id":1,"op":"open"}',
      '{"id":1,"op":7,"adapter":"uplink"}',
      '{"id":1,"op":"format","adapter":"uplink"}',
      '{"id":1,"op":"open","adapter":["uplink"]}',
      '{"id":{},"op":"open","adapter":"uplink"}',
      '{"__proto__":{"management":true},"id":1,"op":"open"}',
      `${'['.repeat(600)}${']'.repeat(600)}`,
      `{"id":1,"op":"open","adapter":"${'x'.repeat(1200)}"}`,
      '{"id":1e999,"op":"open","adapter":"uplink"}',
    ];
    const c = fixture().c;
    const refused = await fixture().daemon.count('c', 'controlRefused');
    const all = [...bad, Buffer.from([0xff, 0xfe, 0x00]), Buffer.alloc(1400, 0x7b)];
    for (const text of all) {
      await c.send(request(C, text));
      const answer = answerOf((await fixture().flow.other(c)).frame);
      const error = `${text}`.includes('xxx') ? 'unknownAdapter' : 'malformed';
      expect(answer, `${text}`.slice(0, 60)).toMatchObject({ ok: false, error });
    }
    await fixture().daemon.untilCount('c', 'controlRefused', refused + all.length);
    expect(await adapterState()).toBe('closed');
    await pause(1100); // the rate limit of requests refills
    expect(await managerAsks('{"id":"after","op":"status"}')).toMatchObject({
      id: 'after',
      ok: true,
    });
  });

  test('adapters that the configuration does not name', async () => {
    for (const name of [
      'eth0',
      'lo',
      '../uplink',
      'uplink\\u0000',
      '',
      '__proto__',
      'constructor',
    ]) {
      await pause(250);
      const answer = await managerAsks(`{"id":2,"op":"open","adapter":"${name}"}`);
      expect(answer.ok, name).toBe(false);
      expect(['unknownAdapter', 'malformed', 'forbidden']).toContain(answer.error);
    }
    expect(await adapterState()).toBe('closed');
  });

  test('an interface that does not exist is refused with the reason, again and again', async () => {
    for (let i = 0; i < 3; i++) {
      await pause(250);
      expect(await managerAsks(`{"id":${i},"op":"open","adapter":"uplink"}`)).toMatchObject({
        ok: false,
        error: 'unavailable',
      });
    }
    expect(await adapterState()).not.toBe('open');
  });

  test('a flood by an ordinary VM does not keep the manager from being served', async () => {
    const a = await fixture().attacker();
    const input = (await fixture().daemon.vm('a')).input.datagrams;
    const before = await fixture().daemon.count('a', 'controlRefused');
    const start = performance.now();
    let sent = 0;
    for (let i = 0; i < 3000; i++) {
      if (a.trySend(request(A, `{"id":${i},"op":"open","adapter":"uplink"}`))) sent++;
      if (i % 50 === 0) {
        await pause();
        a.pollReceived();
      }
    }
    expect(await managerAsks('{"id":"m","op":"status"}')).toMatchObject({ id: 'm', ok: true });
    await a.untilSent();
    await fixture().daemon.untilCount('a', 'controlRefused', before + sent);
    // 40 at once and 20 a second are answered.
    const answers = (await fixture().daemon.vm('a')).input.datagrams - input;
    expect(answers).toBeLessThanOrEqual(41 + (performance.now() - start) / 50);
    await fixture().goodPasses(a);
  });
});
