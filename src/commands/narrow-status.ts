/** The part of a status that some VMs and adapters are. */
import type { Status } from '../admin/status.ts';
import { didYouMean, known } from '../config/suggest.ts';
import { CommandError, EXIT } from '../exit-codes.ts';

/** Those VMs and adapters, and their networks. Throws a CommandError where there is none of a name. */
export function narrowStatus(status: Status, names: readonly string[]): Status {
  const all = [...Object.keys(status.vms), ...Object.keys(status.adapters)];
  for (const name of names) {
    if (all.includes(name)) continue;
    const hint = didYouMean(name, all) || known(all);
    throw new CommandError(`there is no VM or adapter "${name}"${hint}`, EXIT.usage);
  }
  const vms = named(status.vms, names);
  const adapters = named(status.adapters, names);
  const networks = [...Object.values(vms), ...Object.values(adapters)].map((one) => one.network);
  return { ...status, vms, adapters, networks: named(status.networks, networks) };
}

function named<T>(all: Record<string, T>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => names.includes(name)));
}
