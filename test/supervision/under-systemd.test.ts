/** The systemd unit under a real systemd: started, confined, restarted, stopped. With BASEWIRE_LONG=1. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { parse } from '../support/packets.ts';
import { LONG } from '../support/random.ts';
import { NO_BOX, SystemdBox } from '../support/systemd-box.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';

const CONFIGURATION = {
  networks: { lan: { subnet: '10.77.0.0/24', address: BASE_IP, mac: BASE_MAC } },
  vms: {
    a: { socket: '/run/basewire/a.sock', addresses: [A.ip], mac: A.mac, management: true },
    b: { socket: '/run/basewire/b.sock', addresses: [B.ip], mac: B.mac },
    c: { socket: { path: '/run/basewire/c.sock', group: 'users' }, addresses: ['10.77.0.13'] },
  },
  adapters: { uplink: { interface: 'bw0', network: 'lan', controllers: ['a'] } },
  admin: { socket: '/run/basewire/admin.sock' },
};

const reason = LONG ? NO_BOX : 'BASEWIRE_LONG=1 only';

describe.skipIf(reason !== '')(`the unit under systemd${reason && ` (${reason})`}`, () => {
  let box: SystemdBox;
  const vms: Vm[] = [];
  beforeAll(async () => {
    box = await SystemdBox.start(CONFIGURATION);
    const dropIn = '/etc/systemd/system/basewire.service.d';
    box.say('mkdir', '-p', dropIn);
    const group = '[Service]\\nSupplementaryGroups=users\\n';
    box.say('sh', '-c', `printf '${group}' >${dropIn}/group.conf && systemctl daemon-reload`);
  }, 90_000);
  afterAll(async () => {
    for (const vm of vms) vm.close();
    await box?.close();
  });

  const state = () => box.property('ActiveState');
  const process = () => Number(box.property('MainPID'));

  async function vm(name: string): Promise<Vm> {
    const one = await until(`${name} to be taken`, () =>
      Vm.start(box.path(`/run/basewire/${name}.sock`)).catch(() => null),
    );
    vms.push(one);
    return one;
  }

  /** A datagram from a to b. */
  async function passes(a: Vm, b: Vm, text: string): Promise<void> {
    // The base learns of a started ring a moment after the message.
    await until(text, async () => {
      await a.send(udpFrame(A, B.ip, Buffer.from(text)));
      return b.receive(200).then(
        ({ frame }) => parse(frame).udp?.payload.toString() === text,
        () => false,
      );
    });
  }

  test('is active once it has said that it is ready', () => {
    box.say('systemctl', 'start', 'basewire');
    expect(state()).toBe('active');
    expect(box.property('NRestarts')).toBe('0');
  });

  test('has its folders, which nobody else can open', () => {
    const stat = (path: string) => box.say('stat', '-c', '%A %U %G', path);
    expect(stat('/run/basewire')).toBe('drwxr-x--- basewire basewire');
    expect(stat('/run/basewire/a.sock')).toBe('srw-rw---- basewire basewire');
    expect(stat('/run/basewire/c.sock')).toBe('srw-rw---- basewire users');
    expect(stat('/run/basewire/admin.sock')).toBe('srw------- basewire basewire');
    expect(stat('/var/lib/basewire')).toBe('drwx------ basewire basewire');
    expect(stat('/etc/basewire')).toBe('drwxr-x--- root basewire');
  });

  test('has no capability left in any thread, and can get none', () => {
    const text = box.say('sh', '-c', `cat /proc/${process()}/task/*/status`);
    const values = (key: string) =>
      new Set([...text.matchAll(new RegExp(`^${key}:\\s*(.*)$`, 'gm'))].map(([, value]) => value));
    for (const set of ['CapEff', 'CapPrm', 'CapAmb'])
      expect([set, ...values(set)]).toEqual([set, '0000000000000000']);
    expect([...values('NoNewPrivs')]).toEqual(['1']);
    expect([...values('Seccomp')]).toEqual(['2']);
    expect([...values('Uid')]).toHaveLength(1);
    expect([...values('Uid')][0]).not.toMatch(/^0\b/);
  });

  test('carries datagrams, and opens the adapter without any privilege', async () => {
    const [a, b] = [await vm('a'), await vm('b')];
    await passes(a, b, 'under systemd');
    const open = Buffer.from('{"id":1,"op":"open","adapter":"uplink"}');
    await a.send(udpFrame(A, BASE_IP, open, { ports: [5555, 7356] }));
    const { udp } = parse((await a.receive()).frame);
    expect(JSON.parse(udp!.payload.toString())).toMatchObject({ ok: true, interface: 'bw0' });
  });

  test('is there again when it is killed', async () => {
    const before = process();
    box.say('kill', '-9', `${before}`);
    await until(
      'another process',
      () => ![0, before].includes(process()) && state() === 'active',
      30_000,
    );
    for (const one of vms.splice(0)) one.close();
    const [a, b] = [await vm('a'), await vm('b')];
    await passes(a, b, 'after the kill');
    expect(box.property('NRestarts')).toBe('1');
  });

  test('ends by itself when it is told to, long before it would be killed', () => {
    box.say('systemctl', 'stop', 'basewire');
    expect([state(), box.property('Result'), box.property('ExecMainStatus')]).toEqual([
      'inactive',
      'success',
      '0',
    ]);
    expect(box.run('ls', '/run/basewire').status, 'its folder is gone').not.toBe(0);
  });

  test('a wrong configuration is tried once, not again and again', async () => {
    box.say('sh', '-c', 'echo "nonsense: 1" >/etc/basewire/basewire.yaml');
    expect(box.run('systemctl', 'start', 'basewire').status).not.toBe(0);
    await until('the unit to fail', () => state() === 'failed');
    expect([box.property('NRestarts'), box.property('ExecMainStatus')]).toEqual(['0', '78']);
  });
});
