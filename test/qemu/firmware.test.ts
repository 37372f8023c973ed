// The firmware's driver before the operating system's: iPXE, from the device's option ROM, starts the rings
// with few features and 12-byte headers without mergeable buffers, on the same connection that Linux will use.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Process } from '../../qemu/process.ts';
import { systemQemu } from '../../qemu/qemu.ts';
import { Qmp } from '../../qemu/qmp.ts';
import { Daemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { suite } from './suite.ts';

const MAC = '52:54:00:00:00:11';
const PATIENCE = 60_000;

suite('the firmware of a guest (iPXE)', ['qemu', 'ipxe'], (can) => {
  let folder: string;
  let daemon: Daemon;
  let qemu: Process;
  let qmp: Qmp;

  beforeAll(async () => {
    if (!can) return;
    folder = mkdtempSync(join(tmpdir(), 'basewire-firmware-'));
    daemon = await Daemon.start({ vms: { web: { addresses: ['10.77.0.11'], mac: MAC } } });
    qmp = new Qmp(join(folder, 'qmp'));
    await qmp.listen();
    qemu = new Process('qemu', systemQemu()!.program, [
      ...['-accel', 'tcg', '-nodefaults', '-display', 'none', '-m', '64M', '-boot', 'n'],
      ...['-machine', 'q35,memory-backend=m'],
      ...['-object', 'memory-backend-memfd,id=m,size=64M,share=on'],
      ...['-chardev', `socket,id=c,path=${daemon.socket('web')}`],
      ...['-netdev', 'vhost-user,id=n,chardev=c'],
      ...['-device', `virtio-net-pci,netdev=n,mac=${MAC},vectors=0`],
      ...['-qmp', `unix:${folder}/qmp`],
    ]);
    await qmp.ready;
  });

  afterAll(async () => {
    qmp?.close();
    await qemu?.stop('SIGKILL');
    await daemon?.stop();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  /** iPXE runs and has asked for an address, more than `before` datagrams in all. */
  async function asks(before: number): Promise<number> {
    const status = await until(
      'iPXE to send something',
      async () => {
        if (qemu.status !== undefined) throw new Error(`QEMU ended:\n${qemu.output}`);
        const vm = await daemon.vm('web');
        return vm.state === 'running' && vm.output.datagrams > before ? vm : null;
      },
      PATIENCE,
    );
    expect(status.features).toContain('VERSION_1');
    expect(status.features).not.toContain('MRG_RXBUF');
    expect(status.features).not.toContain('EVENT_IDX');
    return status.output.datagrams;
  }

  test('drives the port with its own few features, again after a reset, on one connection', async () => {
    const first = await asks(0);
    await qmp.execute('system_reset');
    await asks(first);
    const { drops, output, events } = await daemon.vm('web');
    // Who asks for an address has none yet: not the VM's own, so dropped, and counted.
    expect(drops.spoofed + drops.ipv6).toBe(output.datagrams);
    expect((events as Record<string, number>).connects).toBe(1);
  });
});
