/**
 * Packet sockets and their rings over a veth pair, in a network namespace of their own (packet-child.ts does the work there).
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';

const ENETDOWN = -100;
const ENXIO = -6;
const EINVAL = -22;

const child = fileURLToPath(new URL('packet-child.ts', import.meta.url));

/** Why a namespace with a veth pair can't be had here, or null. */
function obstacle(): string | null {
  const pair = 'ip link add bwa type veth peer name bwb'.split(' ');
  const probe = spawnSync('unshare', ['-n', ...pair], { encoding: 'utf8' });
  if (probe.error) return `needs unshare (util-linux): ${probe.error.message}`;
  if (probe.status !== 0) return `needs root, ip and veth: ${probe.stderr.trim()}`;
  return null;
}

const reason = obstacle();

describe('packet rings', () => {
  /** What the child printed, by key. */
  let seen: Record<string, unknown>;

  beforeEach((context) => context.skip(reason !== null, reason ?? ''));

  beforeAll(() => {
    if (reason !== null) return;
    const run = spawnSync('unshare', ['-n', process.execPath, '--import', 'tsx', child], {
      encoding: 'utf8',
      timeout: 80_000,
    });
    expect(run.stderr).not.toContain('Error');
    expect(run.status).toBe(0);
    seen = Object.assign(
      {},
      ...run.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    );
  }, 90_000);

  test('opens with both rings; frames follow each other without gaps', () => {
    expect([10, 12]).toContain(seen.headerBytes);
    expect(seen.transmit).toEqual([
      { frameBytes: 2048, frames: 8 },
      { frameBytes: 6144, frames: 6 },
    ]);
    expect(seen.mapped).toEqual([true, true]);
  });

  test('interfaceInfo says index, kind, address, MTU, flags and who cuts UDP', () => {
    expect(seen.info).toEqual({
      type: 1,
      mtu: 1500,
      up: 1,
      mac: 6,
      index: true,
      takesLongUdp: true,
      cutBefore: true,
    });
  });

  test('frames of many lengths go both ways, unchanged, and the transmit ring wraps', () => {
    expect(seen.ways).toEqual([true, true]);
  });

  test('the virtio-net header travels with its frame', () => {
    expect(seen.partialAnswer).toBe(0);
    expect(seen.header).toEqual([1, 34, 16]);
  });

  test('a header that the kernel refuses is -EINVAL and TP_STATUS_WRONG_FORMAT; the next frame goes', () => {
    expect([seen.badAnswer, seen.badStatus]).toEqual([EINVAL, 4]);
    expect([seen.afterAnswer, seen.arrived]).toEqual([0, true]);
  });

  test('statistics count and start again from 0', () => {
    expect([seen.packets, seen.drops, seen.again]).toEqual([true, 0, 0]);
  });

  test('interface down: -ENETDOWN, once more when it is up; the frame stays in the ring and then goes', () => {
    expect([seen.down, seen.downStatus]).toEqual([ENETDOWN, 1]);
    expect([seen.told, seen.downUp]).toEqual([ENETDOWN, 0]);
    expect(seen.retried).toBe(110);
  });

  test('interface deleted: -ENXIO, also when its name is back', () => {
    expect([seen.gone, seen.missing, seen.stillGone]).toEqual([ENXIO, 'ENODEV', ENXIO]);
  });

  test('netlink tells of links made, changed and deleted', () => {
    expect(seen.kinds).toEqual([16, 17]); // RTM_NEWLINK, RTM_DELLINK
  });

  test('what makes no sense is refused', () => {
    expect(seen.refused).toEqual([
      'ENODEV',
      'ENODEV',
      'ENODEV',
      'RangeError',
      'RangeError',
      'RangeError',
      'TypeError',
    ]);
  });

  test('closing gives back the mapping and every descriptor', () => {
    expect(seen.detached).toEqual([0, 0]);
    // Node may have had one of its own for a moment when they were counted first.
    expect(seen.fds).toBeLessThanOrEqual(0);
  });
});
