/** What a configuration is refused for: each mistake with the line that names it, all of them at once. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/config-error.ts';
import { checkConfig } from '../../src/config/load.ts';
import { ConfigSource } from '../../src/config/source.ts';
import { parse, stringify } from 'yaml';
import { EXAMPLE } from './example.ts';

function complaintsOf(text: string): string[] {
  try {
    checkConfig(new ConfigSource('f', text));
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.split('\n');
  }
}

/** The example with one value replaced (undefined: removed), as text. */
function changed(path: (string | number)[], value: unknown): string {
  const config = parse(EXAMPLE);
  let at = config;
  for (const step of path.slice(0, -1)) at = at[step];
  if (value === undefined) delete at[path.at(-1)!];
  else at[path.at(-1)!] = value;
  return stringify(config);
}

describe('a good configuration', () => {
  it('is the example of the design, unchanged', () => {
    const { config } = checkConfig(new ConfigSource('f', EXAMPLE));
    expect(config.adapters.uplink!.lease).toBe(10);
    expect(config.datapath).toEqual({
      poll: 'adaptive',
      spin: 50,
      rest: 500,
      burst: 256,
      workers: 1,
    });
  });

  it('may leave out what has a default', () => {
    const text = `networks: {lan: {subnet: 10.0.0.0/8, address: 10.0.0.1}}
vms: {a: {socket: {path: /run/a.sock, mode: client}, addresses: [10.0.0.2]}}`;
    const { config } = checkConfig(new ConfigSource('f', text));
    expect(config).toMatchObject({
      adapters: {},
      datapath: { poll: 'adaptive', spin: 50, rest: 500, burst: 256, workers: 1 },
      log: { level: 'info', format: 'json' },
      vms: { a: { management: false } },
    });
    expect(config.admin).toBeUndefined();
  });

  it('may have a byte order mark, CRLF line ends and anchors', () => {
    const crlf = `\ufeff${EXAMPLE.replaceAll('\n', '\r\n')}`;
    expect(complaintsOf(new TextDecoder().decode(new TextEncoder().encode(crlf)))).toEqual([]);
    const anchors = EXAMPLE.replace('subnet: 10.77.0.0/24', 'subnet: &s 10.77.0.0/24');
    expect(complaintsOf(anchors)).toEqual([]);
  });
});

describe('more VMs than a turn worker has room for', () => {
  const crowd = (vms: number, workers: number, last: object = {}) =>
    stringify({
      networks: { lan: { subnet: '10.0.0.0/8', address: '10.0.0.1' } },
      vms: Object.fromEntries(
        Array.from({ length: vms }, (_, number) => [
          `vm${number}`,
          {
            socket: `/run/basewire/${number}.sock`,
            addresses: [`10.1.${number >> 7}.${1 + (number & 127)}`],
            ...(number === vms - 1 ? last : {}),
          },
        ]),
      ),
      datapath: { workers },
    });

  it.each([
    [1600, 1, {}, []],
    [
      1601,
      1,
      {},
      [
        /1601 VMs are too many for one turn worker, which can serve 1600: set datapath\.workers to 2 or more$/,
      ],
    ],
    [3200, 2, {}, []],
    [
      3200,
      2,
      { worker: 0 },
      [/1601 VMs are too many for turn worker 0, .* give some of them to another worker$/],
    ],
    [
      12_801,
      8,
      {},
      [/1601 VMs are too many for turn worker 0, .* divide them between several bases$/],
    ],
  ])('%i VMs, %i workers, the last one %j', (vms, workers, last, complaints) => {
    const found = complaintsOf(crowd(vms, workers, last));
    expect(found).toHaveLength(complaints.length);
    complaints.forEach((complaint, index) => {
      expect(found[index]).toMatch(/^f:5:1: vms: /);
      expect(found[index]).toMatch(complaint);
    });
  });
});

