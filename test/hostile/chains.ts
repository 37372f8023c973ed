/**
 * The corpus of lying descriptor chains: each breaks one rule of virtio 1.3, 2.7.5 and 2.8.6
 * (or names memory that isn't there). The tests in
 * this folder tell them one by one; feature-matrix.test.ts tells all of them under many feature sets.
 */
import { type Chain, DESC, type DescriptorFields } from '../support/driver.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';
import type { Lie } from './attack.ts';

/** An honest chain of `pieces` descriptors, to be spoilt afterwards. */
export function honest(a: Vm, pieces = 2): Chain {
  const bytes = Buffer.concat([
    Buffer.alloc(a.headerBytes),
    udpFrame(A, B.ip, Buffer.from('a lie')),
  ]);
  const step = Math.ceil(bytes.length / pieces);
  const parts = Array.from({ length: pieces }, (_, i) => ({
    data: bytes.subarray(i * step, (i + 1) * step),
  }));
  a.reapTransmitted();
  return a.transmitQueue().add(parts)!;
}

/** An honest indirect chain. */
export function honestIndirect(a: Vm, pieces = 2): Chain {
  const bytes = Buffer.concat([
    Buffer.alloc(a.headerBytes),
    udpFrame(A, B.ip, Buffer.from('a lie')),
  ]);
  const step = Math.ceil(bytes.length / pieces);
  const parts = Array.from({ length: pieces }, (_, i) => ({
    data: bytes.subarray(i * step, (i + 1) * step),
  }));
  a.reapTransmitted();
  return a.transmitQueue().add(parts, { indirect: true })!;
}

function spoil(
  pieces: number,
  which: number,
  change: (a: Vm, chain: Chain) => Partial<DescriptorFields>,
): (a: Vm) => void {
  return (a) => {
    const chain = honest(a, pieces);
    a.transmitQueue().rewrite(chain, which, change(a, chain));
  };
}

/** Packed rings have no `next` (2.8.6): these two kinds are told in split rings only. */
export const LOOPS: Lie[] = [
  {
    name: 'a descriptor points to itself',
    reason: 'chainLoop',
    format: 'split',
    tell: spoil(2, 0, (_, chain) => ({ next: chain.head })),
  },
  {
    name: 'the second points back to the first',
    reason: 'chainLoop',
    format: 'split',
    tell: spoil(2, 1, (_, chain) => ({ flags: DESC.next, next: chain.head })),
  },
  {
    name: 'a loop of empty descriptors',
    reason: 'chainLoop',
    format: 'split',
    tell: spoil(1, 0, (_, chain) => ({ length: 0, flags: DESC.next, next: chain.head })),
  },
  {
    name: 'a loop inside an indirect table',
    reason: 'chainLoop',
    format: 'split',
    needs: FEATURE.INDIRECT_DESC,
    tell(a) {
      const { table, parts } = honestIndirect(a, 3);
      const { address, length } = parts[1];
      a.transmitQueue().writeEntry(table, 1, { address, length, flags: DESC.next, next: 0 });
    },
  },
];

export const BAD_NEXT: Lie[] = [999, 65535].map((next) => ({
  name: `next is ${next}`,
  reason: 'chainBadNext' as const,
  format: 'split' as const,
  tell: spoil(2, 0, (a) => ({ next: Math.max(next, a.transmitQueue().size) })),
}));
BAD_NEXT.push(
  {
    name: 'next is the ring size',
    reason: 'chainBadNext',
    format: 'split',
    tell: spoil(2, 0, (a) => ({ next: a.transmitQueue().size })),
  },
  {
    name: 'next leaves an indirect table',
    reason: 'chainBadNext',
    format: 'split',
    needs: FEATURE.INDIRECT_DESC,
    tell(a) {
      const { table, parts } = honestIndirect(a, 2);
      const { address, length } = parts[0];
      a.transmitQueue().writeEntry(table, 0, { address, length, flags: DESC.next, next: 2 });
    },
  },
);

/** End of the last region, where RAM ends. */
const end = (a: Vm) => {
  const last = a.memory.regions.at(-1)!;
  return last.at + last.length;
};
/** Long enough to be a datagram if it were read. */
const LENGTH = 72;

const ADDRESSES: [string, (a: Vm) => number | bigint][] = [
  ['past the end of memory', (a) => end(a) - 8],
  ['one byte past the end', (a) => end(a) - LENGTH + 1],
  ['right behind the end', (a) => end(a)],
  ['in the hole', () => 0xb0000],
  ['from memory into the hole', () => 0xa0000 - 8],
  ['at 1 TiB', () => 1n << 40n],
  ['at 2^53 + 1', () => (1n << 53n) + 1n],
  ['at 2^63', () => 1n << 63n],
  ['wrapping 2^64', () => (1n << 64n) - 8n],
  ['at a user address', (a) => a.memory.userAddress(a.transmitQueue().slotsAt)],
];

export const BAD_ADDRESS: Lie[] = ADDRESSES.flatMap(([name, address]) => [
  {
    name: `a buffer ${name}`,
    reason: 'chainBadAddress' as const,
    tell: spoil(1, 0, (a) => ({ address: address(a), length: LENGTH })),
  },
  {
    name: `the second buffer ${name}`,
    reason: 'chainBadAddress' as const,
    tell: spoil(2, 1, (a) => ({ address: address(a), length: LENGTH })),
  },
]);
BAD_ADDRESS.push({
  name: 'a buffer of 4 GiB less one',
  reason: 'chainBadAddress',
  tell: spoil(2, 1, () => ({ length: 0xffffffff })),
});

function indirectLie(change: (a: Vm) => Partial<DescriptorFields>) {
  return (a: Vm) => a.transmitQueue().rewrite(honestIndirect(a, 2), 0, change(a));
}

