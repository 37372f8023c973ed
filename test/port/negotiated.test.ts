/** What an attachment makes of acknowledged features, and which of a VM's attachments datagrams go through. */
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { Attachment } from '../../src/port/attachment.ts';
import { Port } from '../../src/port/port.ts';
import type { DirtyLog } from '../../src/virtio/dirty-log.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { lanPlan } from '../support/lan-plan.ts';

const { CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, LOG_ALL, MTU } = FEATURE;

function attached(...features: number[]): Attachment {
  const attachment = new Attachment(native);
  attachment.setFeatures(bitsOf(features));
  return attachment;
}

test('segmentation offloads count with checksum offload only', () => {
  expect(attached(HOST_TSO4, GUEST_TSO4)).toMatchObject({ hostTso4: false, guestTso4: false });
  expect(attached(CSUM, HOST_TSO4)).toMatchObject({ hostTso4: true, guestTso4: false });
  expect(attached(GUEST_CSUM, GUEST_TSO4)).toMatchObject({ hostTso4: false, guestTso4: true });
});

test('the MTU is forgotten with a driver that does not know of it', () => {
  const attachment = attached(MTU);
  attachment.mtu = 1400;
  attachment.setFeatures(bitsOf([MTU]));
  expect(attachment.mtu).toBe(1400);
  attachment.setFeatures(bitsOf([]));
  expect(attachment.mtu).toBe(65_535);
});

test('rings wait for a log that has still to come, or for another one', () => {
  const attachment = attached(LOG_ALL);
  attachment.firstStarts();
  expect(attachment.awaitsLog, 'a front-end that shares none').toBe(false);
  attachment.sharesLog = true;
  attachment.firstStarts();
  expect(attachment.awaitsLog).toBe(true);
  attachment.takeLog({} as DirtyLog);
  expect(attachment.awaitsLog).toBe(false);
  attachment.firstStarts();
  expect(attachment.awaitsLog).toBe(false);
  attachment.logIsOld = true;
  attachment.firstStarts();
  expect(attachment.awaitsLog).toBe(true);
  attachment.setFeatures(bitsOf([]));
  expect(attachment.awaitsLog, 'nothing is to be logged any more').toBe(false);
});

test('rings that are started again do not wait for a log that came meanwhile', () => {
  const attachment = attached(LOG_ALL);
  attachment.sharesLog = true;
  attachment.logIsOld = true;
  attachment.takeLog({} as DirtyLog);
  attachment.firstStarts();
  expect(attachment.awaitsLog).toBe(false);
});

/** An attachment, with a pair of rings that runs or is started only. */
function started(enabled: boolean): Attachment {
  const attachment = attached(FEATURE.PROTOCOL_FEATURES);
  for (const index of [0, 1]) {
    const ring = attachment.ring(index)!;
    ring.started = true;
    ring.queue.mapped = true;
    ring.enable(enabled);
  }
  attachment.refresh();
  return attachment;
}

test('only enabled rings get datagrams', () => {
  expect([started(true).receives, started(false).receives]).toEqual([true, false]);
});

test('a front-end that comes takes the place of one without started rings, and one that runs that of one that goes', () => {
  const [vm] = lanPlan([{ addresses: ['10.77.0.10'] }]).vms;
  const port = new Port(0, vm, keyOf('10.77.0.10'));
  const idle = attached();
  port.attach(idle);
  const running = started(true);
  port.attach(running);
  expect(port.current).toBe(running);
  const other = started(true);
  port.attach(other);
  expect(port.current).toBe(running);
  const last = attached();
  port.attach(last);
  port.detach(running);
  expect(port.current).toBe(other);
  port.detach(other);
  expect(port.current).toBe(last);
  port.detach(idle);
  port.detach(last);
  expect(port.current).toBe(null);
});
