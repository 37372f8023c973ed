/** Rows of one run follow each other: none finds what the one before it made. */
import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Lab } from '../../bench/lib/lab.ts';
import { Wire } from '../../bench/lib/namespaces.ts';
import { Child } from '../../bench/lib/process.ts';

const TIMING = { rounds: 1, warmup: 0.1, measure: 0.1, quick: true };
const root = process.getuid!() === 0;

test('a row makes what the row before it made', async ({ skip }) => {
  skip(!root, 'network namespaces need root');
  const lab = new Lab(TIMING, false);
  try {
    for (let row = 0; row < 2; row++) {
      const wire = new Wire(lab);
      expect(wire.mac('far')).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      await lab.endRow();
      for (const name of [wire.near, wire.far])
        expect(existsSync(`/run/netns/${name}`)).toBe(false);
    }
  } finally {
    lab.close();
  }
});

test('what a row started ends with it, what the lab has stays', async () => {
  const lab = new Lab(TIMING, false);
  try {
    const left = new Child('left', 'sleep', ['600']);
    await lab.endRow();
    expect(left.running).toBe(false);
    expect(existsSync(lab.folder)).toBe(true);
  } finally {
    lab.close();
  }
  expect(existsSync(lab.folder)).toBe(false);
});
