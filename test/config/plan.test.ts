/** The plan that the turn worker gets, and the addresses and MACs in it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatAddress,
  overlap,
  parseAddress,
  parsePrefix,
  unusableMac,
} from '../../src/config/addresses.ts';
import { baseMac, proposedVmMac } from '../../src/config/derived-mac.ts';
import { native } from '../../src/native.ts';
import { environmentWarnings, stateFileWarning } from '../../src/config/environment.ts';
import { checkConfig } from '../../src/config/load.ts';
import { buildPlan } from '../../src/config/plan.ts';
import { ConfigSource } from '../../src/config/source.ts';
import { nearest } from '../../src/config/suggest.ts';
import { groupId, userId } from '../../src/config/users.ts';
import { EXAMPLE } from './example.ts';

const planOf = (text: string) => buildPlan(checkConfig(new ConfigSource('f', text)).config);

it('is what the configuration says, with indices for names', () => {
  expect(planOf(EXAMPLE)).toEqual({
    networks: [
      {
        name: 'lan',
        subnet: '10.77.0.0',
        prefix: 24,
        address: '10.77.0.1',
        mac: '02:00:0a:4d:00:01',
        mtu: 1500,
        packed: false,
      },
    ],
    vms: [
      {
        name: 'web',
        network: 0,
        addresses: ['10.77.0.11'],
        prefixes: [],
        mac: '52:54:00:00:00:11',
        management: false,
        worker: 0,
        sockets: [
          {
            path: '/run/basewire/web.sock',
            mode: 'server',
            fd: -1,
            fileMode: 0o660,
            uid: -1,
            gid: -1,
            allowUids: null,
          },
        ],
      },
      {
        name: 'controller',
        network: 0,
        addresses: ['10.77.0.2'],
        prefixes: [],
        mac: null,
        management: true,
        worker: 0,
        sockets: [
          {
            path: '/run/basewire/controller.sock',
            mode: 'server',
            fd: -1,
            fileMode: 0o660,
            uid: -1,
            gid: -1,
            allowUids: null,
          },
        ],
      },
    ],
    adapters: [
      {
        name: 'uplink',
        interface: 'eth1',
        network: 0,
        controllers: [1],
        nextHop: '10.77.0.254',
        mac: null,
        leaseSeconds: 10,
        onControllerLoss: 'keep',
        coupleUdp: 'auto',
      },
    ],
    datapath: {
      poll: 'adaptive',
      spinMicroseconds: 50,
      restMicroseconds: 500,
      burst: 256,
      workers: 1,
      cores: [],
    },
  });
});

it('knows every key', () => {
  const plan = planOf(`
networks:
  a: {subnet: 10.1.0.0/16, address: 10.1.0.1, mtu: 9000, packed: true}
  b: {subnet: 10.2.0.0/16, address: 10.2.0.1}
vms:
  x:
    sockets:
      - {path: /run/x1, permissions: "0600", owner: root, group: 0, allowUids: [64055]}
      - {path: /run/x2, mode: client}
      - {path: /run/x3, allowUids: []}
    network: b
    addresses: [10.2.0.9, 10.2.0.10]
    prefixes: [192.168.5.0/24]
    mac: 52:54:00:AA:BB:CC
adapters: {}
`);
  expect(plan.networks[0]).toMatchObject({
    mtu: 9000,
    packed: true,
    mac: baseMac('a', '10.1.0.0/16'),
  });
  expect(plan.vms[0]).toMatchObject({
    network: 1,
    mac: '52:54:00:aa:bb:cc',
    prefixes: ['192.168.5.0/24'],
    sockets: [
      { path: '/run/x1', mode: 'server', fileMode: 0o600, uid: 0, gid: 0, allowUids: [64055] },
      { path: '/run/x2', mode: 'client', allowUids: null },
      { path: '/run/x3', allowUids: [] },
    ],
  });
});

it('gives the VMs to the workers in turn, but where one is named', () => {
  const plan = planOf(`
networks: {lan: {subnet: 10.1.0.0/16, address: 10.1.0.1}}
vms:
  a: {socket: /run/a, addresses: [10.1.0.2]}
  b: {socket: /run/b, addresses: [10.1.0.3]}
  c: {socket: /run/c, addresses: [10.1.0.4], worker: 1}
  d: {socket: /run/d, addresses: [10.1.0.5]}
datapath: {workers: 2}
`);
  expect(plan.datapath.workers).toBe(2);
  expect(plan.vms.map(({ worker }) => worker)).toEqual([0, 1, 1, 1]);
});

it('warns of what is not there yet', () => {
  const plan = planOf(
    EXAMPLE.replace(
      'adapters:',
      'adapters:\n  second: {interface: lo, network: other, controllers: [controller]}',
    )
      .replace('vms:', '  other: {subnet: 10.78.0.0/24, address: 10.78.0.1}\nvms:')
      .replaceAll('    addresses', '    network: lan\n    addresses')
      .replace('eth1', 'bw-none'),
  );
  expect(environmentWarnings(plan, native)).toEqual([
    'adapter second: lo is no Ethernet interface: it can’t be opened',
    expect.stringMatching(
      /adapter uplink: there is no interface bw-none in this network namespace now/,
    ),
  ]);
  expect(environmentWarnings(plan, null)).toEqual([]);
  expect(stateFileWarning('/nowhere/at/all/state.json')).toEqual([
    'state.file: there is no folder /nowhere/at/all now; nothing outlives a restart until it is made',
  ]);
  expect(stateFileWarning('/etc/passwd/state.json')).toHaveLength(1);
  expect(stateFileWarning('/tmp/state.json')).toEqual([]);
  expect(stateFileWarning(undefined)).toEqual([]);
  expect(stateFileWarning('/etc/passwd')).toEqual([]);
  expect(stateFileWarning('/usr/bin')).toEqual([
    'state.file: /usr/bin is no regular file: it is neither used nor replaced; remove it, or name another one',
  ]);
});

describe('derived MACs', () => {
  it('are unicast, locally administered, the same each time and different by name', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (network, other) => {
        const mac = baseMac(network, '10.0.0.0/8');
        expect(mac).toMatch(/^02(:[0-9a-f]{2}){5}$/);
        expect(unusableMac(mac)).toBe('');
        expect(baseMac(network, '10.0.0.0/8')).toBe(mac);
        if (network !== other) expect(baseMac(other, '10.0.0.0/8')).not.toBe(mac);
        expect(proposedVmMac(network, other)).toMatch(/^52:54:00(:[0-9a-f]{2}){3}$/);
      }),
    );
    // Guests hold this address in their ARP caches: it must not change between versions.
    expect(baseMac('lan', '10.77.0.0/24')).toBe('02:6f:09:1f:1a:56');
  });
});

describe('addresses', () => {
  it('are the same after formatting and parsing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (address) => {
        expect(parseAddress(formatAddress(address))).toBe(address);
      }),
    );
  });

  it.each([
    '',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1.2.3.4\n',
    '0x1.2.3.4',
    '1e1.2.3.4',
  ])('%j is none', (text) => expect(parseAddress(text)).toBeNull());

  it('prefixes have a first and a last address', () => {
    expect(parsePrefix('10.77.0.0/24')).toMatchObject({
      first: 0x0a4d0000,
      last: 0x0a4d00ff,
      hostBits: false,
    });
    expect(parsePrefix('10.77.0.1/24')).toMatchObject({ first: 0x0a4d0000, hostBits: true });
    expect(parsePrefix('0.0.0.0/0')).toMatchObject({ first: 0, last: 0xffffffff });
    expect(parsePrefix('10.0.0.0/33')).toBeNull();
    expect(overlap(parsePrefix('10.0.0.0/8')!, parsePrefix('10.77.0.0/24')!)).toBe(true);
    expect(overlap(parsePrefix('10.0.0.0/24')!, parsePrefix('10.0.1.0/24')!)).toBe(false);
  });
});

it('suggests what was meant, and nothing where nothing is near', () => {
  expect(nearest('adress', ['mac', 'address'])).toBe('address');
  expect(nearest('next_hop', ['nextHop', 'network'])).toBe('nextHop');
  expect(nearest('colour', ['networks', 'vms'])).toBeNull();
});

it('users and groups by name and number', () => {
  expect([userId('root'), userId(12), userId('12'), groupId('root')]).toEqual([0, 12, 12, 0]);
  expect(userId('no-such-user-here')).toBeNull();
  expect(userId('-x; id')).toBeNull();
});
