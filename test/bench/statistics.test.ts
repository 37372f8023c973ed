import { describe, expect, test } from 'vitest';
import { drawPlot } from '../../bench/lib/plot.ts';
import { udpFrame } from '../../bench/lib/pcap.ts';
import { Child } from '../../bench/lib/process.ts';
import {
  compare,
  judgeNoise,
  median,
  percentile,
  roundTrips,
  summarise,
} from '../../bench/lib/statistics.ts';
import { countCollections } from '../../bench/rows/garbage.ts';
import { parse } from '../support/packets.ts';
import { until } from '../support/until.ts';

describe('what the benchmark makes of its numbers', () => {
  test('medians and percentiles', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
    expect(percentile([5, 1, 4, 2, 3], 0.99)).toBe(5);
    expect(summarise([90, 100, 110])).toEqual({ values: [90, 100, 110], median: 100, spread: 0.2 });
  });

  test('ratios are taken round by round', () => {
    const {
      ratios,
      median: middle,
      verdict,
    } = compare('peer', [10, 30, 60], [10, 20, 20], 1.5, true);
    expect(ratios).toEqual([1, 1.5, 3]);
    expect(middle).toBe(1.5);
    expect(verdict).toBe('reached');
  });

  test('where less is better the ratio is turned over', () => {
    expect(compare('peer', [2], [4], 1, true, true)).toMatchObject({
      ratios: [2],
      verdict: 'reached',
    });
    expect(compare('peer', [4], [2], 1, true, true)).toMatchObject({
      ratios: [0.5],
      verdict: 'missed',
    });
  });

  test('a noisy machine judges only when all rounds agree', () => {
    expect(compare('peer', [1, 2], [1, 1], 1.2, false).verdict).toBe('noisy');
    expect(compare('peer', [2, 2], [1, 1], 1.2, false).verdict).toBe('reached');
    expect(compare('peer', [1, 1], [1, 1], 1.2, false).verdict).toBe('missed');
    // Nothing was measured alike.
    expect(compare('peer', [], [], 1.2, true).verdict).toBe('noisy');
    expect(judgeNoise([{ foreign: 0.3, steal: 0 }], [0.01]).quiet).toBe(false);
    expect(judgeNoise([{ foreign: 0.01, steal: 0 }], [0.5]).quiet).toBe(false);
    expect(judgeNoise([{ foreign: 0.01, steal: 0.01 }], [0.05]).quiet).toBe(true);
  });

  test('a round trip that was lost is no quick one', () => {
    const times = Array.from({ length: 100 }, (_, index) => (index < 3 ? Number.NaN : 10));
    expect(roundTrips(times, 200_000)).toEqual({ p50: 10, p99: 200_000, worst: 200_000 });
    expect(roundTrips([3, 1, 2], 200_000)).toEqual({ p50: 2, p99: 3, worst: 3 });
  });

  test('who has failed in a round is not compared', () => {
    expect(() => compare('peer', [1, 2], [1, 0], 1.5, true)).toThrow(
      'peer has failed in a round, which gave 0',
    );
    expect(() => compare('peer', [1, Number.NaN], [1, 1], null, true)).toThrow('basewire has');
    expect(() => compare('peer', [-30], [1], 1, true, true)).toThrow('gave -30');
  });

  test('a process that has ended is not taken for one that is idle', async () => {
    const child = new Child('sh', 'sh', ['-c', 'echo its last words; read -r line; exit 3']);
    try {
      await child.until((output) => (output.includes('words') ? true : null), 'its words');
      child.mustRun();
      child.write('end\n');
      await until('its end', () => !child.running);
      expect(() => child.mustRun()).toThrow(/ended \(exit code 3\)[\s\S]*its last words/);
    } finally {
      await child.stop();
    }
  });

  test('collections are counted per isolate', () => {
    const text = [
      '[4711:0x5581d2c0]       23 ms: Scavenge 2.4 (3.1) -> 2.0 (4.1) MB, 0.6 / 0.0 ms',
      '{"level":30,"msg":"ready"}',
      '[4711:0x7f00aa00]      123 ms: Mark-Compact 2.4 (3.1) -> 2.0 (4.1) MB, 0.6 / 0.0 ms',
      '[4711:0x5581d2c0]      223 ms: Scavenge 2.4 (3.1) -> 2.0 (4.1) MB, 0.6 / 0.0 ms',
    ].join('\n');
    expect([...countCollections(text)]).toEqual([
      ['0x5581d2c0', 2],
      ['0x7f00aa00', 1],
    ]);
  });

  test('the frames it sends are well-formed', () => {
    const frame = udpFrame({
      sourceMac: '52:54:00:00:00:01',
      destinationMac: '52:54:00:00:00:02',
      source: '192.0.2.1',
      destination: '10.77.0.10',
      bytes: 64,
    });
    expect(frame.length).toBe(64);
    expect(parse(frame)).toMatchObject({ checksum: 'good', problems: [] });
  });

  test('the plot shows every candidate', () => {
    const cell = {
      name: '64 B',
      unit: 'datagrams/s',
      less: false,
      candidates: { basewire: summarise([2e6, 3e6]), 'a < b': summarise([1e6]) },
      comparisons: [],
      noise: null,
      notes: [],
    };
    const machine = {
      cpu: '',
      cores: 2,
      memoryGiB: 1,
      kernel: '',
      node: '',
      hugepages: false,
      versions: {},
    };
    const row = {
      row: 'switch',
      title: 'Switch',
      date: '',
      rounds: 1,
      measureSeconds: 1,
      quick: false,
      machine,
      cells: [cell],
    };
    const svg = drawPlot({ format: 1, rows: { switch: row } });
    expect(svg).toContain('basewire 2.50 M');
    expect(svg).toContain('a &lt; b 1.00 M');
  });
});
