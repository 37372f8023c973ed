/**
 * The switches that are compared: each starts pinned to the switch's core, offers two vhost-user sockets that it listens on, and
 * forwards IPv4 between them.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BASE_MAC, PORTS } from './generator.ts';
import type { Lab } from './lab.ts';
import { emptyNamespace } from './namespaces.ts';
import { DPDK, type Need, OVS, findProgram } from './needs.ts';
import { Child, run, waitFor } from './process.ts';
import { Testpmd } from './testpmd.ts';

export interface Running {
  sockets: [string, string];
  /** Every process of the candidate. */
  pids: number[];
  stop(): Promise<void>;
  /** What it says of itself at the end, for the reader of a failed run. */
  log(): string;
}

export interface Candidate {
  name: string;
  needs: Need[];
  start(lab: Lab): Promise<Running>;
}

/** The project's folder. */
export const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
/** The built command line, or another build's to compare with. */
const CLI = process.env.BASEWIRE_CLI ?? join(PROJECT, 'dist/cli.js');

export interface BaseOptions {
  name?: string;
  poll?: 'adaptive' | 'busy';
  packed?: boolean;
  /** Options of node itself, such as --cpu-prof. */
  nodeArgs?: string[];
  /** Folder for --cpu-prof's files. */
  profileTo?: string;
  /** On the switch's core alone (default), or wherever the system likes. */
  pinned?: boolean;
  /** On these cores instead. */
  cores?: number[];
  /** The turn workers' (`datapath.cores`). */
  workerCores?: number[];
  /** Microseconds to look for more work before sleeping. */
  spin?: number;
  /** Turn workers, and which of them serve the two. */
  workers?: number;
  placed?: readonly number[];
  /** Network namespace, for an adapter. */
  namespace?: string;
  /** VMs besides the two; "@" stands for the folder of the sockets. */
  moreVms?: string;
  /** Further addresses of the two. */
  moreAddresses?: [string[], string[]];
  subnet?: string;
  adapter?: string;
}

/** Configuration with the generator's two ports as VMs `a` and `b`. */
export function baseConfiguration(folder: string, options: BaseOptions): string {
  const vm = (index: 0 | 1) => {
    const addresses = [PORTS[index].address, ...(options.moreAddresses?.[index] ?? [])];
    return `  ${'ab'[index]}:
    socket: ${folder}/${index}.sock
    addresses: [${addresses.join(', ')}]
    mac: ${PORTS[index].mac}
${options.placed === undefined ? '' : `    worker: ${options.placed[index]}\n`}`;
  };
  return `networks:
  lan:
    subnet: ${options.subnet ?? '10.77.0.0/24'}
    address: 10.77.0.1
    mac: ${BASE_MAC}
${options.packed ? '    packed: true\n' : ''}vms:
${vm(0)}${vm(1)}${(options.moreVms ?? '').replaceAll('@', folder)}${options.adapter ?? ''}datapath: {poll: ${options.poll ?? 'adaptive'}, spin: ${options.spin ?? 50}, burst: 256, workers: ${options.workers ?? 1}${options.workerCores === undefined ? '' : `, cores: [${options.workerCores}]`}}
log: {level: info}
admin: {socket: ${folder}/admin.sock}
`;
}

/** The built daemon with a configuration of its own; resolves when it says ready. */
export async function startBase(
  lab: Lab,
  options: BaseOptions = {},
): Promise<Running & { child: Child; folder: string }> {
  const folder = lab.subfolder(options.name ?? 'basewire');
  const config = join(folder, 'basewire.yaml');
  writeFileSync(config, baseConfiguration(folder, options));
  const child = new Child(
    options.name ?? 'basewire',
    process.execPath,
    [
      ...(options.nodeArgs ?? []),
      ...(options.profileTo ? ['--cpu-prof-dir', options.profileTo] : []),
      CLI,
      'run',
      '--config',
      config,
    ],
    {
      ...(options.pinned === false ? {} : { core: options.cores ?? lab.cores.switch }),
      cwd: folder,
      ...(options.namespace ? { namespace: options.namespace } : {}),
    },
  );
  await child.until((output) => (/\bready\b/.test(output) ? true : null), 'ready', 60);
  return {
    child,
    folder,
    sockets: [join(folder, '0.sock'), join(folder, '1.sock')],
    pids: [child.pid],
    stop: () => child.stop('SIGTERM'),
    log: () => child.output.slice(-3000),
  };
}

export function basewire(options: BaseOptions = {}): Candidate {
  return {
    name: options.name ?? 'basewire',
    needs: [{ what: CLI, package: '(npm run build)' }],
    start: (lab) => startBase(lab, options),
  };
}

