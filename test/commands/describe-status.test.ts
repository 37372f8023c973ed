/** The status for people says what is missing and why datagrams were dropped. */
import { expect, it } from 'vitest';
import { buildStatus } from '../../src/admin/status.ts';
import { BaseState } from '../../src/base-state.ts';
import { describeStatus } from '../../src/commands/describe-status.ts';
import { table } from '../../src/commands/table.ts';
import { testPlan } from '../supervision/folder.ts';

it('shows states, hints and each drop with its sentence', () => {
  const state = new BaseState(testPlan('/run/bw'));
  state.ready = true;
  state.vms[0] = {
    ...state.vms[0]!,
    state: 'connected',
    missing: 'QEMU has not shared the guest’s memory',
    rings: [
      {
        index: 1,
        format: 'split',
        size: 256,
        started: true,
        enabled: true,
        broken: 'head 300 of 256',
      },
    ],
  };
  state.counters.blocks[0]!.add(0, 'spoofed', 3);
  state.counters.blocks[0]!.add(0, 'noRoute', 5);
  state.counters.blocks[0]!.add(2, 'notOurs', 1);
  state.counters.blocks[0]!.add(2, 'receiveOverruns', 4);
  state.counters.blocks[0]!.add(2, 'transmitRefused', 7);
  const text = describeStatus(buildStatus(state));
  expect(text).toMatch(/^web +connected +lan +10\.77\.0\.11/m);
  expect(text).toContain(
    '-object memory-backend-memfd,id=mem,size=SIZE,share=on -machine memory-backend=mem',
  );
  expect(text).toContain('ring 1 is broken: head 300 of 256');
  // Most frequent first.
  expect(text).toMatch(
    /dropped 5 noRoute: destination is no VM’s.*\n.*dropped 3 spoofed: source address/,
  );
  expect(text).toMatch(
    /vm controller:\n {2}missing: no front-end has connected\n {2}socket: \/run\/bw\/controller\.sock/,
  );
  expect(text).toMatch(
    /adapter uplink:\n {2}no management guest has opened it \(may be opened by: controller\)/,
  );
  expect(text).not.toContain('no controller holds it');
  expect(text).toMatch(/dropped 1 notOurs/);
  expect(text).toContain('4 frames were lost by the kernel because the receive ring was full');
  expect(text).toMatch(/7 of the frames sent were refused by the interface or its queue \(tc /);
  expect(text).not.toMatch(/dropped 0/);
});

it('gives no advice where a VM runs, whatever was refused before', () => {
  const state = new BaseState(testPlan('/run/bw'));
  state.ready = true;
  const lastError = 'ADD_MEM_REG: more memory than one front-end may share';
  state.vms[0] = { ...state.vms[0]!, state: 'running', missing: '', lastError };
  const text = describeStatus(buildStatus(state), ['web']);
  expect(text).toContain(`vm web:\n  last error: ${lastError}\n`);
  expect(text).not.toContain('QEMU must share');
  expect(text).not.toContain('missing:');
});

it('says whose socket is gone, whether the VM runs or not, and names the others', () => {
  const state = new BaseState(testPlan('/run/bw'));
  state.ready = true;
  state.vms[0] = { ...state.vms[0]!, state: 'running' };
  const gone = new Set(['/run/bw/web.sock', '/run/bw/controller.sock']);
  state.socketGone = (path) => gone.has(path);
  const text = describeStatus(buildStatus(state));
  for (const vm of ['web', 'controller']) {
    expect(text).toContain(
      `  the file of its socket /run/bw/${vm}.sock is gone: nobody can connect until basewire is restarted`,
    );
  }
  expect(text).not.toContain('basewire listens there');
});

it('says first how many VMs are in which state, and once what QEMU needs', () => {
  const state = new BaseState(testPlan('/run/bw'));
  state.ready = true;
  expect(describeStatus(buildStatus(state))).toMatch(
    /^basewire \S+, up \d+ s; 2 VMs: 2 waiting\n[\s\S]*\nQEMU arguments of a VM: basewire qemu-args VM --config FILE\n$/,
  );
  state.vms[1] = { ...state.vms[1]!, state: 'running' };
  const text = describeStatus(buildStatus(state));
  expect(text).toMatch(/^[^\n]*; 2 VMs: 1 running, 1 waiting\n/);
  expect(text.match(/qemu-args/g)).toHaveLength(1);
  state.vms[0] = { ...state.vms[0]!, state: 'running' };
  expect(describeStatus(buildStatus(state))).not.toMatch(/qemu-args/);
});

it('says of an adapter that nobody controls it any more', () => {
  const state = new BaseState(testPlan('/run/bw'));
  state.adapters[0] = { ...state.adapters[0]!, state: 'open', openedBy: 'controller' };
  expect(describeStatus(buildStatus(state))).not.toMatch(/no controller/);
  state.adapters[0] = { ...state.adapters[0]!, openedBy: null };
  expect(describeStatus(buildStatus(state))).toMatch(
    /adapter uplink:\n {2}no controller holds it now \(onControllerLoss: keep\)/,
  );
});

it('shows the VMs and adapters that are named, and their networks', () => {
  const state = new BaseState(testPlan('/run/bw'));
  state.ready = true;
  const status = buildStatus(state);
  const text = describeStatus(status, ['web']);
  expect(text).toMatch(/^basewire [^\n]*; 2 VMs: 2 waiting\n/);
  expect(text).toMatch(/^lan /m);
  expect(text).toMatch(/^web /m);
  expect(text).toContain('vm web:');
  expect(text).not.toMatch(/^controller |^vm controller|uplink/m);
  expect(describeStatus(status, ['uplink', 'controller'])).toMatch(/^controller [\s\S]*^uplink /m);
  expect(() => describeStatus(status, ['web', 'uplnk'])).toThrow(
    'there is no VM or adapter "uplnk" (did you mean "uplink"?)',
  );
});

it('says when the worker does not serve', () => {
  const state = new BaseState(testPlan('/run/bw'));
  state.workerRestarts = 2;
  expect(describeStatus(buildStatus(state))).toMatch(/NOT READY.*started anew 2 times/);
});

it('tables are aligned', () => {
  expect(
    table(
      ['A', 'B'],
      [
        ['long', 'x'],
        ['é', 'y'],
      ],
    ),
  ).toBe('A     B\nlong  x\né     y\n');
});

it('numbers stand at the right of their column', () => {
  const rows = [
    ['a', '5', '10 s', '-'],
    ['b', '12345', '-', '-'],
  ];
  expect(table(['A', 'IN', 'LEASE', 'MAC'], rows)).toBe(
    'A     IN  LEASE  MAC\na      5   10 s  -\nb  12345      -  -\n',
  );
});

it('tables have no control characters', () => {
  expect(table(['A', 'B'], [['\u001b[2J', 'y']])).toBe('A          B\n\\u001b[2J  y\n');
});
