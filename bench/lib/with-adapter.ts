/** The base with an adapter on the near end of a wire, opened by a management guest that a probe plays. */
import { join } from 'node:path';
import { type BaseOptions, startBase } from './candidates.ts';
import { BASE_MAC } from './generator.ts';
import type { Lab } from './lab.ts';
import type { Wire } from './namespaces.ts';
import { Probe } from './probe.ts';

/** The base's own, in the generator's network. */
export const BASE_ADDRESS = '10.77.0.1';
const CONTROLLER = { mac: '52:54:00:00:00:02', address: '10.77.0.2' };

/** `settings`: further lines of the adapter's configuration. Resolves when it is open; `pids` has the base alone. */
export async function startWithAdapter(
  lab: Lab,
  wire: Wire,
  options: BaseOptions = {},
  settings: readonly string[] = [],
) {
  const base = await startBase(lab, {
    ...options,
    namespace: wire.near,
    moreVms: `  controller:
    socket: @/controller.sock
    addresses: [${CONTROLLER.address}]
    mac: ${CONTROLLER.mac}
    management: true
`,
    adapter: `adapters:
  uplink:
    interface: ${wire.nearInterface}
    controllers: [controller]
    lease: 86400
${settings.map((line) => `    ${line}\n`).join('')}`,
  });
  const probe = new Probe(lab, 'open-adapter', {
    socket: join(base.folder, 'controller.sock'),
    ...CONTROLLER,
    baseMac: BASE_MAC,
    base: BASE_ADDRESS,
    adapter: 'uplink',
  });
  const stop = async () => {
    await probe.stop();
    await base.stop();
  };
  try {
    const answer = await probe.result<{ ok: boolean }>(30);
    if (!answer.ok) throw new Error(`the adapter was not opened: ${JSON.stringify(answer)}`);
  } catch (error) {
    await stop();
    throw new Error(`${(error as Error).message}\n${base.log()}`, { cause: error });
  }
  return { ...base, probePid: probe.child.pid, stop };
}
