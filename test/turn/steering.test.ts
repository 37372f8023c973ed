/** Which pair brought a flow is noted for what this turn brought, and for nothing that an earlier one did. */
import { expect, test } from 'vitest';
import type { Port } from '../../src/port/port.ts';
import { Steering } from '../../src/turn/steering.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

test('turn after turn', () => {
  const noted: number[] = [];
  const flows = { sent: (_flow: number, pair: number) => noted.push(pair) };
  const storage = dirtyStorage();
  const steering = new Steering(
    storage,
    [{ current: { flows } }] as unknown as Port[],
    new Float64Array(1),
  );
  for (const pair of [2, 0, 1]) {
    storage.clear();
    for (let count = 0; count < 2; count++)
      putFrame(storage, udpFrame(A, B.ip, Buffer.from('x')), {}, 0);
    steering.brought(0, pair);
    // A ring that brought nothing.
    steering.brought(storage.count, 3);
    steering.note();
  }
  expect(noted).toEqual([2, 2, 0, 0, 1, 1]);
});
