/** The admin interface over its real socket: what it answers, whom it refuses, whom it outlives. */
import { lstatSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { askAdmin } from '../../src/admin/client.ts';
import { AdminServer } from '../../src/admin/server.ts';
import { Refresh } from '../../src/admin/refresh.ts';
import { Traces } from '../../src/admin/traces.ts';
import { BaseState } from '../../src/base-state.ts';
import { CELLS, DROP_REASONS, RECORD_CELLS } from '../../src/counters.ts';
import { testFolder, testPlan } from '../supervision/folder.ts';
import { until } from '../support/until.ts';

async function startAdmin(refresh = new Refresh(() => 0)) {
  const folder = testFolder();
  const state = new BaseState(testPlan(folder));
  const errors: Error[] = [];
  const server = new AdminServer(state, new Traces(() => false), refresh, (error) =>
    errors.push(error),
  );
  const path = join(folder, 'admin.sock');
  await server.listen(path);
  onTestFinished(() => server.close());
  return { state, server, path, errors };
}

interface Reply {
  status: number;
  type: string;
  body: string;
  allow: string | undefined;
}

function ask(socketPath: string, method: string, path: string, body?: string): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          type: response.headers['content-type']!,
          body: text,
          allow: response.headers.allow,
        }),
      );
    });
    call.on('error', reject);
    call.end(body);
  });
}

it('/v1/status has the keys of the design', async () => {
  const { state, path } = await startAdmin();
  state.counters.blocks[0]!.add(0, 'receivedDatagrams', 7);
  state.counters.blocks[0]!.add(0, 'receivedBytes', 700);
  state.counters.blocks[0]!.add(0, 'delivered', 4);
  state.counters.blocks[0]!.add(0, 'spoofed', 3);
  state.counters.blocks[0]!.add(1, 'sentDatagrams', 4);
  state.counters.blocks[0]!.add(2, 'receivedDatagrams', 9);
  state.counters.blocks[0]!.add(2, 'sentBytes', 1e12);
  const reply = await ask(path, 'GET', '/v1/status');
  expect(reply.status).toBe(200);
  expect(reply.type).toMatch(/^application\/json/);
  const status = JSON.parse(reply.body);
  expect(status.vms.web).toMatchObject({
    state: 'waiting',
    output: { datagrams: 7, bytes: 700, delivered: 4, waiting: 0 },
    input: { datagrams: 0, bytes: 0 },
    addresses: ['10.77.0.11'],
    network: 'lan',
    mac: null,
    frontend: null,
    missing: expect.any(String),
    lastError: '',
  });
  expect(Object.keys(status.vms.web.drops)).toEqual(Object.keys(DROP_REASONS));
  expect(status.vms.web.drops).toMatchObject({ spoofed: 3, noRoute: 0 });
  expect(status.vms.controller.input.datagrams).toBe(4);
  expect(status.adapters.uplink).toMatchObject({
    state: 'closed',
    openedBy: null,
    sent: { datagrams: 0, bytes: 1e12 },
    received: { datagrams: 9, bytes: 0 },
    leaseSeconds: null,
    interface: 'bw-none',
    controllers: ['controller'],
  });
  expect(Object.keys(status.adapters.uplink.drops)).toEqual(Object.keys(DROP_REASONS));
  expect(status.networks.lan).toEqual({
    subnet: '10.77.0.0/24',
    address: '10.77.0.1',
    mac: '02:00:0a:4d:00:01',
    mtu: 1500,
  });
});

