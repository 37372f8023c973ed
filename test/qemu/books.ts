// The books of a base balance: for every port, what came from it was delivered, waits, or was
// dropped for a counted reason.

import { until } from '../../qemu/wait.ts';
import type { Daemon } from '../support/daemon.ts';

interface Source {
  datagrams: number;
  delivered: number;
  waiting: number;
}

/** Waits until received = delivered + waiting + the sum of drops holds on every port at once. */
export async function balanced(daemon: Daemon): Promise<void> {
  let last: string[] = [];
  const look = async (): Promise<boolean> => {
    const { vms, adapters } = await daemon.status();
    const ports = [
      ...Object.entries(vms).map(([name, vm]) => ({ name, source: vm.output, drops: vm.drops })),
      ...Object.entries(adapters).map(([name, adapter]) => {
        return { name, source: adapter.received, drops: adapter.drops };
      }),
    ];
    last = ports.flatMap(({ name, source, drops }) => {
      const { datagrams, delivered, waiting } = source as unknown as Source;
      const dropped = Object.values(drops).reduce((sum, count) => sum + count, 0);
      if (datagrams === delivered + waiting + dropped) return [];
      return [`${name}: ${datagrams} came, ${delivered} + ${waiting} + ${dropped} are told of`];
    });
    return last.length === 0;
  };
  await until('the books to balance', 5_000, look).catch((error: Error) => {
    throw new Error(`${error.message}: ${last.join('; ')}`);
  });
}
