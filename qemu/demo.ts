// `npm run demo`: boots three Alpine guests on a base and, with root, a LAN behind its adapter;
// shows step by step what works, what is refused and why; then the counters, and the way of one
// datagram. `-- --keep` leaves it running with a console on a guest.

import { isRoot, which } from '../scripts/packages.mjs';
import { complain, SetupError } from '../scripts/steps.mjs';
import { cleanUp } from './cleanup.ts';
import { attachConsole } from './demo/console.ts';
import { showCounters, showResults, showWay } from './demo/report.ts';
import { command, during, note, output, say, step, verdict } from './demo/show.ts';
import { Lan } from './lan.ts';
import { LanHost } from './lan-host.ts';
import { imageMade } from './paths.ts';
import { systemQemu } from './qemu.ts';
import { ADAPTER, BASE_ADDRESS, Site } from './site.ts';
import type { Vm } from './vm.ts';
import { until } from './wait.ts';

const MEGABYTES = 20;
const started = Date.now();

interface Stage {
  site: Site;
  lan: LanHost | undefined;
}

async function demo(): Promise<void> {
  const stage = await setTheStage();
  await fromVmToVm(stage);
  if (stage.lan) {
    await refusedBefore(stage, stage.lan);
    await openedByController(stage);
    await toAndFromTheLan(stage, stage.lan);
  }
  await transfers(stage);
  await showWay(stage.site, stage.lan !== undefined);
  await showCounters(stage.site);
  showResults((Date.now() - started) / 1000);
  if (process.argv.includes('--keep')) await keep(stage.site);
  await during('Everything is ended and removed', stage.site.stop());
}

async function setTheStage(): Promise<Stage> {
  const qemu = systemQemu();
  if (!qemu) {
    throw new SetupError('The demo needs QEMU: qemu-system-x86_64 lacks on this machine.', [
      'This brings it: sudo apt-get install -y --no-install-recommends qemu-system-x86',
    ]);
  }
  say('', 'basewire: virtual machines talk through a base, and reach a LAN through its adapter.');
  step('A base, guests, a LAN');
  const lan = canHaveLan() ? new Lan() : undefined;
  const host = lan ? await LanHost.start(lan) : undefined;
  const site = await Site.start({
    qemu,
    lan,
    guests: {
      web: { number: 11 },
      db: { number: 12 },
      controller: { number: 2, management: true },
    },
  });
  command('host', `basewire run --config ${site.daemon.configPath}`);
  output(`the base is ready, process ${site.daemon.pid}; its own address is ${BASE_ADDRESS}`);
  if (lan) output(`the LAN's host is ${lan.address}, in a network namespace of its own`);
  const version = qemu.version.join('.');
  const system = imageMade()?.root === 'Alpine' ? 'Alpine Linux' : "Debian's busybox";
  await during(`web and db boot (${system}, QEMU ${version})`, site.boot('web', 'db'));
  return { site, lan: host };
}

function canHaveLan(): boolean {
  if (isRoot && which('ip')) return true;
  const why = isRoot ? 'the program `ip` lacks (package iproute2)' : 'this is not run as root';
  note(`Left out: the LAN, the adapter and the management guest, because ${why}.`);
  return false;
}

async function fromVmToVm({ site }: Stage): Promise<void> {
  step(
    'A virtual machine reaches another one',
    'web and db use their own IP stack over an ordinary virtio-net device.',
  );
  const ping = await typed(site.vm('web'), 'ping -c 3 -i 0.3 db');
  verdict(/ 3 packets received/.test(ping), 'web reaches db: 3 of 3 answered');
  const page = await typed(site.vm('db'), 'wget -q -O - http://web/');
  verdict(page.includes('Hello from web'), 'db reads a web page of web');
  const gateway = await typed(site.vm('web'), 'ping -c 1 base');
  verdict(/ 1 packets received/.test(gateway), 'the base itself answers at its own address');
}

