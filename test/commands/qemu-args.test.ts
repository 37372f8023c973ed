/** The QEMU arguments, by version, direction and settings. */
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { forTerminal, qemuArguments } from '../../src/commands/qemu-args.ts';
import { checkConfig } from '../../src/config/load.ts';
import { ConfigSource } from '../../src/config/source.ts';
import { EXAMPLE } from '../config/example.ts';

function argumentsFor(
  version: string,
  more: { text?: string; vm?: string; kvm?: boolean; queues?: number; socket?: number } = {},
) {
  const [major, minor] = version.split('.').map(Number) as [number, number];
  const { config } = checkConfig(new ConfigSource('f', more.text ?? EXAMPLE));
  return qemuArguments(config, more.vm ?? 'web', {
    version: { major, minor },
    kvm: more.kvm ?? false,
    memory: '1G',
    socket: more.socket ?? 0,
    queues: more.queues ?? 1,
  });
}

it('are one option per line, memory shared', () => {
  expect(argumentsFor('10.0')).toEqual([
    '-m 1G',
    '-object memory-backend-memfd,id=basewire-memory,size=1G,share=on',
    '-machine memory-backend=basewire-memory',
    '-chardev socket,id=basewire-web,path=/run/basewire/web.sock,reconnect-ms=100',
    '-netdev vhost-user,id=basewire-web-net,chardev=basewire-web',
    '-device virtio-net-pci,netdev=basewire-web-net,mac=52:54:00:00:00:11',
  ]);
});

it.each([
  ['7.2', 'reconnect=1', true],
  ['8.0', 'reconnect=1', false],
  ['9.1', 'reconnect=1', false],
  ['9.2', 'reconnect-ms=100', false],
  ['10.2', 'reconnect-ms=100', false],
  ['11.1', 'reconnect-ms=100', false],
])('for QEMU %s: %s, vectors=0 without KVM: %s', (version, reconnect, noVectors) => {
  const lines = argumentsFor(version);
  expect(lines[3]).toMatch(new RegExp(`,${reconnect}$`));
  expect(lines[5]!.endsWith(',vectors=0')).toBe(noVectors);
  expect(argumentsFor(version, { kvm: true })[5]).not.toContain('vectors');
});

it('a socket that QEMU makes', () => {
  const text = EXAMPLE.replace(
    'socket: /run/basewire/web.sock ',
    'socket: {path: "/run/a,b.sock", mode: client} ',
  );
  expect(argumentsFor('9.2', { text })[3]).toBe(
    '-chardev socket,id=basewire-web,path=/run/a,,b.sock,server=on,wait=off',
  );
});

it('MTU, packed rings, queues, one of several sockets', () => {
  const text = EXAMPLE.replace(
    'address: 10.77.0.1 ',
    'mtu: 9000\n    packed: true\n    address: 10.77.0.1 ',
  ).replace('socket: /run/basewire/controller.sock', 'sockets: [/run/c1, /run/c2]');
  const lines = argumentsFor('10.0', { text, vm: 'controller', queues: 4, socket: 1 });
  expect(lines[3]).toContain('path=/run/c2,');
  expect(lines[4]).toMatch(/,queues=4$/);
  expect(lines[5]).toMatch(
    /^-device virtio-net-pci,netdev=basewire-controller-net,mac=52:54:00:[0-9a-f:]{8},host_mtu=9000,packed=on,mq=on,vectors=10$/,
  );
  const usual = EXAMPLE.replace('address: 10.77.0.1 ', 'mtu: 1500\n    address: 10.77.0.1 ');
  expect(argumentsFor('10.0', { text: usual })).toEqual(argumentsFor('10.0', { text: EXAMPLE }));
  expect(() => argumentsFor('10.0', { text, vm: 'controller', socket: 2 })).toThrow(
    /--socket 3: VM controller has 2 sockets only/,
  );
});

it.each([
  ['plain', '/run/basewire/web.sock'],
  ['a blank', '/run/my sockets/web.sock'],
  ['quotes', `/run/it's "web".sock`],
  ['what a shell expands', '/run/$HOME`id`$(id)*?[a-z]~{a,b}!.sock'],
  ['what ends a command', '/run/a;b&c|d>e<f#g\\h'],
  ['letters that are not ASCII', '/run/wéb ü.sock'],
])('on a terminal a shell takes them as they are meant: %s', (name, path) => {
  const text = EXAMPLE.replace('/run/basewire/web.sock ', `${JSON.stringify(path)} `);
  const lines = argumentsFor('10.0', { text });
  const printed = forTerminal(lines);
  expect(printed.includes("'")).toBe(name !== 'plain');
  const words = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${printed}`], { encoding: 'utf8' });
  expect(words.split('\0').slice(0, -1)).toEqual(
    lines.flatMap((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]),
  );
  expect(lines[3]).toContain(`path=${path.replaceAll(',', ',,')},`);
});

it('on a terminal control characters are not printed', () => {
  expect(() => forTerminal(['-chardev socket,path=/run/\u001b[2J'])).toThrow(
    /u001b\[2J: has control characters: choose another path/,
  );
});
