/**
 * Which pages of a guest's memory the base wrote to, to be held against a dirty log: memory is compared with how it was, page by page.
 */
import type { DirtyLogArea } from './dirty-log.ts';
import { asPacked } from './driver-packed.ts';
import { FEATURE } from './protocol.ts';
import type { Vm } from './vm.ts';

const PAGE = 4096;

/** QEMU's order: the log, LOG_ALL, the rings' addresses with the log flag. Throws when the base refuses. */
export async function beginLogging(vm: Vm, log: DirtyLogArea): Promise<void> {
  const answers = [
    await log.share(vm.frontEnd),
    await vm.frontEnd.setFeatures(vm.features | FEATURE.LOG_ALL),
  ];
  for (const index of [0, 1]) {
    const queue = vm.queues[index];
    const { descriptorsAt, availableAt, usedAt } = queue;
    answers.push(
      await vm.frontEnd.setVringAddress({
        index,
        flags: 1,
        descriptors: vm.memory.userAddress(descriptorsAt),
        available: vm.memory.userAddress(availableAt),
        used: vm.memory.userAddress(usedAt),
        log: BigInt(queue.format === 'packed' ? descriptorsAt : usedAt),
      }),
    );
  }
  if (answers.slice(1).some((answer) => answer !== 0n)) throw new Error(`refused: ${answers}`);
}

/** A copy of a guest's memory, region by region. */
export function snapshot(vm: Vm): Buffer[] {
  return vm.memory.regions.map(({ bytes }) => Buffer.from(bytes));
}

/** Addresses of pages that differ from a snapshot, without those that only the driver writes. */
export function changed(vm: Vm, before: Buffer[]): number[] {
  const pages: number[] = [];
  const own = new Set<number>();
  for (const queue of vm.queues) {
    for (const [at, length] of [
      [queue.descriptorsAt, 16 * queue.size],
      [queue.availableAt, queue.ringBytes.available],
    ]) {
      for (let page = at; page < at + length; page += PAGE) own.add(page);
    }
  }
  const sends = vm.transmitQueue();
  vm.memory.regions.forEach(({ at, bytes }, i) => {
    for (let from = 0; from < bytes.length; from += PAGE) {
      const address = at + from;
      if (own.has(address)) continue;
      if (address >= sends.slotsAt && address < sends.slotsAt + sends.size * sends.slotBytes)
        continue;
      if (bytes.compare(before[i], from, from + PAGE, from, from + PAGE) !== 0) pages.push(address);
    }
  });
  return pages;
}

/** Pages with used descriptors of packed rings, which the driver writes as well; taken since the last call. */
export function givenBack(vm: Vm): () => Set<number> {
  let pages = new Set<number>();
  for (const queue of vm.queues) {
    if (queue.format !== 'packed') continue;
    asPacked(queue).whenUsed = (position) => {
      const at = queue.descriptorsAt + 16 * position;
      pages.add(at - (at % PAGE));
    };
  }
  return () => {
    const taken = pages;
    pages = new Set();
    return taken;
  };
}