async function refusedBefore({ site }: Stage, lan: LanHost): Promise<void> {
  step('The LAN is refused: nobody has opened the adapter', 'The base says so to the sender.');
  const before = await drops(site, 'adapterClosed');
  const page = await typed(site.vm('web'), 'wget -q -O - http://lan/');
  const counted = (await drops(site, 'adapterClosed')) - before;
  verdict(
    /Network (is )?unreachable/.test(page),
    "web's own kernel reports it: network unreachable",
  );
  verdict(lan.lan.framesReceived() === 0, 'nothing has reached the LAN');
  verdict(counted > 0, `dropped and counted as adapterClosed: ${counted}`);
  step('An ordinary virtual machine may not open it', 'Who asks, the base knows by the port.');
  const ask = `timeout 3 basewire-control ${ADAPTER} ${BASE_ADDRESS}`;
  const answer = await typed(site.vm('web'), ask);
  verdict(answer.includes('forbidden'), 'the base refuses web');
}

async function openedByController({ site }: Stage): Promise<void> {
  step('The management guest opens the adapter', 'Its init starts basewire-control at boot.');
  await during('controller boots', site.boot('controller'));
  const adapter = await during(
    'the adapter opens',
    until('the adapter to be open', 30_000, async () => {
      const adapter = (await site.daemon.status()).adapters[ADAPTER];
      return adapter?.state === 'open' ? adapter : undefined;
    }),
  );
  const controller = site.vm('controller');
  await controller.run(
    'while ! grep -q ^open /run/basewire-control.uplink.state; do sleep 0.2; done',
    10,
  );
  await typed(controller, 'cat /var/log/basewire-control.log');
  verdict(adapter.openedBy === 'controller', `${ADAPTER} is open, at the request of controller`);
}

async function toAndFromTheLan({ site }: Stage, lan: LanHost): Promise<void> {
  step('From a virtual machine to the LAN, and back');
  const ping = await typed(site.vm('web'), 'ping -c 3 -i 0.3 lan');
  verdict(/ [23] packets received/.test(ping), 'web reaches the LAN');
  const page = await typed(site.vm('web'), 'wget -q -O - http://lan/');
  verdict(page.includes('Hello from the LAN'), 'web reads a web page of the LAN');
  command('lan', 'curl http://10.77.0.12/');
  const fromDb = await lan.page(site.addressOf('db'));
  output(fromDb);
  verdict(fromDb.includes('Hello from db'), 'the LAN reads a web page of db');
}

async function transfers({ site, lan }: Stage): Promise<void> {
  step(`${MEGABYTES} MB over TCP, compared by sha256`);
  const web = site.vm('web');
  await web.ok(`dd if=/dev/urandom of=/srv/data bs=1M count=${MEGABYTES} 2>/dev/null`);
  const sum = (await web.ok('sha256sum /srv/data')).split(' ')[0] ?? '';
  for (const [name, where] of [['db', 'another VM'], ...(lan ? [['lan', 'the LAN']] : [])]) {
    const start = Date.now();
    const received = await typed(web, `nc ${name} 7001 </srv/data`, 90);
    const rate = ((MEGABYTES * 8) / ((Date.now() - start) / 1000)).toFixed(0);
    verdict(received.includes(sum), `web to ${where}: byte for byte the same, ${rate} Mbit/s`);
  }
  if (!lan) return;
  command('lan', `send ${MEGABYTES} MB to db`);
  const sent = await lan.send(site.addressOf('db'), 7001, MEGABYTES * 1_000_000);
  output(sent.answer);
  verdict(sent.answer.startsWith(sent.sha256), 'the LAN to db: byte for byte the same');
}

/** Runs a command in a guest the way a person would see it. */
async function typed(vm: Vm, text: string, limit?: number): Promise<string> {
  command(vm.name, text);
  const result = await vm.run(text, limit);
  output(result.output);
  return result.output;
}

async function drops(site: Site, reason: string): Promise<number> {
  return (await site.daemon.status()).vms.web?.drops[reason] ?? 0;
}

async function keep(site: Site): Promise<void> {
  say('', 'Everything stays up.', `  configuration  ${site.daemon.configPath}`);
  say(`  status         node dist/cli.js status --config ${site.daemon.configPath}`);
  if (process.stdin.isTTY) {
    say('  console        you are on web now; Ctrl-] ends it all', '');
    await attachConsole(site.vm('web'));
  } else {
    say('  Ctrl-C (or SIGTERM) ends it all');
    await new Promise(() => setInterval(() => {}, 60_000));
  }
}

try {
  await demo();
  process.exitCode = 0;
} catch (error) {
  // For a person: in words, without the lines of our code.
  complain(error instanceof SetupError ? error : new SetupError((error as Error).message));
}
cleanUp();
process.exit();
