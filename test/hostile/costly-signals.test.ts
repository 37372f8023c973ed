/**
 * A front-end that watches its own eventfds thousands of times: whoever signals one walks over all watches, in the worker's time. It pays for that as for
 * requests, and is closed where it can't. Nobody else waits for long, nor is suspected.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { native, type Waiter } from '../../src/native.ts';
import { useFixture } from '../support/fixture.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { PLAIN_FEATURES, type Vm } from '../support/vm.ts';

/** Each descriptor in each epoll instance: 300,000 watches, many milliseconds for each signal. */
const DESCRIPTORS = 500;
const INSTANCES = 600;
const EPOLLIN = 1;

const fixture = useFixture();
let descriptors: number[] = [];
let instances: Waiter[] = [];

function watchOften(eventfd: number): void {
  descriptors = Array.from({ length: DESCRIPTORS }, () => native.duplicate(eventfd));
  instances = Array.from({ length: INSTANCES }, () => native.createWaiter(1));
  for (const instance of instances)
    for (const descriptor of descriptors) instance.add(descriptor, 0, EPOLLIN, true);
}

afterEach(() => {
  for (const instance of instances.splice(0)) instance.close();
  for (const descriptor of descriptors.splice(0)) native.closeDescriptor(descriptor);
});

/** One datagram after another for a, each in a turn of its own. */
async function tell(a: Vm, over: () => Promise<boolean>): Promise<void> {
  const { b, flow } = fixture();
  await until('it to be over', async () => {
    for (let i = 0; i < 8; i++) {
      await b.send(udpFrame(B, A.ip, Buffer.from('news')));
      await b.untilSent();
    }
    a.pollReceived();
    a.received.length = 0;
    await flow.advance(1);
    return over();
  });
}

describe('an eventfd that is watched thousands of times', () => {
  const closed = () => fixture().daemon.count('a', 'costlySignals');

  test('for notifications of the driver: closed, with the reason, and may come again', async () => {
    const before = await closed();
    const a = await fixture().attacker({ features: PLAIN_FEATURES });
    watchOften(a.receiveQueue().callDescriptor);
    await tell(a, async () => (await closed()) > before);
    await fixture().daemon.untilState('a', 'waiting');
    expect((await fixture().daemon.vm('a')).lastError).toContain('watched far too often');
    await fixture().flow.advance(20);
    await fixture().goodPasses(await fixture().attacker());
  });

  test('which is not: hundreds of notifications, and nothing happens', async () => {
    const before = await closed();
    const a = await fixture().attacker({ features: PLAIN_FEATURES });
    let rounds = 0;
    await tell(a, async () => ++rounds === 60);
    expect(await closed()).toBe(before);
    await fixture().goodPasses(a);
  });
});
