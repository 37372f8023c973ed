/** What a correct configuration lacks on this host, and may appear later. */
import { existsSync, readFileSync } from 'node:fs';
import type { BasePlan } from '../base/plan.ts';
import { onlineCores } from '../supervision/idle-cores.ts';

/** One sentence for each adapter that could not be opened now, and for each core that does not run. */
export function environmentWarnings(plan: BasePlan): string[] {
  const warnings: string[] = [];
  for (const adapter of plan.adapters) {
    const folder = `/sys/class/net/${adapter.interface}`;
    if (!existsSync('/sys/class/net')) break;
    if (!existsSync(folder)) {
      warnings.push(
        `adapter ${adapter.name}: there is no interface ${adapter.interface} on this host now; it can be opened once it exists`,
      );
    } else if (readFileSync(`${folder}/type`, 'latin1').trim() !== '1') {
      warnings.push(
        `adapter ${adapter.name}: ${adapter.interface} is no Ethernet interface: it can’t be opened`,
      );
    }
  }
  const online = onlineCores();
  for (const core of plan.datapath.cores) {
    if (online !== null && !online.has(core))
      warnings.push(`datapath.cores: core ${core} does not run on this host now`);
  }
  return warnings;
}
