/**
 * Ranked case 31: the adapter's interface goes down, loses its carrier, is deleted, made anew, renamed, flaps, while VMs send to it. What is
 * sent meanwhile is counted, the flow between VMs loses nothing, and the adapter comes back by itself, by name.
 */
import { describe, expect, test } from 'vitest';
import type { Status } from '../support/daemon.ts';
import { useFixture } from '../support/fixture.ts';
import { LAN_INTERFACE, LAN_IP, LAN_SINK_PORT, NO_LAN } from '../support/lan.ts';
import { A, B, type Host, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';

const TICKS_PER_SECOND = 100; // USER_HZ on x86_64

describe.skipIf(NO_LAN !== '')(`the adapter's interface${NO_LAN && ` (${NO_LAN})`}`, () => {
  const fixture = useFixture();
  let serial = 0;

  const adapter = async (): Promise<Status['adapters'][string]> =>
    (await fixture().daemon.status()).adapters.outside;
  const untilState = (state: string) =>
    until(`the adapter to be ${state}`, async () => (await adapter()).state === state);
  const toLan = (from: Host, text: string) =>
    udpFrame(from, LAN_IP, Buffer.from(text), { ports: [1234, LAN_SINK_PORT] });

  /** The flow with the LAN has come to an end; nothing of it is lost yet. */
  async function begin(): Promise<Vm> {
    const a = await fixture().attacker();
    await fixture().echoes!.finish();
    return a;
  }

  /** Datagrams reach the LAN again, and from here on none is lost. */
  async function recovered(a: Vm): Promise<void> {
    const { lan, echoes, flow } = fixture();
    await untilState('open');
    const text = `again ${++serial}`;
    // The kernel needs a moment for the carrier.
    await until('the LAN to be reached', async () => {
      a.trySend(toLan(A, text));
      a.pollReceived();
      a.received.length = 0;
      return lan!.sunk.some((one) => one.text === text);
    });
    flow.others(fixture().b).length = 0;
    echoes!.restart();
    echoes!.start();
    await echoes!.advance();
  }

  /** As many as are sent are counted as dropped for this reason, whoever sends. */
  async function countedAs(reason: string, a: Vm): Promise<void> {
    const { daemon, flow, b } = fixture();
    const before = [(await daemon.vm('a')).drops[reason], (await daemon.vm('b')).drops[reason]];
    for (let i = 0; i < 50; i++) {
      await a.send(toLan(A, 'lost'));
      await b.send(toLan(B, 'lost'));
    }
    await daemon.untilCount('a', reason, before[0] + 50);
    await daemon.untilCount('b', reason, before[1] + 50);
    await flow.advance();
    flow.others(b).length = 0; // ICMP errors
  }

  test('down and up', async () => {
    const a = await begin();
    fixture().lan!.setLink('down');
    await untilState('down');
    await countedAs('adapterDown', a);
    fixture().lan!.setLink('up');
    await recovered(a);
  });

  test('the other end goes down: no carrier', async () => {
    const a = await begin();
    fixture().lan!.ipOutside('link', 'set', 'lan0', 'down');
    await untilState('down');
    await countedAs('adapterDown', a);
    fixture().lan!.ipOutside('link', 'set', 'lan0', 'up');
    await recovered(a);
  });

  test('deleted, and made anew: found by its name, with its new MAC', async () => {
    const a = await begin();
    const { mac } = await adapter();
    fixture().lan!.unplug();
    await untilState('gone');
    await countedAs('adapterGone', a);
    fixture().lan!.plug();
    await recovered(a);
    expect((await adapter()).mac).not.toBe(mac);
  });

  test('renamed: it is another one now; renamed back: it is the one', async () => {
    const a = await begin();
    const { lan } = fixture();
    const rename = (from: string, to: string) => {
      lan!.ipInside('link', 'set', from, 'down');
      lan!.ipInside('link', 'set', from, 'name', to);
      lan!.ipInside('link', 'set', to, 'up');
    };
    rename(LAN_INTERFACE, 'bw-other');
    await untilState('gone');
    await countedAs('adapterGone', a);
    rename('bw-other', LAN_INTERFACE);
    await recovered(a);
  });

  test('down and up all the time, deleted in between, while a VM floods it', async () => {
    const a = await begin();
    const { lan } = fixture();
    fixture().connections += 10; // each change of the interface may be logged: no guest can cause one
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 60; i++) a.trySend(toLan(A, 'flood'));
      if (round % 7 === 6) lan!.unplug();
      else lan!.setLink('down');
      for (let i = 0; i < 60; i++) a.trySend(toLan(A, 'flood'));
      await pause();
      if (round % 7 === 6) lan!.plug();
      else lan!.setLink('up');
      a.pollReceived();
      a.received.length = 0;
    }
    await recovered(a);
  });

  test('while it is away the base sleeps', async () => {
    const a = await begin();
    const { lan, flow, daemon } = fixture();
    lan!.unplug();
    await untilState('gone');
    await flow.finish();
    const [start, before] = [performance.now(), daemon.processorTicks()];
    await until('a while', () => performance.now() - start > 600);
    const used = (daemon.processorTicks() - before) / TICKS_PER_SECOND;
    // A loop that does not sleep would use all of it.
    expect(used).toBeLessThan((performance.now() - start) / 1000 / 4);
    flow.start();
    lan!.plug();
    await recovered(a);
  });
});