export const BAD_INDIRECT: Lie[] = [
  ...[0, 8, 15, 24, 33].map((length) => ({
    name: `a table of ${length} bytes`,
    reason: 'chainBadIndirect' as const,
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie(() => ({ length })),
  })),
  {
    name: 'a table of one entry more than the ring has',
    reason: 'chainBadIndirect',
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie((a) => ({ length: 16 * (a.transmitQueue().size + 1) })),
  },
  {
    name: 'a table of 65536 entries',
    reason: 'chainBadIndirect',
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie(() => ({ length: 16 * 65536 })),
  },
  {
    name: 'a table of 2^28 entries less one',
    reason: 'chainBadIndirect',
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie(() => ({ length: 0xfffffff0 })),
  },
  {
    name: 'a table in the hole',
    reason: 'chainBadIndirect',
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie(() => ({ address: 0xb0000 })),
  },
  {
    name: 'a table that runs over the end of memory',
    reason: 'chainBadIndirect',
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie((a) => ({ address: end(a) - 16 })),
  },
  {
    name: 'a table that wraps 2^64',
    reason: 'chainBadIndirect',
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie(() => ({ address: (1n << 64n) - 16n })),
  },
  {
    name: 'INDIRECT and NEXT together',
    reason: 'chainBadIndirect',
    format: 'split',
    needs: FEATURE.INDIRECT_DESC,
    tell: indirectLie(() => ({ flags: DESC.indirect | DESC.next, next: 0 })),
  },
  ...[0, 1].map((which) => ({
    name: `a table as the ${which === 0 ? 'first' : 'last'} descriptor of a chain of two`,
    reason: 'chainBadIndirect' as const,
    format: 'packed' as const,
    needs: FEATURE.INDIRECT_DESC,
    tell: spoil(2, which, () => ({
      length: 32,
      flags: which === 0 ? DESC.indirect | DESC.next : DESC.indirect,
    })),
  })),
  {
    name: 'a table within a table',
    reason: 'chainBadIndirect',
    needs: FEATURE.INDIRECT_DESC,
    tell(a) {
      const { table } = honestIndirect(a, 2);
      const fields = { address: table + 16, length: 16, flags: DESC.indirect };
      a.transmitQueue().writeEntry(table, 0, fields);
    },
  },
  {
    name: 'a table that was not negotiated',
    reason: 'chainBadIndirect',
    lacks: FEATURE.INDIRECT_DESC,
    tell: indirectLie(() => ({})),
  },
];

export const BAD_DIRECTION: Lie[] = [
  {
    name: 'an output buffer for the device to write',
    reason: 'chainBadDirection',
    tell: spoil(1, 0, () => ({ flags: DESC.write })),
  },
  {
    name: 'a writable descriptor behind the readable ones',
    reason: 'chainBadDirection',
    tell: spoil(2, 1, () => ({ flags: DESC.write })),
  },
  {
    name: 'a readable descriptor behind a writable one',
    reason: 'chainBadOrder',
    tell: spoil(2, 0, (_, chain) => ({
      flags: DESC.write | DESC.next,
      next: chain.descriptors[1],
    })),
  },
];

/** A chain whose bytes end too early. */
function cut(total: number) {
  return (a: Vm) => {
    a.transmitQueue().rewrite(honest(a, 1), 0, { length: total });
  };
}

export const SHORT: Lie[] = [
  { name: 'nothing at all', reason: 'shortChain', tell: cut(0) },
  { name: 'one byte', reason: 'shortChain', tell: cut(1) },
  { name: 'five bytes', reason: 'shortChain', tell: cut(5) },
  {
    name: 'one byte less than the header',
    reason: 'shortChain',
    tell: (a) => cut(a.headerBytes - 1)(a),
  },
  {
    name: 'exactly the header',
    reason: 'shortChain',
    tell: (a) => cut(a.headerBytes)(a),
  },
  {
    name: 'the header and one byte',
    reason: 'runt',
    tell: (a) => cut(a.headerBytes + 1)(a),
  },
  {
    name: 'one byte less than an Ethernet header',
    reason: 'runt',
    tell: (a) => cut(a.headerBytes + 13)(a),
  },
  {
    name: 'an Ethernet header and nothing behind it',
    reason: 'badIp',
    tell: (a) => cut(a.headerBytes + 14)(a),
  },
];

export const OVERSIZE: Lie[] = [
  {
    name: '80 KiB over 40 descriptors',
    reason: 'oversize',
    tell(a) {
      const chain = honest(a, 40);
      const queue = a.transmitQueue();
      chain.descriptors.forEach((_, i) => {
        queue.rewrite(chain, i, { address: queue.slotsAt, length: 2048 });
      });
    },
  },
  {
    name: 'one descriptor of a megabyte',
    reason: 'oversize',
    tell: spoil(1, 0, (a) => ({ address: a.memory.regions.at(-1)!.at, length: 1 << 20 })),
  },
  {
    name: 'all of memory a hundred times',
    reason: 'oversize',
    tell(a) {
      const queue = a.transmitQueue();
      const pieces = Math.min(queue.size - 4, 100);
      const chain = honest(a, pieces);
      const { at, length } = a.memory.regions.at(-1)!;
      chain.descriptors.forEach((_, i) => {
        queue.rewrite(chain, i, { address: at, length });
      });
    },
  },
];

export const CHAIN_LIES: Lie[] = [
  ...LOOPS,
  ...BAD_NEXT,
  ...BAD_ADDRESS,
  ...BAD_INDIRECT,
  ...BAD_DIRECTION,
  ...SHORT,
  ...OVERSIZE,
];
