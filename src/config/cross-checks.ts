/**
 * What must hold between the values of a configuration: every address in its subnet and nothing twice.
 *
 * These checks run on the file's raw values, also where the schema complained: one mistake must not hide another.
 * So each looks only at values that are well-formed and stays silent about the rest, which the schema has named.
 */
import { MAX_VMS_PER_WORKER } from '../plan.ts';
import { MAX_WORKERS } from '../handoff/layout.ts';
import { AdapterChecks } from './adapter-checks.ts';
import {
  contains,
  formatPrefix,
  overlap,
  parseAddress,
  parsePrefix,
  MAC_PATTERN,
  type Prefix,
  unusableAddress,
  unusableMac,
} from './addresses.ts';
import { NAME_PATTERN, NAME_RULE } from './schema.ts';
import { SocketChecks } from './socket-checks.ts';
import type { Path } from './source.ts';
import { didYouMean, known } from './suggest.ts';
import { type Complain, list, mapping } from './values.ts';

export interface Network {
  name: string;
  subnet: Prefix | null;
  address: number | null;
}

/** Checks everything; calls `complain` for each finding, in any order. */
export function crossCheck(raw: unknown, complain: Complain): void {
  new CrossChecks(raw, complain).run();
}

type Entry = [name: string, value: Record<string, unknown>];

class CrossChecks {
  readonly #raw: Record<string, unknown>;
  readonly #complain: Complain;
  readonly #networks = new Map<string, Network>();
  /** Who has an address, as a path for people. */
  readonly #owners = new Map<number, string>();
  readonly #macs = new Map<string, string>();
  readonly #prefixes: { prefix: Prefix; owner: string }[] = [];

  constructor(raw: unknown, complain: Complain) {
    this.#raw = mapping(raw) ?? {};
    this.#complain = complain;
  }

  run(): void {
    for (const section of ['networks', 'vms', 'adapters']) this.#names(section);
    for (const entry of this.#entries('networks')) this.#network(entry);
    this.#subnetsApart();
    for (const entry of this.#entries('vms')) this.#vm(entry);
    const adapters = new AdapterChecks(this.#raw, this.#owners, this.#complain);
    for (const [name, value] of this.#entries('adapters')) {
      this.#mac(value.mac, ['adapters', name, 'mac'], `the MAC of adapter ${name}`);
      adapters.check(name, value, this.#networkOf(value, ['adapters', name]));
    }
    this.#cores();
    this.#crowds();
    new SocketChecks(this.#raw, this.#entries('vms'), this.#complain).run();
  }

  /** What the file says, which may be no number, or the default. */
  get #workers(): unknown {
    return mapping(this.#raw.datapath)?.workers ?? 1;
  }

  /** One core for each worker, and nobody else's. Whether the host has it, it is asked when it matters. */
  #cores(): void {
    const datapath = mapping(this.#raw.datapath);
    if (!Array.isArray(datapath?.cores)) return;
    const { cores } = datapath;
    const workers = this.#workers;
    if (Number.isInteger(workers) && cores.length !== workers) {
      this.#complain(
        ['datapath', 'cores'],
        `names ${cores.length} cores for ${workers} turn worker${workers === 1 ? '' : 's'}: one each is needed`,
      );
    }
    cores.forEach((core, index) => {
      if (Number.isInteger(core) && cores.indexOf(core) !== index) {
        this.#complain(['datapath', 'cores', index], `core ${core} is another worker's already`);
      }
    });
  }

  /** No turn worker has more VMs than it has room for. */
  #crowds(): void {
    const workers = this.#workers;
    if (!Number.isInteger(workers)) return;
    const count = Number(workers);
    if (count < 1 || count > MAX_WORKERS) return;
    const crowds = new Array<number>(count).fill(0);
    this.#entries('vms').forEach(([, value], index) => {
      const worker = Number(value.worker ?? index % count);
      if (worker in crowds) crowds[worker]!++;
    });
    crowds.forEach((vms, worker) => {
      if (vms <= MAX_VMS_PER_WORKER) return;
      const who = count === 1 ? 'one turn worker' : `turn worker ${worker}`;
      const needed = Math.ceil(this.#entries('vms').length / MAX_VMS_PER_WORKER);
      const remedy =
        needed <= count
          ? 'give some of them to another worker'
          : needed <= MAX_WORKERS
            ? `set datapath.workers to ${needed} or more`
            : 'divide them between several bases';
      this.#complain(
        ['vms'],
        `${vms} VMs are too many for ${who}, which can serve ${MAX_VMS_PER_WORKER}: ${remedy}`,
        'key',
      );
    });
  }

  #entries(section: string): Entry[] {
    return Object.entries(mapping(this.#raw[section]) ?? {}).flatMap(([name, value]) => {
      const inner = mapping(value);
      return inner ? [[name, inner] as Entry] : [];
    });
  }

