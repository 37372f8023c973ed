/** A VM with two sockets, both of whose front-ends run (docs/decisions/0013-several-front-ends.md). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let folder: string;
let sockets: string[];
let world: World;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
  sockets = ['a.1', 'a.2'].map((name) => join(folder, name));
  const a = { ...THREE_VMS.a, socket: undefined, sockets };
  world = await World.start({ vms: { ...THREE_VMS, a } });
});
afterEach(() => world.release());
afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('what a front-end sent while another one was the current one goes out when that is gone', async () => {
  const b = await world.vm('b');
  const first = world.adopt(await Vm.start(sockets[0]!));
  const second = world.adopt(await Vm.start(sockets[1]!));
  const text = (vm: Vm, what: string) => vm.send(udpFrame(A, B.ip, Buffer.from(what)));
  const arrives = async () => parse((await b.receive()).frame).udp!.payload.toString();
  await text(second, 'from the current one');
  expect(await arrives()).toBe('from the current one');
  await text(first, 'from the other one');
  await pause(100); // its kick has been taken, and the base has gone to sleep
  second.close();
  expect(await arrives()).toBe('from the other one');
});