it('the alerts of docs/configuration.md are about metrics, states, reasons and events that there are', async () => {
  const { path } = await startAdmin();
  const { body } = await ask(path, 'GET', '/metrics');
  const document = new URL('../../docs/configuration.md', import.meta.url);
  const section = readFileSync(document, 'utf8').split('### Prometheus and alerts')[1]!;
  const selectors = [...section.matchAll(/(basewire_\w+)(?:\{(\w+)[=!]~?"([^"]*)"\})?/g)];
  expect(selectors.length).toBeGreaterThan(10);
  for (const [, name, label, values] of selectors) {
    const series = body.split('\n').filter((line) => /^\w+/.exec(line)?.[0] === name);
    expect(series, name).not.toEqual([]);
    for (const value of values?.split('\\|') ?? [])
      expect(series.join('\n')).toContain(`${label}="${value}"`);
  }
});

it('/metrics has every counter of every port, with labels', async () => {
  const { state, path } = await startAdmin();
  for (let cell = 0; cell < 3 * RECORD_CELLS; cell++)
    state.counters.blocks[0]!.cells[cell] = cell + 1;
  const before = process.cpuUsage();
  const cpuBefore = (before.user + before.system) / 1e6;
  const reply = await ask(path, 'GET', '/metrics');
  expect(reply.type).toMatch(/^text\/plain/);
  const value = (series: string) => {
    const line = reply.body.split('\n').find((each) => each.startsWith(`${series} `));
    return Number(line?.split(' ')[1]);
  };
  const cell = (record: number, name: string) => record * RECORD_CELLS + CELLS.indexOf(name) + 1;
  const vm = 'vm="web",network="lan"';
  expect(value(`basewire_vm_output_datagrams_total{${vm}}`)).toBe(cell(0, 'receivedDatagrams'));
  expect(value(`basewire_vm_input_bytes_total{${vm}}`)).toBe(cell(0, 'sentBytes'));
  expect(value('basewire_adapter_sent_bytes_total{adapter="uplink",network="lan"}')).toBe(
    cell(2, 'sentBytes'),
  );
  for (const reason of Object.keys(DROP_REASONS)) {
    expect(value(`basewire_vm_drops_total{${vm},reason="${reason}"}`)).toBe(cell(0, reason));
  }
  expect(value(`basewire_vm_state{${vm},state="waiting"}`)).toBe(1);
  expect(value(`basewire_vm_state{${vm},state="running"}`)).toBe(0);
  const controlled = 'basewire_adapter_controlled{adapter="uplink",network="lan"}';
  expect(value(controlled)).toBe(0);
  expect(value('basewire_adapter_received_waiting{adapter="uplink",network="lan"}')).toBe(
    cell(2, 'waiting') + cell(2, 'handedOver') - cell(2, 'takenOver'),
  );
  const { user, system } = process.cpuUsage();
  expect(value('basewire_process_cpu_seconds_total')).toBeGreaterThanOrEqual(cpuBefore);
  expect(value('basewire_process_cpu_seconds_total')).toBeLessThanOrEqual((user + system) / 1e6);
  expect(value('basewire_workers')).toBe(1);
  const open = value('basewire_process_open_descriptors');
  expect(value('basewire_process_max_descriptors')).toBeGreaterThan(open);
  // A second scrape shows the numbers, not their sum.
  state.adapters[0] = { ...state.adapters[0]!, state: 'open', openedBy: 'controller' };
  const again = await ask(path, 'GET', '/metrics');
  expect(again.body).toContain(`\n${controlled} 1\n`);
  expect(again.body).toContain(
    `basewire_vm_drops_total{${vm},reason="spoofed"} ${cell(0, 'spoofed')}\n`,
  );
});

it('a whole URL as target is the same (RFC 9112 §3.2.2)', async () => {
  const { path } = await startAdmin();
  for (const target of ['http://basewire/v1/status', 'HTTP://localhost/metrics?x'])
    expect((await ask(path, 'GET', target)).status, target).toBe(200);
  for (const target of ['http://basewire', 'http://basewire/v2/status', 'ftp://basewire/metrics'])
    expect((await ask(path, 'GET', target)).status, target).toBe(404);
});

it('other paths and methods get an answer in JSON', async () => {
  const { path } = await startAdmin();
  for (const wrong of ['/', '/v1/', '/v1/status/', '/v2/status', '/v1/../metrics', '//metrics']) {
    const reply = await ask(path, 'GET', wrong);
    expect(reply.status).toBe(404);
    expect(JSON.parse(reply.body).error).toBe('notFound');
  }
  const post = await ask(path, 'POST', '/v1/status', '{"x":1}');
  expect([post.status, post.allow]).toEqual([405, 'GET, HEAD']);
  expect(JSON.parse(post.body).error).toBe('methodNotAllowed');
  expect((await ask(path, 'DELETE', '/metrics')).status).toBe(405);
  const head = await ask(path, 'HEAD', '/v1/status');
  expect([head.status, head.body]).toEqual([200, '']);
  expect((await ask(path, 'GET', '/v1/status?pretty')).status).toBe(200);
});

it('the socket is 0600 from the beginning and goes at the end', async () => {
  const mask = process.umask(0);
  onTestFinished(() => void process.umask(mask));
  const { server, path } = await startAdmin();
  expect(lstatSync(path).mode & 0o777).toBe(0o600);
  expect(process.umask()).toBe(0);
  server.close();
  expect(lstatSync(path, { throwIfNoEntry: false })).toBeUndefined();
});

it('what stands in the way stays there', async () => {
  const first = await startAdmin();
  const second = new AdminServer(
    first.state,
    new Traces(() => false),
    new Refresh(() => 0),
    () => {},
  );
  await expect(second.listen(first.path)).rejects.toThrow(/another process accepts/);
  const folder = testFolder();
  writeFileSync(join(folder, 'file'), '');
  symlinkSync(first.path, join(folder, 'link'));
  await expect(second.listen(join(folder, 'file'))).rejects.toThrow(/is not a socket/);
  await expect(second.listen(join(folder, 'link'))).rejects.toThrow(/symbolic link/);
  await expect(second.listen(join(folder, 'no', 'a.sock'))).rejects.toThrow(/ENOENT/);
  expect((await ask(first.path, 'HEAD', '/metrics')).status).toBe(200);
});

it('hostile clients: garbage, endless headers, endless bodies, too many, silent ones', async () => {
  const { path, server, errors } = await startAdmin();
  const sockets: Socket[] = [];
  onTestFinished(() => sockets.forEach((socket) => void socket.destroy()));
  const client = () => {
    const socket = connect(path);
    socket.on('error', () => {});
    sockets.push(socket);
    return socket;
  };
  const closed = (socket: Socket) =>
    until('the connection to be closed', () => socket.destroyed || socket.readableEnded);

  const garbage = client();
  let answer = '';
  garbage.on('data', (chunk) => {
    answer += chunk;
  });
  garbage.write(Buffer.from([0, 1, 2, 3, 255, 10, 13, 10]));
  await closed(garbage);
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);

  const endless = client();
  endless.resume().write('GET /metrics HTTP/1.1\r\n');
  endless.write(`X: ${'y'.repeat(20_000)}\r\n`);
  await closed(endless);

  const body = client();
  let refused = '';
  body
    .on('data', (chunk) => {
      refused += chunk;
    })
    .write(
      `POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n${'z'.repeat(1000)}`,
    );
  await closed(body);
  expect(refused).toMatch(/^HTTP\/1\.1 405 /);
  expect(refused).toMatch(/\r\nconnection: close\r\n/i);

  // So many requests at once, and no answer read: each would be kept.
  const greedy = client();
  greedy.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500));
  await until(
    'it to be closed',
    () => greedy.destroyed || greedy.readableEnded || server.connections === 0,
  );
  greedy.destroy();

  // More connections than are served: the oldest are closed.
  const silent = Array.from({ length: 60 }, client);
  for (const socket of silent) socket.resume();
  await until(
    'the surplus to be closed',
    () => silent.filter((socket) => socket.destroyed).length >= 28,
  );
  for (const socket of silent) socket.destroy();
  await until('room again', () => server.connections === 0);
  expect((await ask(path, 'HEAD', '/metrics')).status).toBe(200);
  expect(errors).toEqual([]);
});