describe('one mistake gets one complaint, at its place', () => {
  const CASES: [name: string, path: (string | number)[], value: unknown, complaint: RegExp][] = [
    ['unknown key', ['networks', 'lan', 'sub'], 1, /f:\d+:5: networks\.lan\.sub: unknown key/],
    [
      'misspelt key',
      ['vms', 'web', 'adresses'],
      [],
      /vms\.web\.adresses: unknown key \(did you mean "addresses"\?\)/,
    ],
    ['unknown section', ['vm'], {}, /^f:\d+:1: vm: unknown key \(did you mean "vms"\?\)/],
    [
      'missing subnet',
      ['networks', 'lan', 'subnet'],
      undefined,
      /^f:2:3: networks\.lan\.subnet: is missing/,
    ],
    [
      'host bits',
      ['networks', 'lan', 'subnet'],
      '10.77.0.1/24',
      /host bits set: the subnet is 10\.77\.0\.0\/24/,
    ],
    ['subnet too small', ['networks', 'lan', 'subnet'], '10.77.0.0/31', /\/31 is not supported/],
    [
      'leading zero',
      ['vms', 'web', 'addresses', 0],
      '10.77.0.011',
      /vms\.web\.addresses\[0\]: must be an IPv4 address/,
    ],
    ['IPv6', ['vms', 'web', 'addresses', 0], 'fd00::1', /must be an IPv4 address/],
    [
      'outside',
      ['vms', 'web', 'addresses', 0],
      '10.78.0.1',
      /^f:10:9: vms\.web\.addresses\[0\]: 10\.78\.0\.1 is outside the subnet 10\.77\.0\.0\/24 of network lan/,
    ],
    ['network address', ['vms', 'web', 'addresses', 0], '10.77.0.0', /is the network address/],
    [
      'broadcast address',
      ['vms', 'web', 'addresses', 0],
      '10.77.0.255',
      /is the broadcast address/,
    ],
    [
      'address of the base',
      ['vms', 'web', 'addresses', 0],
      '10.77.0.1',
      /is already the base’s own address/,
    ],
    [
      'address twice',
      ['vms', 'controller', 'addresses', 0],
      '10.77.0.11',
      /is already an address of VM web/,
    ],
    ['no addresses', ['vms', 'web', 'addresses'], [], /must name at least one address/],
    ['multicast', ['vms', 'web', 'addresses', 0], '224.0.0.1', /224\.0\.0\.0\/4/],
    ['group MAC', ['vms', 'web', 'mac'], '01:00:5e:00:00:01', /is a group address/],
    ['zero MAC', ['vms', 'web', 'mac'], '00:00:00:00:00:00', /is all zero/],
    ['MAC twice', ['vms', 'web', 'mac'], '02:00:0A:4D:00:01', /is already the base’s MAC/],
    ['MAC syntax', ['vms', 'web', 'mac'], '52-54-00-00-00-11', /must be a MAC address/],
    [
      'socket twice',
      ['vms', 'web', 'socket'],
      '/run//basewire/controller.sock',
      /vms\.controller\.socket: .* is already a socket of VM web/,
    ],
    [
      'socket of the admin interface',
      ['vms', 'web', 'socket'],
      '/run/basewire/admin.sock',
      /is already the admin socket/,
    ],
    [
      'state file of a socket',
      ['state'],
      { file: '/run/basewire//web.sock' },
      /vms\.web\.socket: .* is already the state file: choose another/,
    ],
    [
      'state file of the admin interface',
      ['state'],
      { file: '/run/basewire/admin.sock' },
      /state\.file: .* is already the admin socket: choose another/,
    ],
    ['relative socket', ['vms', 'web', 'socket'], 'web.sock', /must be an absolute path/],
    ['long socket', ['vms', 'web', 'socket'], `/run/${'x'.repeat(103)}`, /is 108 bytes long/],
    [
      'nowhere socket',
      ['vms', 'web', 'socket'],
      '/run/no/such/web.sock',
      /neither the folder \/run\/no\/such nor \/run\/no exists/,
    ],
    [
      'folder is a file',
      ['vms', 'web', 'socket'],
      '/etc/passwd/web.sock',
      /\/etc\/passwd is no folder/,
    ],
    [
      'socket as a list',
      ['vms', 'web', 'socket'],
      [1],
      /must be text or a mapping of keys to values, not a list/,
    ],
    [
      'socket mode',
      ['vms', 'web', 'socket'],
      { path: '/run/w', mode: 'sever' },
      /vms\.web\.socket\.mode: must be server or client, not "sever" \(did you mean "server"\?\)/,
    ],
    [
      'socket key',
      ['vms', 'web', 'socket'],
      { path: '/run/w', uid: 1 },
      /vms\.web\.socket\.uid: unknown key/,
    ],
    ['no socket', ['vms', 'web', 'socket'], undefined, /^f:7:3: vms\.web\.socket: is missing/],
    [
      'socket and sockets',
      ['vms', 'web', 'sockets'],
      ['/run/w'],
      /vms\.web\.sockets: stands beside socket/,
    ],
    [
      'permissions of a client',
      ['vms', 'web', 'socket'],
      { path: '/run/w', mode: 'client', permissions: '0600' },
      /has no effect with mode: client/,
    ],
    [
      'permissions as a number',
      ['vms', 'web', 'socket'],
      { path: '/run/w', permissions: 660 },
      /permissions: must be octal permissions in quotes, like "0660", not 660$/,
    ],
    [
      'unknown user',
      ['vms', 'web', 'socket'],
      { path: '/run/w', owner: 'nobody-of-this-name' },
      /there is no user/,
    ],
    ['unknown daemon user', ['user'], 'nobody-of-this-name', /there is no user/],
    ['root as the daemon user', ['user'], 'root', /is root: leave it out/],
    ['a user without a group', ['user'], 3_999_999_999, /has no group of its own: add group/],
    ['a user beyond the kernel’s', ['user'], '4294967297', /there is no user/],
    ['a group alone', ['group'], 'root', /has no effect without user/],
    [
      'unknown network',
      ['vms', 'web', 'network'],
      'lam',
      /there is no network "lam" \(did you mean "lan"\?\)/,
    ],
    [
      'network in prefix',
      ['vms', 'web', 'prefixes'],
      ['10.77.0.64/26'],
      /overlaps with the subnet of network lan/,
    ],
    [
      'link-local prefix',
      ['vms', 'web', 'prefixes'],
      ['169.254.169.254/32'],
      /is in 169\.254\.0\.0\/16, which is link-local and never passed on/,
    ],
    ['everything as prefix', ['vms', 'controller', 'prefixes'], ['0.0.0.0/0'], /prefixes\[0\]/],
    ['boolean as text', ['vms', 'web', 'management'], 'yes', /must be true or false, not "yes"/],
    [
      'unknown controller',
      ['adapters', 'uplink', 'controllers', 0],
      'controler',
      /there is no VM "controler" \(did you mean "controller"\?\)/,
    ],
    [
      'controller without management',
      ['adapters', 'uplink', 'controllers', 0],
      'web',
      /VM web is no management VM/,
    ],
    [
      'controller twice',
      ['adapters', 'uplink', 'controllers'],
      ['controller', 'controller'],
      /listed twice/,
    ],
    [
      'a subnet for no hosts',
      ['networks', 'lan'],
      { subnet: '127.0.0.0/8', address: '127.0.0.1' },
      /lan\.subnet: 127\.0\.0\.0\/8 is in 127\.0\.0\.0\/8, which is loopback/,
    ],
    ['no controllers', ['adapters', 'uplink', 'controllers'], [], /at least one management VM/],
    [
      'next hop the broadcast address',
      ['adapters', 'uplink', 'nextHop'],
      '10.77.0.255',
      /nextHop: 10\.77\.0\.255 is the network or broadcast address of 10\.77\.0\.0\/24/,
    ],
    [
      'next hop outside',
      ['adapters', 'uplink', 'nextHop'],
      '10.78.0.1',
      /the next hop must be a neighbour/,
    ],
    ['next hop a VM', ['adapters', 'uplink', 'nextHop'], '10.77.0.11', /is an address of VM web/],
    [
      'next hop the base',
      ['adapters', 'uplink', 'nextHop'],
      '10.77.0.1',
      /is the base’s own address/,
    ],
    [
      'interface too long',
      ['adapters', 'uplink', 'interface'],
      'a234567890123456',
      /at most 15 characters/,
    ],
    [
      'interface of letters with two bytes',
      ['adapters', 'uplink', 'interface'],
      'ü'.repeat(13),
      /at most 15 bytes/,
    ],
    [
      'interface as path',
      ['adapters', 'uplink', 'interface'],
      '../eth0',
      /must be the name of a network interface/,
    ],
    [
      'interface twice',
      ['adapters', 'two'],
      { interface: 'eth1', controllers: ['controller'] },
      /is already the interface of adapter uplink/,
    ],
    [
      'two adapters on one network',
      ['adapters', 'two'],
      { interface: 'eth2', controllers: ['controller'] },
      /^f:26:3: adapters\.two: network lan has the adapter uplink already: one adapter per network/,
    ],
    [
      'two adapters on one network that is named',
      ['adapters', 'two'],
      { interface: 'eth2', network: 'lan', controllers: ['controller'] },
      /adapters\.two\.network: network lan has the adapter uplink already/,
    ],
    ['lease 0', ['adapters', 'uplink', 'lease'], 0, /whole number from 1 to 86400 seconds, not 0/],
    [
      'lease as text',
      ['adapters', 'uplink', 'lease'],
      '10',
      /whole number from 1 to 86400 seconds, not "10": write it without quotes/,
    ],
    [
      'loss',
      ['adapters', 'uplink', 'onControllerLoss'],
      'shut',
      /must be keep or close, not "shut"/,
    ],
    [
      'coupling',
      ['adapters', 'uplink', 'coupleUdp'],
      'yes',
      /must be auto, true or false, not "yes"/,
    ],
    ['spin', ['datapath', 'spin'], 1000001, /from 0 to 1000000 microseconds/],
    ['rest', ['datapath', 'rest'], 1001, /from 0 to 1000 microseconds/],
    ['burst', ['datapath', 'burst'], 4097, /from 1 to 4096 datagrams/],
    ['no workers', ['datapath', 'workers'], 0, /whole number from 1 to 8, not 0/],
    ['nine workers', ['datapath', 'workers'], 9, /whole number from 1 to 8, not 9/],
    [
      'a worker that there is not',
      ['vms', 'web', 'worker'],
      1,
      /vms\.web\.worker: there is no worker 1: datapath\.workers is 1, and they are numbered from 0/,
    ],
    [
      'a core that there can’t be',
      ['datapath', 'cores'],
      [8192],
      /whole number from 0 to 8191, not 8192/,
    ],
    [
      'more cores than workers',
      ['datapath', 'cores'],
      [0, 1],
      /datapath\.cores: names 2 cores for 1 turn worker: one each is needed/,
    ],
    [
      'one core for two workers',
      ['datapath'],
      { workers: 2, cores: [3, 3] },
      /datapath\.cores\[1\]: core 3 is another worker's already/,
    ],
    ['cores as text', ['datapath', 'cores'], '0-1', /datapath\.cores: must be a list, not "0-1"$/],
    [
      'a unit beside a number',
      ['adapters', 'uplink', 'lease'],
      '10s',
      /whole number from 1 to 86400 seconds, not "10s": write the number alone$/,
    ],
    [
      'one address, no list',
      ['vms', 'web', 'addresses'],
      '10.77.0.11',
      /must be a list, not "10\.77\.0\.11": write \[10\.77\.0\.11\]$/,
    ],
    ['one core, no list', ['datapath', 'cores'], 1, /must be a list, not 1: write \[1\]$/],
    ['half a worker', ['vms', 'web', 'worker'], 0.5, /must be a whole number/],
    ['half a burst', ['datapath', 'burst'], 1.5, /whole number/],
    [
      'poll',
      ['datapath', 'poll'],
      'buzy',
      /must be adaptive or busy, not "buzy" \(did you mean "busy"\?\)/,
    ],
    ['log level', ['log', 'level'], 'verbose', /must be trace, debug/],
    ['MTU 67', ['networks', 'lan', 'mtu'], 67, /from 68 to 65521 bytes, not 67/],
    ['MTU 65536', ['networks', 'lan', 'mtu'], 65536, /from 68 to 65521 bytes/],
    [
      'name',
      ['vms', 'we b'],
      { socket: '/run/w', addresses: ['10.77.0.5'] },
      /vms\.we b: bad name/,
    ],
    ['no VMs', ['vms'], {}, /vms: is empty/],
    ['VMs as a list', ['vms'], [], /vms: must be a mapping of names to values, not an empty list/],
    [
      'empty section',
      ['networks'],
      null,
      /networks: must be a mapping of names to values, not empty/,
    ],
  ];

  it.each(CASES)('%s', (_name, path, value, complaint) => {
    const complaints = complaintsOf(changed(path, value));
    expect(complaints.join('\n')).toMatch(complaint);
    for (const line of complaints) expect(line).toMatch(/^f:\d+:\d+: /);
  });

  /** [name, path, value, what is said, and nothing else] */
  const SINGLE: [string, (string | number)[], unknown, RegExp][] = [
    [
      'an address that YAML reads as a number',
      ['networks', 'lan', 'address'],
      10.77,
      /address: must be an IPv4 address like [^:]*, not 10\.77$/,
    ],
    [
      'a MAC address that YAML reads as a number',
      ['vms', 'web', 'mac'],
      525400000012,
      /mac: must be a MAC address like \S*, not 525400000012$/,
    ],
    [
      'a path where a list of them is wanted',
      ['vms', 'web'],
      { sockets: '/run/basewire/web.sock', addresses: ['10.77.0.11'] },
      /must be a list, not "\/run\/basewire\/web\.sock": write \[\/run\/basewire\/web\.sock]$/,
    ],
    [
      'several addresses, and no brackets',
      ['vms', 'web', 'addresses'],
      '10.77.0.11, 10.77.0.12',
      /must be a list, not "[^"]*": write \[10\.77\.0\.11, 10\.77\.0\.12]$/,
    ],
    [
      'no space behind a dash',
      ['vms', 'web', 'addresses'],
      '-10.77.0.11',
      /must be a list, not "-10\.77\.0\.11": is there no space behind a dash\?$/,
    ],
    [
      'no number of a user',
      ['user'],
      -1,
      /user: must be a name, or a number from 0 to \d+, not -1$/,
    ],
    [
      'a path with a line end behind it, as behind > or |',
      ['vms', 'web', 'socket'],
      '/run/basewire/web.sock\n',
      /^f:8:13: vms\.web\.socket: must hold no control characters and no white space at its end .*, not "\/run\/basewire\/web\.sock\\n"$/,
    ],
    [
      'a path of a mapping with a space behind it',
      ['vms', 'web', 'socket'],
      { path: '/run/basewire/web.sock ' },
      /vms\.web\.socket\.path: must hold no .* white space at its end/,
    ],
    [
      'a state file with a control character',
      ['state'],
      { file: '/var/lib/no\u009bwhere/state' },
      /state\.file: must hold no control characters/,
    ],
    [
      'a path with a NUL',
      ['admin', 'socket'],
      '/run/basewire\0/admin.sock',
      /admin\.socket: must hold no control characters/,
    ],
    [
      'a path of a folder',
      ['admin', 'socket'],
      '/run/basewire/',
      /must be an absolute path of a file/,
    ],
    ['no name of a user', ['user'], '', /user: must be a name or a number, not ""$/],
    [
      'names among allowUids',
      ['vms', 'web', 'socket'],
      { path: '/run/basewire/w.sock', allowUids: ['libvirt-qemu'] },
      /allowUids\[0]: must be a user’s number .*\(id -u NAME tells it\), not "libvirt-qemu"$/,
    ],
    ['no VMs', ['vms'], null, /vms: must be a mapping of names to values, not empty/],
    ['VMs as a list', ['vms'], ['web'], /vms: must be a mapping of names to values, not a list$/],
    [
      'a management guest that is neither',
      ['vms', 'controller', 'management'],
      'yes',
      /management: must be true or false, not "yes": write true or false$/,
    ],
    [
      'the prefix of all addresses',
      ['vms', 'web', 'prefixes'],
      ['0.0.0.0/0'],
      /a VM can’t own every address/,
    ],
  ];

  it.each(SINGLE)(
    '%s: said once, and nothing that only follows',
    (_name, path, value, complaint) => {
      const complaints = complaintsOf(changed(path, value));
      expect(complaints).toEqual([expect.stringMatching(complaint)]);
    },
  );

  it('a socket where the state file is written before it is put in its place', () => {
    const text = EXAMPLE.replace('/run/basewire/web.sock', '/run/basewire/state.new');
    expect(complaintsOf(`${text}state: {file: /run/basewire/state}\n`).join()).toMatch(
      /vms\.web\.socket: .* is already where the state file is written \(state\.file\): choose/,
    );
    const unsaid = EXAMPLE.replace(/^admin: .*$/m, 'state: {file: /run/basewire/admin.sock}');
    expect(complaintsOf(unsaid).join()).toMatch(
      /state\.file: .* is already the admin socket \(where admin\.socket names no other\)/,
    );
  });

  it('a subnet that overlaps', () => {
    const config = parse(EXAMPLE);
    config.networks.two = { subnet: '10.77.0.128/25', address: '10.77.0.129' };
    const text = complaintsOf(stringify(config)).join('\n');
    expect(text).toMatch(/networks\.two\.subnet: overlaps with 10\.77\.0\.0\/24 of network lan/);
    expect(text).toMatch(/vms\.web\.network: is missing: there are several networks \(lan, two\)/);
    expect(text).not.toMatch(/uplink\.network/); // that one names it
  });

  it('dangerous names', () => {
    const text = complaintsOf(EXAMPLE.replace('  web:', '  __proto__:'));
    expect(text.join()).toMatch(/^f:7:3: vms\.__proto__: bad name/);
    expect(complaintsOf(EXAMPLE.replace('  web:', '  constructor:'))).toEqual([]);
  });
});

