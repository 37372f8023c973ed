/**
 * What must hold between an adapter and the rest of a configuration: its network and interface are its alone, its controllers are
 * management VMs, its next hop is a neighbour outside the base. As in `cross-checks.ts`, values that the schema has complained of
 * are passed over.
 */
import { contains, formatPrefix, parseAddress } from './addresses.ts';
import type { Network } from './cross-checks.ts';
import type { Path } from './source.ts';
import { didYouMean, known } from './suggest.ts';
import { type Complain, list, mapping } from './values.ts';

export class AdapterChecks {
  readonly #raw: Record<string, unknown>;
  readonly #owners: ReadonlyMap<number, string>;
  readonly #complain: Complain;
  /** Which adapter has an interface, or a network. */
  readonly #interfaces = new Map<string, string>();
  readonly #networks = new Map<string, string>();

  /** `owners`: who has an address, as a path for people. */
  constructor(
    raw: Record<string, unknown>,
    owners: ReadonlyMap<number, string>,
    complain: Complain,
  ) {
    this.#raw = raw;
    this.#owners = owners;
    this.#complain = complain;
  }

  /** Checks one; `network` is the one it is on, null where that is not known. */
  check(name: string, value: Record<string, unknown>, network: Network | null): void {
    const at: Path = ['adapters', name];
    this.#only(name, value, network);
    if (typeof value.interface === 'string') {
      const other = this.#interfaces.get(value.interface);
      if (other)
        this.#complain(
          [...at, 'interface'],
          `${value.interface} is already the interface of adapter ${other}: one adapter per interface`,
        );
      else this.#interfaces.set(value.interface, name);
    }
    this.#controllers(value.controllers, [...at, 'controllers']);
    this.#nextHop(value.nextHop, [...at, 'nextHop'], network);
  }

  /** What leaves a network goes one way (docs/decisions/0019). */
  #only(name: string, value: Record<string, unknown>, network: Network | null): void {
    if (network === null) return;
    const other = this.#networks.get(network.name);
    if (other === undefined) {
      this.#networks.set(network.name, name);
      return;
    }
    const path = ['adapters', name];
    this.#complain(
      value.network === undefined ? path : [...path, 'network'],
      `network ${network.name} has the adapter ${other} already: one adapter per network (several interfaces can be one bond)`,
      value.network === undefined ? 'key' : 'value',
    );
  }

  #controllers(value: unknown, path: Path): void {
    const vms = mapping(this.#raw.vms);
    const seen = new Set<string>();
    list(value).forEach((controller, index) => {
      if (typeof controller !== 'string') return;
      const at = [...path, index];
      if (seen.has(controller)) this.#complain(at, `${controller} is listed twice: remove one`);
      seen.add(controller);
      if (vms === null) return;
      if (!Object.hasOwn(vms, controller)) {
        this.#complain(
          at,
          `there is no VM "${controller}"${didYouMean(controller, Object.keys(vms)) || known(Object.keys(vms))}`,
        );
      } else if (isOff(mapping(vms[controller])?.management)) {
        this.#complain(
          at,
          `VM ${controller} is no management VM: give it "management: true" or choose another`,
        );
      }
    });
  }

  #nextHop(text: unknown, path: Path, network: Network | null): void {
    const address = parseAddress(text);
    const subnet = network?.subnet;
    if (address === null || !subnet) return;
    if (!contains(subnet, address)) {
      this.#complain(
        path,
        `${text} is outside the subnet ${formatPrefix(subnet)} of network ${network.name}: the next hop must be a neighbour`,
      );
    } else if (address === subnet.first || address === subnet.last) {
      this.#complain(
        path,
        `${text} is the network or broadcast address of ${formatPrefix(subnet)}: choose another`,
      );
    }
    const owner = this.#owners.get(address);
    if (owner)
      this.#complain(path, `${text} is ${owner}: the next hop must be a router outside the base`);
  }
}

/** Neither true nor something that is no answer, of which the schema has complained. */
function isOff(management: unknown): boolean {
  return management === undefined || management === false;
}
