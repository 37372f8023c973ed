/**
 * What a configuration may say: keys, types, ranges and defaults. The JSON Schema for editors is made from this
 * (`json-schema.ts`), and so are the complaints about single values (`complaints.ts`). What holds between values
 * (addresses inside subnets, nothing twice) is in `cross-checks.ts`.
 *
 * Every object is strict: an unknown key is a complaint. Messages say what the value must be.
 */
import { z } from 'zod';
import { MAX_WORKERS } from '../handoff/layout.ts';
import { ADDRESS_PATTERN, PREFIX_PATTERN } from '../wire/ipv4-address.ts';
import { MAC_PATTERN } from './addresses.ts';
import { MAX_ID } from './users.ts';

/** Names stand in metrics, logs and commands. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
export const NAME_RULE =
  'a name is 1 to 64 letters, digits, "_", "." or "-", and begins with a letter or digit';

export const DEFAULT_ADMIN_SOCKET = '/run/basewire/admin.sock';

/** sun_path holds 108 bytes with the closing zero (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

/** Text of one form; the rule is also said of what is no text at all, such as the number 10.77. */
function text(pattern: RegExp, rule: string) {
  return z.string(rule).regex(pattern, rule);
}

const address = text(ADDRESS_PATTERN, 'must be an IPv4 address like 10.77.0.11 (no leading zeros)');
const prefix = text(PREFIX_PATTERN, 'must be an IPv4 prefix like 10.77.0.0/24 (no leading zeros)');
const mac = text(MAC_PATTERN, 'must be a MAC address like 52:54:00:00:00:11');
const ABSOLUTE_PATH = /^\/[\s\S]*[^/]$/;
/** A text behind > or | ends with the end of its line, which nobody sees and would look for. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: none of them
const PLAIN_PATH = /^(?:[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s])?$/;

const path = z
  .string()
  .regex(ABSOLUTE_PATH, 'must be an absolute path of a file, like /run/basewire/web.sock')
  .regex(
    PLAIN_PATH,
    'must hold no control characters and no white space at its end (write >- or |- instead of > or |)',
  );

/** Whether the schema takes it. */
export function isFilePath(text: string): boolean {
  return ABSOLUTE_PATH.test(text) && PLAIN_PATH.test(text);
}

function id(rule: string) {
  return z.int(rule).min(0, rule).max(MAX_ID, rule);
}

const user = z.union([
  z.string().min(1, 'must be a name or a number'),
  id(`must be a name, or a number from 0 to ${MAX_ID}`),
]);

function whole(from: number, to: number, unit: string) {
  const rule = `must be a whole number from ${from} to ${to}${unit && ` ${unit}`}`;
  return z.int(rule).min(from, rule).max(to, rule);
}

const network = z
  .strictObject({
    subnet: prefix.describe('The network’s IPv4 prefix, /8 to /30, host bits zero.'),
    address: address.describe('The base’s own address in the subnet; the guests’ gateway.'),
    mac: mac
      .describe('The base’s MAC address. Default: derived from the network’s name and subnet.')
      .optional(),
    mtu: whole(68, 65521, 'bytes')
      .describe('Longest IP datagram, offered to the guests (VIRTIO_NET_F_MTU).')
      .optional(),
    packed: z
      .boolean()
      .describe(
        'Offer packed virtqueues. QEMU can’t re-synchronise one when the base restarts, so only where that is acceptable.',
      )
      .default(false),
  })
  .describe('One IP subnet.');

const socket = z.union([
  path,
  z.strictObject({
    path: path.describe('Absolute path, at most 107 bytes.'),
    mode: z
      .enum(['server', 'client'])
      .describe('server: basewire listens and QEMU connects. client: the other way round.')
      .default('server'),
    permissions: text(/^0?[0-7]{3}$/, 'must be octal permissions in quotes, like "0660"')
      .describe('Of the socket file, octal, in quotes.')
      .optional(),
    owner: user.describe('User (name or number) that owns the socket file.').optional(),
    group: user.describe('Group (name or number) of the socket file.').optional(),
    allowUids: z
      .array(id(`must be a user’s number from 0 to ${MAX_ID} (id -u NAME tells it)`))
      .describe(
        'Only front-ends of these user ids, of root and of basewire’s own user may connect; []: of the latter two only. Default: whoever can open the file.',
      )
      .optional(),
  }),
]);

