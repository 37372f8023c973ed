/**
 * The XML that docs/configuration.md tells libvirt's users, run by libvirt itself (`virt-qemu-run` has its QEMU driver without a daemon): its
 * QEMU, of libvirt's own user, opens the socket that its group was given, and has been told what `basewire qemu-args` prints.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFailed, onTestFinished } from 'vitest';
import { systemQemu } from '../../qemu/qemu.ts';
import { COMMAND, Daemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { libvirtGroup, suite } from './suite.ts';

const DOCUMENT = fileURLToPath(new URL('../../docs/configuration.md', import.meta.url));
type Words = Record<string, unknown>;

suite('with libvirt', ['qemu', 'root', 'libvirt'], () => {
  it('the XML of the documents starts what qemu-args prints', { timeout: 60_000 }, async () => {
    const { version } = systemQemu()!;
    // One that QEMU's user may enter, and so the daemon makes the socket's folder in it.
    const folder = mkdtempSync(join(tmpdir(), 'basewire-libvirt-'));
    chmodSync(folder, 0o755);
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'sockets/web.sock');
    const mac = '52:54:00:00:00:11';
    const socket = { path, group: libvirtGroup() };
    const daemon = await Daemon.start({ vms: { web: { socket, addresses: ['10.77.0.11'], mac } } });
    onTestFinished(() => daemon.stop());

    const xml = domain(version[0] < 8).replace('/run/basewire/web.sock', path);
    const told = await startedBy(xml, folder, daemon);
    const printed = execFileSync(
      process.execPath,
      [
        ...[COMMAND, 'qemu-args', 'web', '--config', daemon.configPath, '--queues', '4'],
        ...['--qemu-version', version.join('.'), '--memory', '64M'],
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const ours = wordsOf(printed.trim().split(/\s+/));

    expect(told.memory).toMatchObject({ share: 'on' });
    expect(told.memory.kind).toBe(ours.memory.kind);
    expect(told.chardev.path).toBe(ours.chardev.path);
    expect(told.netdev).toMatchObject({ kind: 'vhost-user', queues: ours.netdev.queues });
    for (const key of ['kind', 'mac', 'mq', 'vectors'])
      expect(told.device[key]).toBe(ours.device[key]);
    for (const { chardev } of [told, ours]) {
      const milliseconds = Number(chardev['reconnect-ms'] ?? Number(chardev.reconnect) * 1000);
      expect(milliseconds).toBeGreaterThan(0);
      expect(milliseconds).toBeLessThanOrEqual(1000);
    }
  });
});

/** A domain without a disk, so that it stays in its firmware, with what the document says. */
function domain(withoutVectors: boolean): string {
  const section = readFileSync(DOCUMENT, 'utf8').split('\n## With libvirt\n')[1]!;
  const [memory, network, override] = [...section.matchAll(/^```xml\n([\s\S]*?)^```/gm)].map(
    (match) => match[1]!,
  );
  const namespace = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'";
  return [
    `<domain type='qemu' ${namespace}><name>web</name>`,
    "<memory unit='MiB'>64</memory><vcpu>4</vcpu><os><type arch='x86_64'>hvm</type></os>",
    `${memory}<devices>${network}</devices>${withoutVectors ? override : ''}</domain>`,
  ].join('\n');
}

/** Has libvirt start a domain; what its QEMU was told, once that is connected. */
async function startedBy(xml: string, folder: string, daemon: Daemon) {
  const file = join(folder, 'web.xml');
  writeFileSync(file, xml);
  const root = mkdtempSync(join(folder, 'libvirt-'));
  chmodSync(root, 0o755);
  // Without virtlogd, which no test starts.
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/qemu.conf'), 'stdio_handler = "file"\n');
  let output = '';
  const libvirt = spawn('virt-qemu-run', [`--root=${root}`, file]);
  for (const stream of [libvirt.stdout, libvirt.stderr]) {
    stream.on('data', (data: Buffer) => {
      output += data.toString();
    });
  }
  onTestFailed(() => {
    process.stderr.write(`${xml}\n${output}\n`);
  });
  onTestFinished(() => ended(libvirt));
  await until(
    'libvirt to start QEMU',
    async () => {
      if (libvirt.exitCode !== null) throw new Error(`virt-qemu-run ended: ${output}`);
      return ((await daemon.vm('web')).memory as { bytes: number }).bytes > 0;
    },
    30_000,
  );
  const { pid, uid } = (await daemon.vm('web')).frontend as { pid: number; uid: number };
  expect(uid).not.toBe(0);
  return wordsOf(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0'));
}

/** SIGTERM has it end its QEMU, too. */
async function ended(libvirt: ChildProcess): Promise<void> {
  if (libvirt.exitCode !== null) return;
  const end = new Promise((resolve) => libvirt.on('exit', resolve));
  libvirt.kill('SIGTERM');
  await end;
}

/** The network device's options and the memory's, whichever way they are written. */
function wordsOf(args: string[]) {
  const all = args.flatMap((option, at) => {
    return /^-(object|chardev|netdev|device)$/.test(option)
      ? [{ option, words: parse(args[at + 1]!) }]
      : [];
  });
  const find = (option: string, kind: RegExp): Words => {
    const fits = (words: Words) =>
      kind.test(String(words.kind)) &&
      (option !== '-chardev' || String(words.path).endsWith('web.sock'));
    const found = all.find((one) => one.option === option && fits(one.words));
    if (!found) throw new Error(`no ${option} ${kind} in ${args.join(' ')}`);
    return found.words;
  };
  return {
    memory: find('-object', /^memory-backend/),
    chardev: find('-chardev', /^socket$/),
    netdev: find('-netdev', /^vhost-user$/),
    device: find('-device', /^virtio-net/),
  };
}

/** `virtio-net-pci,mac=…` or {"driver":"virtio-net-pci",…}, with the first word as `kind`, and each value as text. */
function parse(value: string): Words {
  if (value.startsWith('{')) {
    const { driver, type, 'qom-type': object, ...rest } = JSON.parse(value) as Words;
    const text = (one: unknown) => (one === true ? 'on' : one === false ? 'off' : String(one));
    const entries = Object.entries(rest).map(([key, one]) => [key, text(one)]);
    return { kind: driver ?? type ?? object, ...Object.fromEntries(entries) };
  }
  const [kind, ...pairs] = value.split(',');
  return { kind, ...Object.fromEntries(pairs.map((pair) => pair.split('=') as [string, string])) };
}
