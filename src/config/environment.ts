/** What is worth a warning about a correct configuration, or lacks on this host and may appear later. */
import { existsSync, readFileSync } from 'node:fs';
import type { BasePlan } from '../base/plan.ts';

export function environmentWarnings(plan: BasePlan): string[] {
  const warnings: string[] = [];
  plan.networks.forEach((network, index) => {
    const names = plan.adapters.filter((each) => each.network === index).map(({ name }) => name);
    if (names.length < 2) return;
    warnings.push(
      `network ${network.name} has the adapters ${names.join(', ')}: what is sent leaves through ${names.at(-1)} only`,
    );
  });
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
  return warnings;
}