  #names(section: string): void {
    const value = mapping(this.#raw[section]);
    if (!value) return;
    const names = Object.keys(value);
    for (const name of names) {
      if (!NAME_PATTERN.test(name))
        this.#complain([section, name], `bad name: ${NAME_RULE}`, 'key');
    }
    if (names.length === 0 && section !== 'adapters') {
      this.#complain(
        [section],
        `is empty: at least one ${section === 'vms' ? 'VM' : 'network'} is needed`,
        'key',
      );
    }
  }

  #network([name, value]: Entry): void {
    const at: Path = ['networks', name];
    const subnet = parsePrefix(value.subnet);
    const network: Network = { name, subnet, address: null };
    this.#networks.set(name, network);
    if (subnet) {
      if (subnet.hostBits) {
        this.#complain(
          [...at, 'subnet'],
          `${value.subnet} has host bits set: the subnet is ${formatPrefix(subnet)}`,
        );
      }
      if (subnet.length < 8 || subnet.length > 30) {
        this.#complain([...at, 'subnet'], `/${subnet.length} is not supported: use /8 to /30`);
        network.subnet = null;
      } else {
        const reason = unusableAddress(subnet.first);
        if (reason) this.#complain([...at, 'subnet'], `${value.subnet} ${reason}`);
      }
    }
    this.#mac(value.mac, [...at, 'mac'], `the base’s MAC on network ${name}`);
    network.address = this.#host(
      value.address,
      [...at, 'address'],
      network,
      `the base’s own address on network ${name}`,
    );
  }

  #subnetsApart(): void {
    const known = [...this.#networks.values()].filter((network) => network.subnet);
    known.forEach((network, index) => {
      const other = known
        .slice(0, index)
        .find((earlier) => overlap(earlier.subnet!, network.subnet!));
      if (other) {
        this.#complain(
          ['networks', network.name, 'subnet'],
          `overlaps with ${formatPrefix(other.subnet!)} of network ${other.name}: subnets must be apart`,
        );
      }
    });
  }

  #vm([name, value]: Entry): void {
    const at: Path = ['vms', name];
    const network = this.#networkOf(value, at);
    list(value.addresses).forEach((address, index) => {
      this.#host(address, [...at, 'addresses', index], network, `an address of VM ${name}`);
    });
    list(value.prefixes).forEach((text, index) => {
      this.#prefix(text, [...at, 'prefixes', index], name);
    });
    this.#mac(value.mac, [...at, 'mac'], `the MAC of VM ${name}`);
    const { worker } = value;
    const workers = this.#workers;
    if (
      Number.isInteger(worker) &&
      Number.isInteger(workers) &&
      Number(worker) >= Number(workers)
    ) {
      this.#complain(
        [...at, 'worker'],
        `there is no worker ${worker}: datapath.workers is ${workers}, and they are numbered from 0`,
      );
    }
  }

  /** A host's address: well-formed, inside the subnet, not its first or last, nobody else's. */
  #host(text: unknown, path: Path, network: Network | null, owner: string): number | null {
    const address = parseAddress(text);
    if (address === null) return null;
    const subnet = network?.subnet;
    const reason = unusableAddress(address);
    if (reason) this.#complain(path, `${text} ${reason}`);
    else if (subnet && !contains(subnet, address)) {
      this.#complain(
        path,
        `${text} is outside the subnet ${formatPrefix(subnet)} of network ${network.name}`,
      );
    } else if (subnet && address === subnet.first) {
      this.#complain(
        path,
        `${text} is the network address of ${formatPrefix(subnet)}: choose another`,
      );
    } else if (subnet && address === subnet.last) {
      this.#complain(
        path,
        `${text} is the broadcast address of ${formatPrefix(subnet)}: choose another`,
      );
    }
    const other = this.#owners.get(address);
    if (other) this.#complain(path, `${text} is already ${other}: choose another`);
    else this.#owners.set(address, owner);
    return address;
  }

  #prefix(text: unknown, path: Path, vm: string): void {
    const prefix = parsePrefix(text);
    if (!prefix) return;
    if (prefix.hostBits) {
      this.#complain(path, `${text} has host bits set: the prefix is ${formatPrefix(prefix)}`);
    }
    const reason = unusableAddress(prefix.first);
    if (prefix.length === 0) {
      this.#complain(path, 'a VM can’t own every address: name the prefixes it routes');
      return;
    }
    if (reason) this.#complain(path, `${text} ${reason}`);
    const subnet = [...this.#networks.values()].find(
      (network) => network.subnet && overlap(network.subnet, prefix),
    );
    if (subnet) {
      this.#complain(
        path,
        `${text} overlaps with the subnet of network ${subnet.name}: list single addresses under addresses instead`,
      );
    }
    const other = this.#prefixes.find((entry) => overlap(entry.prefix, prefix));
    if (other)
      this.#complain(
        path,
        `${text} overlaps with ${formatPrefix(other.prefix)} of VM ${other.owner}`,
      );
    else this.#prefixes.push({ prefix, owner: vm });
  }

  #mac(text: unknown, path: Path, owner: string): void {
    if (typeof text !== 'string' || !MAC_PATTERN.test(text)) return;
    const reason = unusableMac(text);
    if (reason) {
      this.#complain(path, `${text} ${reason}`);
      return;
    }
    const other = this.#macs.get(text.toLowerCase());
    if (other) this.#complain(path, `${text} is already ${other}: choose another`);
    else this.#macs.set(text.toLowerCase(), owner);
  }

  /** The network a VM or adapter is on; null when unknown (said, unless there is nothing to compare with). */
  #networkOf(value: Record<string, unknown>, at: Path): Network | null {
    const names = [...this.#networks.keys()];
    if (value.network === undefined) {
      if (names.length > 1) {
        this.#complain(
          [...at, 'network'],
          `is missing: there are several networks (${names.join(', ')}), say which one`,
          'key',
        );
      }
      return names.length === 1 ? this.#networks.get(names[0]!)! : null;
    }
    if (typeof value.network !== 'string') return null;
    const network = this.#networks.get(value.network);
    const declared = mapping(this.#raw.networks);
    if (!network && declared && !Object.hasOwn(declared, value.network)) {
      this.#complain(
        [...at, 'network'],
        `there is no network "${value.network}"${didYouMean(value.network, names) || known(names)}`,
      );
    }
    return network ?? null;
  }
}