/** DPDK's net_vhost, forwarding from one port to the other without looking at anything. */
export function dpdkIo(options: { packed?: boolean } = {}): Candidate {
  return {
    name: 'dpdk io',
    needs: DPDK,
    async start(lab) {
      const folder = lab.subfolder('dpdk-io');
      const sockets: [string, string] = [join(folder, '0.sock'), join(folder, '1.sock')];
      void options; // net_vhost accepts packed rings without being asked
      const testpmd = await Testpmd.start(lab, {
        name: 'dpdk-io',
        core: lab.cores.switch,
        devices: sockets.map((socket, index) => `net_vhost${index},iface=${socket},queues=1`),
        args: [
          '--forward-mode=io',
          '--port-topology=paired',
          '--rxd=1024',
          '--txd=1024',
          '--total-num-mbufs=16384',
        ],
      });
      await testpmd.command('start');
      return {
        sockets,
        pids: [testpmd.pid],
        stop: () => testpmd.quit(),
        log: () => testpmd.child.output.slice(-3000),
      };
    },
  };
}

const VSWITCHD = '/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk';

/** Open vSwitch with the userspace datapath, one flow per destination, in an instance of its own (never the system's). */
export function ovsDpdk(options: { packed?: boolean } = {}): Candidate {
  return {
    name: 'ovs-dpdk',
    needs: [...DPDK, ...OVS],
    async start(lab) {
      const folder = lab.subfolder('ovs');
      const env = {
        OVS_RUNDIR: folder,
        OVS_DBDIR: folder,
        OVS_LOGDIR: folder,
        OVS_SYSCONFDIR: folder,
      };
      const database = `unix:${folder}/db.sock`;
      void options; // negotiated with each front-end
      await run(
        'ovsdb-tool',
        ['create', `${folder}/conf.db`, '/usr/share/openvswitch/vswitch.ovsschema'],
        { env },
      );
      const server = new Child(
        'ovsdb-server',
        findProgram('ovsdb-server') ?? 'ovsdb-server',
        [
          `${folder}/conf.db`,
          `--remote=p${database}`,
          `--pidfile=${folder}/ovsdb.pid`,
          `--unixctl=${folder}/ovsdb.ctl`,
        ],
        { env, core: lab.cores.generator },
      );
      await waitFor(() => existsSync(`${folder}/db.sock`), 'the database socket');
      const vsctl = (...args: string[]) =>
        run('ovs-vsctl', [`--db=${database}`, '--timeout=20', ...args], { env });
      const memory = lab.hugeDirectory ? `--huge-dir=${lab.hugeDirectory}` : '--no-huge -m 256';
      const mask = (core: number) => `0x${(1 << core).toString(16)}`;
      await vsctl('--no-wait', 'init');
      await vsctl(
        '--no-wait',
        'set',
        'Open_vSwitch',
        '.',
        'other_config:dpdk-init=true',
        `other_config:dpdk-lcore-mask=${mask(lab.cores.generator)}`,
        `other_config:pmd-cpu-mask=${mask(lab.cores.switch)}`,
        ...(lab.hugeDirectory ? ['other_config:dpdk-socket-mem=256'] : []),
        `other_config:dpdk-extra=--no-pci --file-prefix=${lab.unique}ovs --no-telemetry ${memory}`,
        'other_config:vhost-sock-dir=.',
      );
      const daemon = new Child(
        'ovs-vswitchd',
        VSWITCHD,
        [database, `--pidfile=${folder}/vswitchd.pid`, `--unixctl=${folder}/vswitchd.ctl`],
        // It leaves the interface of its bridge behind.
        { env, ...(lab.root && { namespace: emptyNamespace(lab, 'o') }) },
      );
      const port = (index: number) => [
        ...['--', 'add-port', 'br0', `v${index}`],
        ...[
          '--',
          'set',
          'Interface',
          `v${index}`,
          'type=dpdkvhostuser',
          `ofport_request=${index + 1}`,
        ],
      ];
      await vsctl(
        ...[
          'add-br',
          'br0',
          '--',
          'set',
          'bridge',
          'br0',
          'datapath_type=netdev',
          'fail_mode=secure',
        ],
        ...port(0),
        ...port(1),
      );
      for (const [index, { address }] of PORTS.entries()) {
        const flow = `ip,nw_dst=${address},actions=output:${index + 1}`;
        await run('ovs-ofctl', ['add-flow', `unix:${folder}/br0.mgmt`, flow], { env });
      }
      const sockets: [string, string] = [join(folder, 'v0'), join(folder, 'v1')];
      await waitFor(() => sockets.every((path) => existsSync(path)), 'the vhost-user sockets');
      return {
        sockets,
        pids: [daemon.pid, server.pid],
        async stop() {
          await daemon.stop('SIGTERM');
          await server.stop('SIGTERM');
        },
        log: () => daemon.output.slice(-3000),
      };
    },
  };
}