/** Connects, says `request`, and remembers that it was closed. */
async function connection(path: string, request = ''): Promise<Socket> {
  const socket = connect(path);
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {}).resume();
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(request);
  return socket;
}

it('idle and slow connections lock nobody out: the oldest gives way', async () => {
  const { path, server } = await startAdmin();
  const idle: Socket[] = [];
  for (let count = 0; count < 32; count++)
    idle.push(await connection(path, count % 2 ? 'GET /metrics HTTP/1.1\r\nX' : ''));
  await until('all of them to be there', () => server.connections === 32);
  for (let count = 0; count < 3; count++)
    expect((await ask(path, 'HEAD', '/metrics')).status).toBe(200);
  await until('one to be closed', () => idle[0]!.destroyed);
  expect(idle.filter((socket) => socket.destroyed)).toEqual([idle[0]]);
});

/** Workers that never show anything; and how many requests wait for them. */
function unanswered() {
  const refresh = new Refresh(() => 0);
  let count = 0;
  refresh.request = () => {
    count++;
    return new Promise(() => {});
  };
  return { refresh, asking: () => count };
}

it('who is being answered is not closed; where all are, the new one is', async () => {
  const { refresh, asking } = unanswered();
  const { path, server } = await startAdmin(refresh);
  const asked: Socket[] = [];
  for (let count = 0; count < 32; count++)
    asked.push(await connection(path, 'GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n'));
  await until('all of them to be asking', () => asking() === 32);
  await expect(askAdmin(path, '/v1/status')).rejects.toThrow(/without an answer: .* too many/);
  expect(server.connections).toBe(32);
  expect(asked.some((socket) => socket.destroyed)).toBe(false);
});

