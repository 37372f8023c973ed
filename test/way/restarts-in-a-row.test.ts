/** The state file over restarts that come faster than the VMs: what it keeps of them is still there. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DaemonConfig } from '../support/daemon.ts';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { World } from '../support/world.ts';

let folder: string;
let file: string;
let world: World;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-state-'));
  file = join(folder, 'state.json');
  const config: DaemonConfig & { state: unknown } = {
    vms: { ...THREE_VMS, a: { addresses: [A.ip] } },
    state: { file },
  };
  world = await World.start(config);
});
afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

const macs = () => (JSON.parse(readFileSync(file, 'utf8')) as { macs: unknown[] }).macs;
const written = () => statSync(file, { bigint: true }).mtimeNs;

test('a learned MAC is kept until its VM comes back', async () => {
  const { daemon } = world;
  const learned = [{ vm: 'a', mac: A.mac }];
  const a = await world.vm('a');
  await a.send(udpFrame(A, B.ip, Buffer.from('this is my MAC')));
  await until('a state file with it', () => {
    try {
      return macs().length === 1;
    } catch {
      return false; // none yet
    }
  });
  for (const restart of [1, 2]) {
    await daemon.die();
    expect(macs(), `before restart ${restart}`).toEqual(learned);
    const before = written();
    await daemon.restart();
    await until('the state to be written', () => written() !== before);
  }
  expect(macs()).toEqual(learned);
  // What is for the VM is sent to that MAC before it has said a word.
  a.close();
  const b = await world.vm('b');
  const next = await world.vm('a');
  await b.send(udpFrame(B, A.ip, Buffer.from('welcome back')));
  const { frame } = await next.receive();
  expect(parse(frame)).toMatchObject({ destination: A.mac, udp: {} });
});
