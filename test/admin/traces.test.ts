/** Traces under way: how many there may be, and who answers where a turn worker is gone. */
import { expect, it } from 'vitest';
import { Traces } from '../../src/admin/traces.ts';

it('at most four are under way; those of a worker that is gone end, the others go on', async () => {
  const asked: number[] = [];
  const traces = new Traces((vm) => asked.push(vm) > 0);
  const answers = [0, 1, 0, 1].map((vm) => traces.request(vm, 1, 8));
  expect(traces.request(0, 1, 8)).toBeNull();
  expect(asked).toEqual([0, 1, 0, 1]);
  traces.end((vm) => vm === 0);
  expect(await Promise.all([answers[0], answers[2]])).toEqual([[], []]);
  const datagram = {} as Parameters<typeof traces.take>[1][number];
  traces.take(2, [datagram]);
  traces.take(4, [datagram, datagram]);
  expect(await Promise.all([answers[1], answers[3]])).toEqual([[datagram], [datagram, datagram]]);
});
