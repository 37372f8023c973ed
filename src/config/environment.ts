/** What a correct configuration lacks on this host, and may appear later. */
import { lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { AdapterPlan, BasePlan } from '../plan.ts';
import { isEthernet } from '../adapter/rtnetlink.ts';
import type { Native } from '../native.ts';
import { onlineCores } from '../supervision/idle-cores.ts';

/**
 * One sentence for each adapter that could not be opened now, and for each core that does not run. The kernel is asked for interfaces: /sys
 * may show those of another network namespace, and no alternative names. Where the addon is missing nothing is known of them.
 */
export function environmentWarnings(
  plan: BasePlan,
  native: Pick<Native, 'interfaceInfo'> | null,
): string[] {
  const warnings: string[] = [];
  if (native !== null)
    for (const adapter of plan.adapters) {
      const trouble = interfaceTrouble(adapter, native);
      if (trouble !== '') warnings.push(`adapter ${adapter.name}: ${trouble}`);
    }
  const online = onlineCores();
  for (const core of plan.datapath.cores) {
    if (online !== null && !online.has(core))
      warnings.push(`datapath.cores: core ${core} does not run on this host now`);
  }
  return warnings;
}

/** For `check`; a daemon says it when it reads there or writes. */
export function stateFileWarning(file: string | undefined): string[] {
  if (file === undefined) return [];
  const folder = dirname(file);
  try {
    if (statSync(folder).isDirectory()) {
      const found = lstatSync(file, { throwIfNoEntry: false });
      if (found === undefined || found.isFile()) return [];
      return [
        `state.file: ${file} is no regular file: it is neither used nor replaced; remove it, or name another one`,
      ];
    }
  } catch (error) {
    // Whoever may not look there does not know.
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return [];
  }
  return [
    `state.file: there is no folder ${folder} now; nothing outlives a restart until it is made`,
  ];
}

function interfaceTrouble(
  { interface: name }: AdapterPlan,
  native: Pick<Native, 'interfaceInfo'>,
): string {
  try {
    if (isEthernet(native.interfaceInfo(name).type)) return '';
    return `${name} is no Ethernet interface: it can’t be opened`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENODEV') return '';
    return `there is no interface ${name} in this network namespace now; it can be opened once it exists`;
  }
}
