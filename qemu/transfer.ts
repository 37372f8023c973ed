// TCP transfers of random bytes, compared by sha256 at both ends: between guests, to the LAN's
// host and from it. The services are those of guest/files and lan-host.mjs.

import type { Vm } from './vm.ts';

/** TCP port that answers with the sha256 of what it was sent. */
export const DIGEST_PORT = 7001;
/** Where the sending guest keeps its data. */
const FILE = '/srv/data';

/** Makes random data in the guest, once per size; @returns its sha256 */
export async function randomData(vm: Vm, megabytes: number): Promise<string> {
  const count = `[ "$(stat -c %s ${FILE} 2>/dev/null)" = ${megabytes * 1048576} ] ||`;
  await vm.ok(`${count} dd if=/dev/urandom of=${FILE} bs=1M count=${megabytes} 2>/dev/null`, 60);
  return (await vm.ok(`sha256sum ${FILE}`, 60)).split(' ')[0] ?? '';
}

/** Sends a guest's data to a name; @returns the sha256 that the receiver computed */
export async function sendData(vm: Vm, to: string, limit = 100): Promise<string> {
  const answer = await vm.ok(`nc ${to} ${DIGEST_PORT} <${FILE}`, limit);
  return answer.split(' ')[0] ?? '';
}

/**
 * Begins to send a guest's data in the background.
 * @returns a function that waits for its end and gives the sha256 that the receiver computed
 */
export async function beginSending(vm: Vm, to: string): Promise<() => Promise<string>> {
  const command = `nc ${to} ${DIGEST_PORT} <${FILE} >/run/sent 2>&1; echo "status $?" >>/run/sent`;
  await vm.ok(`rm -f /run/sent; (${command}) </dev/null >/dev/null 2>&1 &`);
  return async () => {
    const wait = 'while ! grep -q ^status /run/sent; do sleep 0.2; done; cat /run/sent';
    const text = await vm.ok(wait, 100);
    if (!text.endsWith('status 0')) throw new Error(`${vm.name} could not send: ${text}`);
    return text.split(' ')[0] ?? '';
  };
}
