/** The last stage: who is shown what, who is asked, who is signalled, and in which order. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Native } from '../../src/native.ts';
import type { Ring } from '../../src/port/ring.ts';
import type { TurnContext } from '../../src/turn/context.ts';
import { Notifications } from '../../src/turn/notifications.ts';
import { Publish } from '../../src/turn/publish.ts';

let told: string[];
let publish: Publish;
/** What stands in the adapter's way out, and whether its receive ring has something. */
let adapter: { publish(): void; hasWork(): boolean };

beforeEach(() => {
  told = [];
  const native = {
    signalAll: (fds: Int32Array, count: number) => told.push(`signal ${fds.slice(0, count)}`),
  } as unknown as Native;
  adapter = { publish: () => {}, hasWork: () => false };
  publish = new Publish({ native, adapters: [adapter], handoff: null } as unknown as TurnContext);
});

function ring(name: string, callFd: number, { news = true, wants = true, mapped = true } = {}) {
  const queue = {
    mapped,
    show: () => told.push(`show ${name}`) > 0 && news,
    wantsSignal: () => told.push(`ask ${name}`) > 0 && wants,
  };
  return { unshown: false, callFd, queue, isInput: name === 'input' } as unknown as Ring & {
    queue: { mapped: boolean };
  };
}

describe('publish', () => {
  test('what was gathered is shown at once; drivers are asked at the end of the turn, and signalled by one call', () => {
    const [output, input] = [ring('output', 7), ring('input', 8)];
    publish.markUnshown(output);
    publish.show();
    expect(told).toEqual(['show output']);
    publish.markUnshown(input);
    publish.markUnshown(input);
    publish.publish();
    expect(told.slice(1)).toEqual(['show input', 'ask input', 'ask output', 'signal 8,7']);
    told.length = 0;
    publish.publish();
    expect(told).toEqual([]);
  });

  test('who wants no interrupt gets none', () => {
    publish.markUnshown(ring('one', 7, { wants: false }));
    publish.markUnshown(ring('nothing new', 8, { news: false }));
    publish.publish();
    expect(told).toEqual(['show one', 'show nothing new', 'ask one']);
  });

  test('a driver that can’t be signalled is asked all the same: what it was asked for counts from then on', () => {
    publish.markUnshown(ring('mute', -1));
    publish.publish();
    expect(told).toEqual(['show mute', 'ask mute']);
  });

  test('a ring that broke in the turn is not touched any more', () => {
    const broken = ring('broken', 7);
    publish.markUnshown(broken);
    publish.show();
    broken.queue.mapped = false;
    publish.markUnshown(ring('gone', 8, { mapped: false }));
    publish.publish();
    expect(told).toEqual(['show broken']);
  });

  describe('the LAN answers as soon as it is asked', () => {
    let output: ReturnType<typeof ring>;
    beforeEach(() => {
      output = ring('output', 7);
      adapter.publish = () => {
        told.push('send');
        adapter.hasWork = () => true;
      };
      publish.markUnshown(output);
      publish.publish();
    });

    test('the VM is told of its buffer and of the answer by one call', () => {
      expect(told).toEqual(['show output', 'send']);
      told.length = 0;
      adapter.publish = () => {};
      adapter.hasWork = () => false;
      publish.markUnshown(ring('input', 8));
      publish.publish();
      expect(told).toEqual(['show input', 'ask output', 'ask input', 'signal 7,8']);
      told.length = 0;
      publish.publish();
      expect(told).toEqual([]);
    });

    test('a buffer waits for one turn only, whatever comes', () => {
      publish.publish();
      expect(told).toContain('signal 7');
    });

    test('nor is a ring forgotten that is shown anew meanwhile, nor one touched that broke', () => {
      publish.markUnshown(output);
      publish.publish();
      expect(told.at(-1)).toMatch(/^signal 7/);
      publish.markUnshown(output);
      publish.publish();
      output.queue.mapped = false;
      told.length = 0;
      publish.publish();
      expect(told.filter((text) => text.startsWith('ask'))).toEqual([]);
    });

    test('nor does it wait for anything but a turn', () => {
      told.length = 0;
      publish.tell();
      expect(told).toEqual(['ask output', 'signal 7']);
      publish.tell();
      publish.publish();
      expect(told).toEqual(['ask output', 'signal 7', 'send']);
    });

    test('input rings don’t wait', () => {
      publish.markUnshown(ring('input', 8));
      publish.publish();
      expect(told.at(-1)).toBe('signal 7,8');
    });
  });
});

test('more signals than one call makes: none is lost, and each is made once', () => {
  const signalled: number[] = [];
  const native = {
    signalAll: (fds: Int32Array, count: number) => {
      for (let index = 0; index < count; index++) signalled.push(fds[index]);
      return 0;
    },
  } as unknown as Native;
  const notifications = new Notifications(native, () => {});
  const fds = Array.from({ length: 2500 }, (_, index) => index);
  for (const fd of fds) notifications.add(fd, null);
  notifications.send();
  expect(signalled).toEqual(fds);
});
