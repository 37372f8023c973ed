/** The trace of a datagram between two VMs of one worker: which buffers, and how many bytes of them, however they are cut. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { SendOptions, Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const HEADER = 12;

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterEach(() => world.release());
afterAll(() => world?.close());

interface Place {
  address: string | null;
  bytes: number | null;
}

/** Of the first of the frames that the trace shows. */
async function traced(a: Vm, b: Vm, frame: Buffer, options: SendOptions = {}): Promise<Place[]> {
  let text = '';
  const answered = world.daemon.get('/v1/trace?vm=a&count=1&seconds=8').then((answer) => {
    text = answer;
  });
  await until('the trace', async () => {
    if (text === '') await a.send(frame, options);
    b.pollReceived();
    return text !== '';
  });
  await answered;
  const [{ from, to }] = JSON.parse(text).datagrams;
  return [from, to];
}

test('a header with a descriptor of its own, and buffers that are smaller than the datagram', async () => {
  const [a, b] = [await world.vm('a'), await world.vm('b', { receiveBytes: 128 })];
  const frame = udpFrame(A, B.ip, Buffer.alloc(300));
  for (const { address, bytes } of await traced(a, b, frame)) {
    expect(address).toMatch(/^0x[0-9a-f]+$/);
    expect(bytes).toBe(HEADER + frame.length);
  }
});

test('one with a priority tag, which is taken off', async () => {
  const [a, b] = [await world.vm('a'), await world.vm('b')];
  const frame = udpFrame(A, B.ip, Buffer.alloc(300));
  const tag = Buffer.from([0x81, 0x00, 0xa0, 0x00]);
  const tagged = Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]);
  const whole = HEADER + tagged.length;
  const [from, to] = await traced(a, b, tagged, { layout: [whole] });
  expect(from).toMatchObject({ address: expect.stringMatching(/^0x/), bytes: whole });
  expect(to).toMatchObject({ address: expect.stringMatching(/^0x/), bytes: whole - 4 });
});