const vm = z
  .strictObject({
    socket: socket.describe('The vhost-user socket of this VM.').optional(),
    sockets: z
      .array(socket)
      .min(1, 'must name at least one socket')
      .max(8, 'must name at most 8 sockets')
      .describe(
        'Instead of socket: several front-ends of the same VM (live migration on one host).',
      )
      .optional(),
    network: z.string().describe('May be left out when there is one network.').optional(),
    addresses: z
      .array(address)
      .min(1, 'must name at least one address')
      .describe('The VM’s addresses on its network.'),
    prefixes: z
      .array(prefix)
      .describe('Prefixes outside all subnets that are routed to this VM.')
      .optional(),
    mac: mac.describe('Default: learned from the guest’s first frame.').optional(),
    management: z
      .boolean()
      .describe('Whether the VM may be a controller of adapters.')
      .default(false),
    worker: z
      .int('must be a whole number from 0')
      .min(0, 'must be a whole number from 0')
      .describe(
        'Turn worker that serves it, from 0. Default: each in turn, in the order of the file.',
      )
      .optional(),
  })
  .describe('One virtual machine: a port of the base.');

const adapter = z
  .strictObject({
    interface: z
      .string()
      .regex(
        /^(?!\.{1,2}$)[^\s/:\0]{1,15}$/,
        'must be the name of a network interface, at most 15 characters',
      )
      .refine((name) => Buffer.byteLength(name) <= 15, {
        message: 'must be the name of a network interface, at most 15 bytes in UTF-8',
      })
      .describe('The host’s network interface.'),
    network: z.string().describe('May be left out when there is one network.').optional(),
    controllers: z
      .array(z.string())
      .min(1, 'must name at least one management VM: nobody else can open the adapter')
      .describe('Management VMs that may open the adapter, in order of preference.'),
    nextHop: address
      .describe('Where datagrams for outside the subnet go. Without it they are dropped.')
      .optional(),
    mac: mac.describe('A unicast MAC address of its own. Default: the interface’s.').optional(),
    lease: whole(1, 86400, 'seconds')
      .describe('Seconds that an open holds without being renewed.')
      .default(10),
    onControllerLoss: z
      .enum(['keep', 'close'])
      .describe('What happens to an open adapter when no controller is left.')
      .default('keep'),
    coupleUdp: z
      .union([z.literal('auto'), z.boolean()])
      .describe(
        'Hands datagrams of one UDP flow that leave in a row to the kernel as one, to be cut again by it or by the interface. Faster; programs on the host that read the interface see what is not cut yet. auto: where the kernel or a network card cuts them, so that nobody beyond the interface does.',
      )
      .default('auto'),
  })
  .describe('One way out of the host.');

export const configSchema = z.strictObject({
  networks: z.record(z.string(), network).describe('IP subnets by name.'),
  vms: z.record(z.string(), vm).describe('Virtual machines by name.'),
  adapters: z.record(z.string(), adapter).describe('Ways out of the host by name.').default({}),
  datapath: z
    .strictObject({
      poll: z
        .enum(['adaptive', 'busy'])
        .describe('adaptive: sleep when idle. busy: never sleep, takes a whole core.')
        .default('adaptive'),
      spin: whole(0, 1000000, 'microseconds')
        .describe('Most microseconds to look for more work before sleeping.')
        .default(50),
      rest: whole(0, 1000, 'microseconds')
        .describe(
          'How long notifications are waited out together where many come and no processor core is idle. 0: never.',
        )
        .default(500),
      burst: whole(1, 4096, 'datagrams')
        .describe('Most datagrams taken from one port in one turn; of each ring no more than half.')
        .default(256),
      workers: whole(1, MAX_WORKERS, '')
        .describe('Turn workers: threads, each with its own VMs. Each wants a processor core.')
        .default(1),
      cores: z
        .array(whole(0, 8191, ''))
        .describe(
          'The turn workers’ processor cores, one each, in the order of the workers. The process’s other threads use other cores, where it may.',
        )
        .optional(),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(LOG_LEVELS).describe('Least level that is logged.').default('info'),
      format: z
        .enum(['json', 'text'])
        .describe('json: one JSON object per line. text: for people.')
        .default('json'),
    })
    .prefault({}),
  state: z
    .strictObject({
      file: path.describe(
        'Keeps leases, learned MACs and LAN neighbours over a restart. Its folder must be writable.',
      ),
    })
    .describe(
      'What outlives a restart. Without it adapters stay closed after one until a controller opens them again, and addresses are learned anew.',
    )
    .optional(),
  user: user
    .describe(
      'User (name or number) that the daemon becomes when it was started as root, before it makes any socket for guests.',
    )
    .optional(),
  group: user.describe('Group (name or number) beside user. Default: the user’s own.').optional(),
  admin: z
    .strictObject({
      socket: path
        .describe('Unix socket of the admin interface (HTTP), mode 0600.')
        .default(DEFAULT_ADMIN_SOCKET),
    })
    .optional(),
});

/** A configuration that passed, with defaults filled in. */
export type Config = z.output<typeof configSchema>;
export type SocketConfig = z.output<typeof socket>;
export type VmConfig = z.output<typeof vm>;
