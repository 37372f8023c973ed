/** VMs that fill base storage keep neither the LAN nor other workers out, nor do these keep each other out. */
import { expect, test } from 'vitest';
import type { Adapter } from '../../src/adapter/adapter.ts';
import type { TurnContext } from '../../src/turn/context.ts';
import { LARGEST, Site } from '../support/site.ts';

const site = new Site();
const context = (
  site.base.turn as unknown as {
    context: Omit<TurnContext, 'handoff'> & { handoff: unknown };
  }
).context;
const { storage } = context;
/** Frames that there is to be room for, and bytes of each. */
const [FRAMES, BYTES] = [1024, 960];

function flood(): void {
  site.begin(1);
  for (let vm = 1; vm <= 20; vm++) {
    site.prepare(vm, LARGEST);
    site.send(vm);
  }
}

test('the LAN, and other workers', () => {
  const rooms: Record<string, boolean> = {};
  let lan = true;
  let before = { count: 0, fill: 0 };
  const restore = () => Object.assign(storage, before);
  (context.adapters as Adapter[]).push({
    hasWork: () => lan,
    gather: () => {
      rooms.lan = storage.hasRoom(FRAMES, BYTES, BYTES);
      // Nobody is to route what filled it.
      if (rooms.handed !== undefined) restore();
      return 1;
    },
    release: () => {},
    publish: () => {},
  } as unknown as Adapter);
  flood();
  site.turn();
  expect(rooms).toEqual({ lan: true });
  site.end();

  context.handoff = {
    hasWork: () => true,
    gather: () => {
      rooms.handed = storage.hasRoom(FRAMES, BYTES, BYTES);
      before = { count: storage.count, fill: storage.fill };
      while (storage.take(0, BYTES) >= 0);
      if (!lan) restore();
      return 1;
    },
    release: () => {},
    publish: () => {},
    hasAdapters: true,
  };
  flood();
  site.turn();
  expect(rooms).toEqual({ lan: true, handed: true });
  site.end();

  lan = false;
  flood();
  site.turn();
  expect(rooms.handed).toBe(true);
  site.end();
});