describe('the text itself', () => {
  it.each([
    ['nothing', '', /^f:1:1: is empty/],
    ['a comment', '# nothing\n', /^f:1:1: is empty/],
    ['a scalar', 'hello', /^f:1:1: must be a mapping of keys to values, not "hello"/],
    ['broken flow', 'networks: {lan: [', /^f:1:\d+: /],
    ['a tab', 'networks:\n\tlan: 1', /^f:2:\d+: Tabs are not allowed as indentation: use spaces/],
    [
      'no space behind a colon',
      EXAMPLE.replace('subnet: ', 'subnet:'),
      /^f:3:5: Implicit keys .*: is there no colon, or no space behind it, or /,
    ],
    [
      'no space behind the last colon',
      `${EXAMPLE}user:root
`,
      /^f:26:1: .*: is there no colon, or no space behind it\?$/,
    ],
    [
      'a line too far to the right',
      EXAMPLE.replace('    address:', '      address:'),
      /^f:3:\d+: Nested mappings .*: is a line indented too far/,
    ],
    [
      'a line too far to the left',
      EXAMPLE.replace('    address:', '   address:'),
      /^f:4:1: All mapping items .*: is this line indented too little, or one above it too far\?$/,
    ],
    [
      'an entry that begins too far to the left, and those behind it',
      EXAMPLE.replace('  web:', ' web:').replace('  controller:', '  db: {}\n  controller:'),
      /^f:11:1: All mapping items .*\?$/,
    ],
    [
      'a bracket too many',
      EXAMPLE.replace('[10.77.0.11]', '[10.77.0.11]]'),
      /^f:9:28: Unexpected .* "]": is it one too many\?$/,
    ],
    [
      'no bracket behind a list',
      EXAMPLE.replace('[10.77.0.11]', '[10.77.0.11'),
      /^f:10:5: Flow sequence .*: is there no ] above\?$/,
    ],
    [
      'no quote behind a text, up to the end of the file',
      EXAMPLE.replace('interface: eth1', 'interface: "eth1'),
      /^f:17:16: Missing closing "quote: it begins here$/,
    ],
    [
      'no quote behind a text, up to the next quote',
      EXAMPLE.replace('socket: /run/basewire/web', 'socket: "/run/basewire/web').replace(
        'socket: /run/basewire/controller.sock',
        'socket: "/run/basewire/controller.sock"',
      ),
      /^f:8:13: Missing closing "quote: it begins here$/,
    ],
    [
      'two documents',
      `${EXAMPLE}---\n${EXAMPLE}`,
      /^f:26:1: a second document begins here: a file holds one configuration, remove the others$/,
    ],
    ['an unknown tag', 'networks: !!js/function x', /^f:1:\d+: .*tag/i],
    [
      'a duplicate key',
      EXAMPLE.replace('log:', 'vms: {}\nlog:'),
      /^f:24:1: key "vms" is given twice \(first in line 6\)/m,
    ],
  ])('%s', (_name, text, complaint) => {
    expect(complaintsOf(text).join('\n')).toMatch(complaint);
  });

  it('aliases that multiply are refused quickly', () => {
    let text = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
    for (let i = 1; i < 12; i++) text += `a${i}: &a${i} [${`*a${i - 1}, `.repeat(9)}*a${i - 1}]\n`;
    expect(complaintsOf(text)).toEqual([
      'f:4:45: with *a2 the aliases stand for more than 10000 values: write less of them',
    ]);
  });

  it('aliases are fine, thousands of them too', () => {
    const same = EXAMPLE.replace('subnet: ', 'subnet: &subnet ').replace(
      'addresses: [10.77.0.2]',
      `addresses: [10.77.0.2]\n    prefixes: [${'*subnet, '.repeat(9000)}]`,
    );
    expect(complaintsOf(same).join('\n')).toMatch(
      /prefixes\[8999\]: 10\.77\.0\.0\/24 overlaps with the subnet of network lan/,
    );
  });

  it('aliases that lead nowhere, or to themselves, are named where they stand, all at once', () => {
    const text = 'vms: {web: *v, db: &db {x: *db}}\nnetworks:\n  lan: *lan\nlater: &lan 1\n';
    expect(complaintsOf(text)).toEqual([
      'f:1:12: there is no anchor &v before *v',
      'f:1:28: *db stands inside of what it stands for: write it out',
      'f:3:8: there is no anchor &lan before *lan',
    ]);
  });

  it.each([
    ['01', 'key 01 is read as the number 1: put it in quotes'],
    ['0x10', 'key 0x10 is read as the number 16: put it in quotes'],
    ['1.0', 'key 1.0 is read as the number 1: put it in quotes'],
    ['True', 'key True is read as true: put it in quotes'],
    ['~', 'key ~ is read as nothing: put it in quotes'],
    ['null', 'key null is read as nothing: put it in quotes'],
    ['', 'a key is missing'],
    ['<<', 'YAML 1.2 has no merge key <<: write out what it stands for'],
    ['[web]', 'a key must be text'],
  ])('the key %s is not renamed', (key, complaint) => {
    expect(complaintsOf(EXAMPLE.replace('  web:', `  ${key}:`))).toEqual([`f:7:3: ${complaint}`]);
  });

  it('what a refused merge key was to bring is not missing, too', () => {
    const text = EXAMPLE.replace(/^vms:$/m, 'vms:\n  db:\n    <<: {addresses: [10.77.0.9]}');
    const merge = 'f:8:5: YAML 1.2 has no merge key <<: write out what it stands for';
    expect(complaintsOf(text)).toEqual([merge]);
    // What stands there is looked at.
    const wrong = text.replace('10.77.0.9]}', '10.77.0.9]}\n    addresses: [10.78.0.9]');
    expect(complaintsOf(wrong)).toEqual([
      merge,
      expect.stringMatching(/^f:9:17: vms\.db\.addresses\[0]: 10\.78\.0\.9 is outside the subnet/),
    ]);
  });

  it('keys that YAML reads as what stands there are names', () => {
    for (const key of ['1', '"01"', "'~'", 'true', 'yes', '!!str 007', '1_000']) {
      const wrong = key === "'~'" ? [expect.stringMatching(/^f:7:3: vms\.~: bad name/)] : [];
      expect(complaintsOf(EXAMPLE.replace('  web:', `  ${key}:`))).toEqual(wrong);
    }
    const alias = EXAMPLE.replace('  web:', '  &name web:').replace('  controller:', '  *name :');
    expect(complaintsOf(alias)).toEqual(['f:11:3: *name can’t be a key: write it out']);
  });

  it.each([
    [
      'adapters',
      EXAMPLE.replace(/^adapters:[\s\S]*?^d/m, 'adapters:\n#\nd'),
      'remove the key, or write {}',
    ],
    ['log', EXAMPLE.replace('log: {level: info}', 'log:'), 'remove the key, or write {}'],
    ['state', `${EXAMPLE}state:\n`, 'remove the key, or give it a value'],
    ['vms.x', EXAMPLE.replace('vms:', 'vms:\n  x:'), 'remove the key, or give it a value'],
    ['networks', EXAMPLE.replace(/^networks:[\s\S]*?^v/m, 'networks:\nv'), 'give it a value'],
    [
      'vms.web.prefixes',
      EXAMPLE.replace('    mac: 52', '    prefixes:\n    mac: 52'),
      'remove the key, or give it a value',
    ],
    // Which would mean the contrary of no key.
    [
      'vms.web.socket.allowUids',
      EXAMPLE.replace(/socket: .*web\.sock.*/, 'socket: {path: /run/basewire/w, allowUids: }'),
      'remove the key, or give it a value',
    ],
  ])('%s with nothing behind it: what to do', (where, text, remedy) => {
    const [complaint] = complaintsOf(text).filter((line) => line.includes(': must be a '));
    expect(complaint).toMatch(new RegExp(`: ${where}: must be a [a-z ]+, not empty: `));
    expect(complaint!.endsWith(`, not empty: ${remedy}`), complaint).toBe(true);
  });

  it('nesting without end is refused', () => {
    for (const levels of [150, 1000, 20_000]) {
      for (const open of ['[', '{a: ', '- ', '? ']) {
        const closed = { '[': ']', '{a: ': '}' }[open] ?? 'x';
        for (const text of [open.repeat(levels), open.repeat(levels) + closed.repeat(levels)]) {
          const complaints = complaintsOf(text);
          expect(complaints.join()).not.toMatch(/stack/);
          if (levels > 1000)
            expect(complaints.join('\n')).toMatch(/^f:1:\d{3,}: is nested too deeply$/m);
        }
      }
    }
  });

  it('all complaints come at once, in the order of the file', () => {
    const text = EXAMPLE.replace('lease: 10 ', 'lease: "10"')
      .replace('10.77.0.11]', '10.99.0.11]')
      .replace('level: info', 'level: loud');
    const lines = complaintsOf(text);
    expect(lines.map((line) => line.replace(/^f:(\d+):\d+: (\S+): .*/, '$1 $2'))).toEqual([
      '9 vms.web.addresses[0]',
      '21 adapters.uplink.lease',
      '24 log.level',
    ]);
  });
});

