/** An adapter that is opened again: while a slow interface still sends what it was given before, after the loss of its turn worker, without a controller. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { BASE_IP, type Traffic } from '../support/daemon.ts';
import { inject } from '../support/inject.ts';
import { LAN_INTERFACE, LAN_IP, Lan, NO_LAN } from '../support/lan.ts';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const PRELOAD = fileURLToPath(new URL('../support/inject-faults.cjs', import.meta.url));
const FAULT = join(tmpdir(), `basewire-adapter-${process.pid}`);
const STATE = `${FAULT}.state`;
const CONTROL_PORT = 7356;

describe.skipIf(NO_LAN !== '')('an adapter that is opened again', () => {
  let lan: Lan | null = null;
  let world: World | null = null;
  let controller: Vm;
  let id = 0;
  afterEach(async () => {
    await world?.close();
    await lan?.close();
    lan = world = null;
    for (const file of [FAULT, STATE]) rmSync(file, { force: true });
  });

  async function ask(op: string): Promise<Record<string, unknown>> {
    const request = Buffer.from(JSON.stringify({ id: ++id, op, adapter: 'uplink' }));
    await controller.send(udpFrame(B, BASE_IP, request, { ports: [4444, CONTROL_PORT] }));
    const text = await until('the reply', () => {
      controller.pollReceived();
      const received = controller.received.splice(0).map(({ frame }) => parse(frame).udp);
      return received.find((udp) => udp?.sourcePort === CONTROL_PORT)?.payload.toString();
    });
    return JSON.parse(text);
  }

  const uplink = async () => (await world!.daemon.status()).adapters.uplink;

  async function open(lease: number): Promise<void> {
    lan = await Lan.start();
    world = await World.start(
      {
        vms: { ...THREE_VMS, b: { ...THREE_VMS.b, management: true } },
        adapters: {
          uplink: { interface: LAN_INTERFACE, network: 'lan', controllers: ['b'], lease },
        },
        state: { file: STATE },
      },
      {
        under: lan.under,
        nodeArguments: ['--require', PRELOAD],
        environment: { BASEWIRE_TEST_FAULT: FAULT },
      },
    );
    controller = await world.vm('b');
    expect(await ask('open')).toMatchObject({ ok: true, state: 'open' });
  }

  /** More than a second's worth for the interface, all of it handed over. */
  async function fillInterface(): Promise<void> {
    const shaped = 'qdisc add dev bw0 root tbf rate 160kbit burst 2k limit 1mb'.split(' ');
    execFileSync('tc', ['-n', lan!.inside, ...shaped]);
    const a = await world!.vm('a');
    for (let sent = 0; sent < 20; sent++)
      await a.send(udpFrame(A, LAN_IP, Buffer.alloc(1400), { ports: [6000, 9] }));
    await until('them to be sent', async () => ((await uplink()).sent as Traffic).datagrams >= 20);
  }

  /** What the next worker will take up has this in it. */
  async function isKept(words: string): Promise<void> {
    await until(
      'it to be kept',
      () => existsSync(STATE) && readFileSync(STATE, 'utf8').includes(words),
    );
  }

  /** The worker of all VMs and adapters fails, and another one takes its place. */
  async function loseWorker(): Promise<void> {
    inject(FAULT, 'throw');
    await until('another worker', async () => {
      const status = (await world!.daemon.status()) as unknown as Record<string, unknown>;
      return status.ready === true && status.workerRestarts === 1;
    });
  }

  test('while its interface has frames of before to send', async () => {
    await open(60);
    await fillInterface();
    expect(await ask('close')).toMatchObject({ ok: true });
    expect(await ask('open')).toMatchObject({ ok: true, state: 'open' });
  });

  test('the same by another worker', async () => {
    await open(60);
    await fillInterface();
    await isKept('"holder":"b"');
    await loseWorker();
    await until('it to be open', async () => (await uplink()).state === 'open');
    expect(await uplink()).toMatchObject({ openedBy: 'b' });
  });

  test('gone when its worker was lost: it comes back with its interface, in its holder’s care', async () => {
    await open(60);
    await isKept('"holder":"b"');
    lan!.unplug();
    await until('it to be gone', async () => (await uplink()).state === 'gone');
    await loseWorker();
    lan!.plug();
    await until('it to be open', async () => (await uplink()).state === 'open');
    expect(await uplink()).toMatchObject({ openedBy: 'b' });
  });

  test('open without a controller, as `keep` wants it, it is so again by another worker', async () => {
    await open(1);
    const { lines } = world!.daemon;
    await until('no controller to be left', () =>
      lines.some((line) => line.includes('stays as it is')),
    );
    await isKept('"holder":null');
    await loseWorker();
    await until('it to be open', async () => (await uplink()).state === 'open');
    expect(await uplink()).toMatchObject({ openedBy: null });
  });
});
