/**
 * Tells systemd that we are ready or stopping (sd_notify). Its socket is a datagram socket, which Node lacks, so systemd's own
 * `systemd-notify` sends the message. The unit needs `Type=notify` and `NotifyAccess=all`, because a child sends it.
 */
import { spawn } from 'node:child_process';

/** Does nothing outside systemd. `onError` hears why it could not be told. */
export function notifySystemd(
  state: 'READY=1' | 'STOPPING=1',
  onError: (reason: string) => void,
): void {
  if (!process.env.NOTIFY_SOCKET) return;
  const child = spawn('systemd-notify', [`--pid=${process.pid}`, state], {
    stdio: ['ignore', 'ignore', 'ignore'],
    timeout: 5000,
  });
  child.on('error', (error) => onError(error.message));
  child.on('exit', (code) => {
    if (code !== 0) onError(`systemd-notify ended with ${code}`);
  });
}