describe('a broken configuration of any kind', () => {
  it('gives complaints inside the file, never an exception', () => {
    const scalar = fc.oneof(
      fc.constantFrom('10.77.0.11', '10.77.0.0/24', '/run/x.sock', 'web', 'lan', '__proto__', ''),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.double(),
      fc.string({ maxLength: 12 }),
    );
    const value = fc.oneof(
      scalar,
      fc.array(scalar, { maxLength: 3 }),
      fc.dictionary(fc.string({ maxLength: 8 }), scalar, { maxKeys: 3 }),
    );
    const paths = leaves(parse(EXAMPLE));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...paths), value), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const config = parse(EXAMPLE);
          for (const [path, replacement] of changes) {
            let at = config;
            for (const step of path.slice(0, -1)) {
              if (typeof at?.[step] !== 'object') return;
              at = at[step];
            }
            if (at) at[path.at(-1)!] = replacement;
          }
          const text = stringify(config);
          const lines = text.split('\n').length;
          for (const complaint of complaintsOf(text)) {
            const match = /^f:(\d+):(\d+): \S/.exec(complaint);
            expect(match, complaint).not.toBeNull();
            expect(Number(match![1])).toBeLessThanOrEqual(lines);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('in raw text too', () => {
    fc.assert(
      fc.property(
        fc.nat(EXAMPLE.length),
        fc.nat(20),
        fc.string({ maxLength: 6 }),
        (at, cut, insert) => {
          const text = EXAMPLE.slice(0, at) + insert + EXAMPLE.slice(at + cut);
          for (const complaint of complaintsOf(text)) expect(complaint).toMatch(/^f:\d+:\d+: \S/);
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** Paths of everything in a value, inner nodes too. */
function leaves(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = [...path, Array.isArray(value) ? Number(key) : key];
    return [at, ...leaves(inner, at)];
  });
}
