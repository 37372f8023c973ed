/** The built command line: exit codes, what goes to which stream, the back-end program form, signals. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { native } from '../../src/native.ts';
import { EXAMPLE } from '../config/example.ts';
import { BUILT } from '../support/daemon.ts';
import { FrontEnd } from '../support/frontend.ts';
import { ended, ready, startProgram } from '../support/running.ts';
import { testFolder } from '../supervision/folder.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

function basewire(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

function write(text: string): string {
  const file = join(testFolder(), 'c.yaml');
  writeFileSync(file, text);
  return file;
}

/** Everything in `folder`, and a free port of the example's kind. */
function configIn(folder: string, more = ''): string {
  const file = join(folder, 'c.yaml');
  writeFileSync(
    file,
    `networks: {lan: {subnet: 10.77.0.0/24, address: 10.77.0.1}}
vms: {web: {socket: ${folder}/web.sock, addresses: [10.77.0.11]}}
admin: {socket: ${folder}/admin.sock}
${more}`,
  );
  return file;
}

const start = (args: string[], stdio?: ('ignore' | 'pipe' | number)[]) =>
  startProgram([process.execPath, COMMAND, ...args], { stdio });

describe.skipIf(!BUILT)(
  `the command${BUILT ? '' : ' (skipped: dist/ is not built)'}`,
  { timeout: 120_000 },
  () => {
    it('check: 0 and a description, or 78 and every complaint on stderr', () => {
      const good = write(EXAMPLE);
      const description = basewire('check', '--config', good);
      expect(description).toMatchObject({ status: 0 });
      expect(description.stdout).toMatch(/: ok\n/);
      expect(description.stdout).toMatch(/uplink +eth1 +lan +controller/);
      expect(description.stdout).toMatch(/^Turn workers: 1, which serves all VMs\.$/m);
      const two = write(EXAMPLE.replace('burst: 256', 'burst: 256, workers: 2'));
      expect(basewire('check', '--config', two).stdout).toMatch(
        /^Turn workers: 2: worker 0 serves web, all adapters; worker 1 serves controller\.$/m,
      );
      const bad = write(
        EXAMPLE.replace('10.77.0.11]', '10.78.0.11]').replace('burst: 256', 'burst: 0'),
      );
      const refused = basewire('check', '--config', bad);
      expect(refused).toMatchObject({ status: 78, stdout: '' });
      expect(refused.stderr.trim().split('\n')).toEqual([
        `${bad}:9:17: vms.web.addresses[0]: 10.78.0.11 is outside the subnet 10.77.0.0/24 of network lan`,
        expect.stringMatching(
          /:23:45: datapath\.burst: must be a whole number from 1 to 4096 datagrams, not 0$/,
        ),
      ]);
    });

    it('check: says who the daemon becomes, who may come, and where its state is', () => {
      const plain = basewire('check', '-c', write(EXAMPLE)).stdout;
      expect(plain).toMatch(/ \/run\/basewire\/web\.sock \(0660\)$/m);
      expect(plain).toMatch(/^User: whoever starts it\. No state is kept over a restart\.$/m);
      const file = write(`networks: {lan: {subnet: 10.77.0.0/24, address: 10.77.0.1}}
vms:
  web:
    sockets:
      - {path: /run/x1, permissions: "0600", owner: 65534, group: root, allowUids: [64055, 7]}
      - {path: /run/x2, mode: client, allowUids: []}
    addresses: [10.77.0.11]
user: 65534
group: root
state: {file: /var/lib/basewire.state}
`);
      const { stdout, stderr } = basewire('check', '-c', file);
      expect(stderr).toBe('');
      expect(stdout).toMatch(
        / \/run\/x1 \(0600, owner 65534, group root, for root, the daemon’s user, 64055, 7 only\) and \/run\/x2 \(QEMU listens, for root, the daemon’s user only\)$/m,
      );
      expect(stdout).toMatch(
        /^User: 65534, group root\. State over a restart: \/var\/lib\/basewire\.state\.$/m,
      );
    });

    const root = process.getuid!() === 0;
    it.skipIf(!root)(
      'check: looks for interfaces in its own network namespace, by all their names (needs root)',
      () => {
        // /sys shows those of the namespace that it was mounted in.
        const file = write(EXAMPLE.replace('interface: eth1', 'interface: bw-check-alt'));
        const script = (names: string) => `set -e
          ip link add bw-check type veth peer name bw-check-peer
          ${names}
          exec "$0" "$@"`;
        const checked = (names: string) =>
          spawnSync(
            'unshare',
            ['-n', 'sh', '-c', script(names), process.execPath, COMMAND, 'check', '-c', file],
            { encoding: 'utf8', timeout: 60_000 },
          );
        const known = checked('ip link property add dev bw-check altname bw-check-alt');
        expect(known).toMatchObject({ status: 0, stderr: '' });
        const unknown = checked('');
        expect(unknown.status).toBe(0);
        expect(unknown.stderr).toMatch(/there is no interface bw-check-alt in this network/);
      },
    );

    it('control characters of a configuration don’t reach the terminal', () => {
      const folder = join(testFolder(), 'a\u001b[2J');
      mkdirSync(folder);
      const file = join(folder, 'c.yaml');
      writeFileSync(
        file,
        `networks: {lan: {subnet: 10.77.0.0/24, address: 10.77.0.1}}
vms: {web: {socket: ${join(folder, '../web.sock')}, addresses: [10.77.0.11], management: true}}
adapters: {uplink: {interface: "no\\ethere", controllers: [web]}}
admin: {socket: ${join(folder, '../admin.sock')}}
`,
      );
      const bad = join(folder, 'bad.yaml');
      writeFileSync(
        bad,
        `networks: {lan: {subnet: 10.77.0.0/24, address: 10.77.0.1}}
vms: {web: {socket: "/run/\\e\\u009bweb.sock", addresses: [10.77.0.11]}}
`,
      );
      chmodSync(file, 0o666);
      for (const args of [
        ['check', '-c', file],
        ['check', '-c', bad],
        ['status', '--admin-socket', join(folder, 'admin.sock')],
        ['qemu-args', 'w\u001b', '-c', file],
        ['qemu-args', 'web', '-c', file, '--qemu-version', '1\u001b'],
      ]) {
        const { stdout, stderr } = basewire(...args);
        expect(stdout + stderr).toContain('\\u001b');
        // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them
        expect(stdout + stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
      }
    });

    it('output that can’t be written is a failure, unless nobody wants it', () => {
      const file = write(EXAMPLE);
      const sh = (line: string) =>
        spawnSync('sh', ['-c', line, process.execPath, COMMAND, file], {
          encoding: 'utf8',
          timeout: 60_000,
        });
      for (const command of ['check -c "$2"', 'schema', '--help', '--print-capabilities'])
        expect(sh(`exec "$0" "$1" ${command} >/dev/full`)).toMatchObject({
          status: 1,
          stderr: expect.stringMatching(
            /^basewire: the output can’t be written: ENOSPC: no space left on device/m,
          ),
        });
      const gone = sh('{ "$0" "$1" schema; echo "$?" >&2; } | :');
      expect(gone.stderr).toBe('0\n');
    });

    it('what the system refuses is said in its words', () => {
      const line = 'ulimit -n 40; exec "$0" "$1" check -c "$2"';
      const { status, stderr } = spawnSync(
        'sh',
        ['-c', line, process.execPath, COMMAND, write(EXAMPLE)],
        { encoding: 'utf8', timeout: 60_000 },
      );
      // Enough for a Node that loads one module after the other.
      if (status === 0) return;
      expect(status).toBe(1);
      expect(stderr).toMatch(/^basewire: EMFILE: too many open files, .*\(ulimit -n\)\n$/);
    });

    it('without the addon: run says what to do, check goes on', () => {
      const folder = testFolder();
      const project = fileURLToPath(new URL('../..', import.meta.url));
      cpSync(join(project, 'dist'), join(folder, 'dist'), { recursive: true });
      for (const name of ['package.json', 'node_modules'])
        symlinkSync(join(project, name), join(folder, name));
      const file = configIn(folder);
      const copy = (command: string) =>
        spawnSync(process.execPath, [join(folder, 'dist/cli.js'), command, '-c', file], {
          encoding: 'utf8',
        });
      const sentence = /the native addon can't be loaded \(.*\): run "npm run build", .*\n$/;
      const run = copy('run');
      expect(run).toMatchObject({ status: 1, stdout: '', stderr: expect.stringMatching(sentence) });
      expect(run.stderr.split('\n')).toHaveLength(2);
      const check = copy('check');
      expect(check).toMatchObject({ status: 0, stderr: expect.stringMatching(sentence) });
    });

    it('run: 78, and nothing is created', () => {
      const folder = testFolder();
      const text = EXAMPLE.replaceAll('/run/basewire', join(folder, 'run')).replace(
        'lease: 10',
        'lease: 0',
      );
      expect(basewire('run', '--config', write(text))).toMatchObject({ status: 78, stdout: '' });
      expect(existsSync(join(folder, 'run'))).toBe(false);
      expect(basewire('run', '--config', join(folder, 'none')).status).toBe(78);
    });

    it.each([
      [['chekc'], /unknown command "chekc" \(did you mean "check"\?\)/],
      [['chekc', '-c', 'x'], /unknown command "chekc" \(did you mean "check"\?\)/],
      [['check'], /required option '-c, --config <file>' not specified/],
      [['run', '--config'], /argument missing/],
      [['run', '--daemonize', '--config', 'x'], /unknown option '--daemonize'/],
      [['qemu-args', '--config', 'x'], /missing required argument 'vm'/],
      [['--socket-path=/x', '--fd=3'], /not both/],
      [['--socket-path='], /--socket-path is empty/],
      [['--socket-path=/no/such/folder/x'], /^(?!.*vms\.).*--socket-path \/no\/such/],
      [['--fd=1'], /3 or more/],
      [
        ['--socket-path=/tmp/x.sock', '--address', '10.0.0.1/24'],
        /^basewire: --address 10\.0\.0\.1\/24: 10\.0\.0\.1 is already the base’s own address/,
      ],
      [
        ['--socket-path=/tmp/x.sock', '--address', '10.0.0.2/32'],
        /^basewire: --address 10\.0\.0\.2\/32: \/32 is not supported: use \/8 to \/30\n$/,
      ],
      [
        ['--socket-path=/tmp/x.sock', '--gateway', '10.78.0.1'],
        /^basewire: --gateway 10\.78\.0\.1: 10\.78\.0\.1 is outside the subnet [^\n]*\n$/,
      ],
      [
        ['--fd=3', '--gateway', 'gw'],
        /^basewire: --gateway gw: must be an IPv4 address like [^\n]*\n$/,
      ],
      [
        ['--fd=3', '--interface=a/b'],
        /^basewire: --interface a\/b: must be the name of a network interface/,
      ],
      [['--socket-path=/tmp/x.sock', '--admin-socket='], /^basewire: --admin-socket is empty\n$/],
      [
        ['--fd=3', '--admin-socket', `/tmp/${'x'.repeat(103)}`],
        /^basewire: --admin-socket \/tmp\/x+: is 108 bytes long, [^\n]*\n$/,
      ],
      [
        ['--socket-path=/tmp/x.sock', '--admin-socket=/tmp//x.sock'],
        /^basewire: --admin-socket \/tmp\/\/x\.sock: is that of --socket-path\n$/,
      ],
      [
        ['--admin-socket', '/tmp/x', 'status'],
        /--admin-socket stands before the command "status": put it behind the command/,
      ],
      [
        ['--log-level', 'debug', 'run', '-c', 'x'],
        /--log-level stands before the command "run": run has no such option/,
      ],
      [
        ['--config', 'c.yaml', 'run'],
        /^basewire: --config stands before the command "run": put it behind the command \(see basewire run --help\)\n$/,
      ],
      [['-c', 'c.yaml'], /^basewire: unknown option '-c'/],
      [['help', 'stauts'], /^basewire: unknown command "stauts" \(did you mean "status"\?\)/],
      [['status', 'web', '--json'], /--json prints all: leave web out/],
      [['check', '-c', 'x', 'extra'], /too many arguments for 'check'/],
      [['qemu-args', 'web', 'db', '-c', 'x'], /too many arguments for 'qemu-args'/],
      [['--no\u001b[2Jne'], /^basewire: unknown option '--no\\u001b\[2Jne'\n/],
      [['no\u009b2J\nne'], /^basewire: unknown command "no\\u009b2J\\nne"/],
      [['status', '--admin-socket', `/${'x'.repeat(107)}`], /is 108 bytes long, .* holds 107/],
      [['status', '--admin-socket='], /--admin-socket is empty/],
      [['run', '-c', 'x', '--config', 'y'], /--config is given twice/],
      [['--socket-path=/x', '--socket-path=/y'], /--socket-path is given twice/],
      [
        ['status', '-c', 'x', '--admin-socket', '/y'],
        /'--admin-socket <path>' cannot be used with option '-c, --config <file>'/,
      ],
      [[], /Usage: basewire/],
    ])('%j is a usage error', (args, message) => {
      const result = basewire(...args);
      expect(result).toMatchObject({ status: 2, stdout: '' });
      expect(result.stderr).toMatch(message);
    });

    it('--help, --version and --print-capabilities go to stdout', () => {
      expect(basewire('--help')).toMatchObject({
        status: 0,
        stderr: '',
        stdout: expect.stringContaining('Usage: basewire'),
      });
      // What people look for comes first.
      const help = basewire('--help')
        .stdout.split(/^(?=\S)/m)
        .map((part) => part.split('\n', 1)[0]);
      expect(help).toEqual([
        'Usage: basewire [options] [command]',
        expect.stringMatching(/^An IP switch/),
        'Commands:',
        'Options:',
        expect.stringMatching(/^Without a command, one port .*:$/),
        expect.stringMatching(/^Exit status: /),
      ]);
      expect(basewire('help', 'status').stdout).toBe(basewire('status', '--help').stdout);
      expect(basewire('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
      const capabilities = basewire(
        '--fd=99',
        '--bogus',
        '--print-capabilities',
        '--socket-path=/x',
      );
      expect(capabilities).toMatchObject({ status: 0, stderr: '' });
      expect(JSON.parse(capabilities.stdout)).toEqual({ type: 'net' });
    });

    it('qemu-args: only arguments on stdout', () => {
      const file = write(EXAMPLE);
      const result = basewire('qemu-args', 'web', '--config', file, '--qemu-version', '7.2');
      expect(result.status).toBe(0);
      for (const line of result.stdout.trim().split('\n')) expect(line).toMatch(/^-[a-z]+ \S+$/);
      expect(result.stderr).toContain('ip address add 10.77.0.11/24');
      expect(basewire('qemu-args', 'wbe', '--config', file)).toMatchObject({
        status: 2,
        stderr: expect.stringContaining('did you mean "web"?'),
      });
    });

    it('qemu-args: says where $(...) would not do', () => {
      for (const [path, said] of [
        ['/run/a b', true],
        ['/run/a*', true],
        ['/run/a[1]', true],
        ['/run/a$b', false],
      ] as const) {
        const file = write(EXAMPLE.replace('/run/basewire/web.sock ', `"${path}" `));
        const { status, stdout, stderr } = basewire('qemu-args', 'web', '-c', file);
        expect(status).toBe(0);
        expect(stdout).toContain(`path=${path},`);
        expect(/characters that \$\(\.\.\.\) splits or expands/.test(stderr)).toBe(said);
      }
    });

    it('status: 69 when nothing runs', () => {
      expect(basewire('status', '--admin-socket', '/nonexistent/a.sock')).toMatchObject({
        status: 69,
        stdout: '',
      });
    });

    it('run: ready, status, SIGTERM, socket files gone, 0', async () => {
      const folder = testFolder();
      const file = configIn(folder);
      const daemon = start(['run', '--config', file]);
      await ready(daemon);
      expect(lstatSync(join(folder, 'web.sock')).mode & 0o777).toBe(0o660);
      expect(lstatSync(join(folder, 'admin.sock')).mode & 0o777).toBe(0o600);
      const json = basewire('status', '--json', '--config', file);
      expect(JSON.parse(json.stdout).vms.web).toMatchObject({
        state: 'waiting',
        output: { datagrams: 0, bytes: 0 },
      });
      expect(basewire('status', '--config', file).stdout).toMatch(/^web +waiting/m);
      // A second one takes nothing away from the first.
      const second = basewire('run', '--config', file);
      expect(second.status).toBe(1);
      expect(second.stderr).toMatch(/another process accepts connections/);
      expect(existsSync(join(folder, 'web.sock'))).toBe(true);
      daemon.child.kill('SIGTERM');
      await ended(daemon);
      expect(daemon.exit()).toEqual({ code: 0, signal: null });
      expect(existsSync(join(folder, 'web.sock')) || existsSync(join(folder, 'admin.sock'))).toBe(
        false,
      );
    });

    it('run: takes over what a killed one left, not what is no socket', async () => {
      const folder = testFolder();
      const file = configIn(folder);
      const first = start(['run', '--config', file]);
      await ready(first);
      first.child.kill('SIGKILL');
      await ended(first);
      expect(existsSync(join(folder, 'web.sock'))).toBe(true);
      const second = start(['run', '--config', file]);
      await ready(second);
      second.child.kill('SIGINT');
      await ended(second);
      expect(second.exit()!.code).toBe(0);
      mkdirSync(join(folder, 'web.sock'));
      const third = basewire('run', '--config', file);
      expect(third.status).toBe(78);
      expect(third.stderr).toMatch(/:2:21: vms\.web\.socket: .*web\.sock .*is not a socket/);
      expect(existsSync(join(folder, 'admin.sock'))).toBe(false);
    });

    it.skipIf(process.getuid!() !== 0)(
      'run: a folder in which the daemon may make no socket is named, and who it is',
      () => {
        const folder = testFolder();
        chmodSync(folder, 0o755);
        const file = configIn(folder, 'user: 65534\ngroup: 65534\n');
        expect(basewire('run', '--config', file)).toMatchObject({
          status: 1,
          stderr: `basewire: admin socket: ${folder}: user 65534 (group 65534) may make no socket there: let it write to the folder, or choose another path\n`,
        });
      },
    );

    it.skipIf(process.getuid!() !== 0)(
      'run: a group that the daemon may not give a socket, or its folder, is named',
      () => {
        const folder = testFolder();
        chmodSync(folder, 0o777);
        const file = join(folder, 'c.yaml');
        const under = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath];
        for (const path of [join(folder, 'web.sock'), join(folder, 'run', 'web.sock')]) {
          writeFileSync(
            file,
            `networks: {lan: {subnet: 10.77.0.0/24, address: 10.77.0.1}}
vms: {web: {socket: {path: ${path}, group: 0}, addresses: [10.77.0.11]}}
admin: {socket: ${folder}/admin.sock}
`,
          );
          const { status, stderr } = spawnSync('setpriv', [...under, COMMAND, 'run', '-c', file], {
            encoding: 'utf8',
            timeout: 60_000,
          });
          expect(status).toBe(1);
          expect(stderr).toMatch(
            /^basewire: \S+: user 65534 may not give it to group 0: make the user a member of the group, or leave group out\n$/,
          );
          expect(existsSync(path)).toBe(false);
        }
      },
    );

    it.skipIf(process.getuid!() !== 0)(
      'run: with user:, a folder for the admin socket that can’t be made ends the start only if it was asked for',
      async () => {
        const folder = testFolder();
        chmodSync(folder, 0o777);
        const file = join(folder, 'c.yaml');
        const text = `networks: {lan: {subnet: 10.77.0.0/24, address: 10.77.0.1}}
vms: {web: {socket: ${folder}/web.sock, addresses: [10.77.0.11]}}
user: 65534
group: 65534
`;
        const line = 'mount -t tmpfs -o ro tmpfs /run && exec "$@"';
        const command = [process.execPath, COMMAND, 'run', '-c', file];
        const begin = () => startProgram(['unshare', '-m', 'sh', '-c', line, 'sh', ...command]);
        writeFileSync(file, text);
        const daemon = begin();
        await ready(daemon);
        const without = 'no admin interface: admin socket: can’t make the folder /run/basewire: ';
        expect(daemon.stdout()).toContain(without);
        writeFileSync(file, `${text}admin: {socket: /run/basewire/admin.sock}\n`);
        const asked = begin();
        expect(await ended(asked)).toEqual({ code: 1, signal: null });
        expect(asked.stderr()).toContain('can’t make the folder /run/basewire: ');
      },
    );

    it('run: a stdout that nobody reads, or that is closed, does not hold it up', async () => {
      for (const close of [false, true]) {
        const folder = testFolder();
        const daemon = start(['run', '--config', configIn(folder)], ['ignore', 'pipe', 'ignore']);
        await ready(daemon);
        if (close) daemon.child.stdout!.destroy();
        else daemon.child.stdout!.pause();
        // Each of these is logged.
        for (let i = 0; i < 200; i++) daemon.child.kill('SIGHUP');
        const json = JSON.parse(
          basewire('status', '--json', '--config', join(folder, 'c.yaml')).stdout,
        );
        expect(json.ready).toBe(true);
        daemon.child.kill('SIGTERM');
        await ended(daemon);
        expect(daemon.exit()).toEqual({ code: 0, signal: null });
      }
    });

    it('--socket-path: one port on a socket of its own', async () => {
      const folder = testFolder();
      const path = join(folder, 'port.sock');
      const daemon = start([`--socket-path=${path}`, '--admin-socket', join(folder, 'a.sock')]);
      await ready(daemon);
      expect(lstatSync(path).isSocket()).toBe(true);
      const status = JSON.parse(
        basewire('status', '--json', '--admin-socket', join(folder, 'a.sock')).stdout,
      );
      expect(status.networks.net).toMatchObject({ subnet: '10.77.0.0/24', address: '10.77.0.1' });
      expect(status.vms.vm).toMatchObject({ state: 'waiting', addresses: ['10.77.0.2'] });
      const frontEnd = connect(path);
      onTestFinished(() => void frontEnd.destroy());
      await new Promise((resolve) => frontEnd.once('connect', resolve));
      daemon.child.kill('SIGTERM');
      await ended(daemon);
      expect(daemon.exit()!.code).toBe(0);
      expect(existsSync(path)).toBe(false);
    });

    it('--interface: one that is not there is said at the start', async () => {
      const socket = join(testFolder(), 'port.sock');
      const daemon = start([`--socket-path=${socket}`, '--interface', 'bw-none']);
      await ready(daemon);
      expect(daemon.stdout()).toContain('adapter uplink: there is no interface bw-none');
    });

    it('--fd: serves the inherited socket and ends with its front-end', async () => {
      // Node's own "pipe" for a child is a pair of Unix stream sockets.
      const daemon = start(['--fd=3'], ['ignore', 'pipe', 'pipe', 'pipe']);
      await ready(daemon);
      const frontEnd = daemon.child.stdio[3] as import('node:net').Socket;
      frontEnd.destroy();
      await ended(daemon);
      expect(daemon.exit()!.code).toBe(0);
      expect(daemon.stdout()).toContain('the front-end ended');
      expect(basewire('--fd=77')).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('no such descriptor'),
      });
    });

    it('--fd: a socket that listens, to which a front-end came before we did', async () => {
      const path = join(testFolder(), 'port.sock');
      const listening = native.unixListen(path, 0o600, 1);
      const frontEnd = await FrontEnd.connect(path);
      const daemon = start(['--fd=3'], ['ignore', 'pipe', 'pipe', listening]);
      native.closeDescriptor(listening);
      expect(await frontEnd.getFeatures()).not.toBe(0n);
      frontEnd.close();
      daemon.child.kill('SIGTERM');
      await ended(daemon);
    });

    it.each([
      ['AF_INET, SOCK_STREAM', 'IPv4, stream'],
      ['AF_INET6, SOCK_DGRAM', 'IPv6, datagram'],
      ['AF_UNIX, SOCK_DGRAM', 'Unix, datagram'],
      ['AF_UNIX, SOCK_SEQPACKET', 'Unix, SOCK_SEQPACKET'],
      ['AF_UNIX, SOCK_STREAM', 'neither listens nor is connected'],
    ])('--fd: not a socket of %s', (made, named) => {
      // Perl's descriptors up to $^F are inherited; the first is 3.
      const program = `$^F = 9; socket(S, ${made}, 0) or die; fileno(S) == 3 or die; exec @ARGV`;
      const { status, stdout, stderr } = spawnSync(
        'perl',
        ['-MSocket', '-e', program, process.execPath, COMMAND, '--fd=3'],
        { encoding: 'utf8', timeout: 60_000 },
      );
      expect([status, stdout]).toEqual([1, '']);
      expect(stderr).toContain('basewire: --fd 3: is a socket ');
      expect(stderr).toContain(named);
      expect(stderr).toContain(': it must be a Unix stream socket that listens or is connected');
    });

    it('--fd: no socket', () => {
      const stdio = ['ignore', 'pipe', 'pipe', openSync('/dev/null', 'r')] as const;
      const { status, stderr } = spawnSync(process.execPath, [COMMAND, '--fd=3'], {
        stdio: [...stdio],
        encoding: 'utf8',
      });
      closeSync(stdio[3]);
      expect([status, stderr]).toEqual([1, 'basewire: --fd 3: is no socket\n']);
    });
  },
);
