/** Ranked case 18: a process of a user that the configuration does not name connects to a VM's socket. The kernel says who it is (SO_PEERCRED). */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { THREE_VMS } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';

const ALLOWED = 64_055;
const SOMEBODY = 65_534;

/** Connects as a user; says "open" when the connection stays open for an answer, "closed" when it does not. */
const CLIENT = `
const socket = require('net').connect(process.argv[1]);
socket.on('error', ({ code }) => { console.log(code === 'EACCES' ? code : 'closed'); process.exit(); });
socket.on('close', () => { console.log('closed'); process.exit(); });
socket.on('data', () => { console.log('open'); process.exit(); });
const head = Buffer.alloc(12);
head.writeUInt32LE(1, 0); // GET_FEATURES
head.writeUInt32LE(1, 4);
socket.write(head);
`;

async function connectAs(uid: number, path: string): Promise<string> {
  const client = spawn(process.execPath, ['-e', CLIENT, path], {
    uid,
    gid: uid,
    cwd: '/',
    env: {},
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  let ended = false;
  client.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  client.on('close', () => {
    ended = true;
  });
  await until('the client to end', () => ended).finally(() => client.kill('SIGKILL'));
  return said.trim();
}

const reason = process.getuid?.() === 0 ? '' : ' (needs root to be somebody else)';

describe.skipIf(reason !== '')(`the wrong user${reason}`, () => {
  // A folder that everybody may enter.
  const folder = mkdtempSync(join(tmpdir(), 'basewire-users-'));
  chmodSync(folder, 0o755);
  const path = join(folder, 'a.sock');
  const forNobody = join(folder, 'd.sock');
  const fixture = useFixture({
    vms: {
      ...THREE_VMS,
      a: { ...THREE_VMS.a, socket: { path, permissions: '0666', allowUids: [ALLOWED] } },
      d: {
        addresses: ['10.77.0.13'],
        socket: { path: forNobody, permissions: '0666', allowUids: [] },
      },
    },
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('is turned away, others are served', async () => {
    const { daemon } = fixture();
    const before = await daemon.count('a', 'refusedConnections');
    for (let i = 1; i <= 3; i++) {
      expect(await connectAs(SOMEBODY, path)).toBe('closed');
      await daemon.untilCount('a', 'refusedConnections', before + i);
    }
    fixture().connections++;
    expect(await connectAs(ALLOWED, path)).toBe('open');
    await daemon.untilState('a', 'waiting');
    await fixture().goodPasses(fixture().adopt(await Vm.start(path)));
    expect(await daemon.count('a', 'refusedConnections')).toBe(before + 3);
  });

  test('is everybody but root where the list is empty', async () => {
    const { daemon } = fixture();
    const before = await daemon.count('d', 'refusedConnections');
    expect(await connectAs(SOMEBODY, forNobody)).toBe('closed');
    expect(await connectAs(ALLOWED, forNobody)).toBe('closed');
    await daemon.untilCount('d', 'refusedConnections', before + 2);
    fixture().connections++;
    expect(await connectAs(0, forNobody)).toBe('open');
    await daemon.untilState('d', 'waiting');
    expect(await daemon.count('d', 'refusedConnections')).toBe(before + 2);
  });

  test('cannot even connect where the mode of the socket says so', async () => {
    const { daemon } = fixture();
    chmodSync(daemon.folder, 0o755);
    const before = await daemon.count('b', 'refusedConnections');
    expect(await connectAs(SOMEBODY, daemon.socket('b'))).toBe('EACCES');
    expect(await daemon.count('b', 'refusedConnections')).toBe(before);
  });
});