it('who was answered is idle again, however many they are', async () => {
  const { path, server } = await startAdmin();
  let answered = 0;
  for (let count = 0; count < 32; count++) {
    const socket = await connection(path, 'HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.once('data', () => answered++);
  }
  await until('all of them to be answered', () => answered === 32);
  expect(server.connections).toBe(32);
  expect((await ask(path, 'HEAD', '/metrics')).status).toBe(200);
});

it('one connection has eight requests under way at most; the end does not wait for them', async () => {
  const { refresh, asking } = unanswered();
  const { path, server } = await startAdmin(refresh);
  const one = 'GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n';
  const eight = await connection(path, one.repeat(8));
  const nine = await connection(path, one.repeat(9));
  await until('the ninth to be refused', () => nine.destroyed);
  await until('all the others to be asking', () => asking() === 16);
  expect(eight.destroyed).toBe(false);
  server.close();
  await until('the end', () => eight.destroyed, 4000);
});

it('a trace has bounds', async () => {
  const { path } = await startAdmin();
  const refused = async (query: string) => {
    const reply = await ask(path, 'GET', `/v1/trace?${query}`);
    return [reply.status, JSON.parse(reply.body).message];
  };
  expect(await refused('vm=nobody')).toEqual([400, 'vm= must name a VM']);
  for (const query of ['count=0', 'count=101', 'count=1.5', 'seconds=0', 'seconds=8.1', 'seconds='])
    expect(await refused(`vm=web&${query}`), query).toEqual([
      400,
      'count= is 1 to 100, seconds= more than 0 and up to 8',
    ]);
  // No turn worker takes it here.
  for (const query of ['count=100', 'seconds=8'])
    expect((await refused(`vm=web&${query}`))[0], query).toBe(503);
});

it('the client explains why it gets no answer', async () => {
  const { path } = await startAdmin();
  expect(JSON.parse(await askAdmin(path, '/v1/status')).ready).toBe(false);
  await expect(askAdmin(path, '/other')).rejects.toThrow(/answered 404/);
  await expect(askAdmin(join(testFolder(), 'none'), '/')).rejects.toThrow(
    /basewire does not run, or its socket was removed: there is no admin socket/,
  );
});
