/**
 * What a guest is told when its rings go on after its link was down (the base was restarted, the socket was lost).
 *
 * With the link Linux forgets its neighbours (`arp_evict_nocarrier`), asks for them while there is nobody to hear it, and asks again
 * only a second after it last did: until then it is silent. An announcement (RFC 5227 §3) of what it may be asking for answers at
 * once. An address that it does not ask for it ignores. Said twice, since a guest may ask in the moment before its own queue works
 * again. What lies beyond the VMs' addresses, or beyond the bounds here, waits for the guest's next question.
 */
import type { Port } from '../port/port.ts';
import { gratuitousArp } from '../routing/answers/arp.ts';
import type { Network } from '../routing/network.ts';
import { keyOf } from '../wire/ipv4-address.ts';
import { BASE, type Outbox } from '../storage/outbox.ts';

type Milliseconds = number;

const TIMES = 2;
const INTERVAL: Milliseconds = 250;
/** At most so many for one VM and in all, the rest a moment later: neither a ring nor the outbox must fill. */
const BATCH_A_PORT = 64;
const BATCH = 256;
const PAUSE: Milliseconds = 20;
/** Addresses of which one VM is told; in a larger network it asks for the others. */
const ADDRESSES = 256;

interface Reminder {
  addresses: number[];
  /** Which address is next, when, and how often all of them are still to be said. */
  next: number;
  at: Milliseconds;
  left: number;
}

export class Reminders {
  private readonly outbox: Outbox;
  private readonly networks: Network[];
  private readonly due: (time: Milliseconds) => void;
  /** In the order in which they have their turns. */
  private readonly reminders = new Map<Port, Reminder>();
  private pausesUntil: Milliseconds = 0;

  constructor(outbox: Outbox, networks: Network[], due: (time: Milliseconds) => void) {
    this.outbox = outbox;
    this.networks = networks;
    this.due = due;
  }

  /** The port's rings go on. One that says so again and again gets no more than its share. */
  begin(port: Port, now: Milliseconds): void {
    const reminder = this.reminders.get(port);
    if (reminder === undefined) {
      const addresses = this.addressesFor(port);
      this.reminders.set(port, { addresses, next: 0, at: now, left: TIMES });
      this.due(Math.max(now, this.pausesUntil));
    } else {
      reminder.next = 0;
      reminder.left = TIMES;
    }
  }

  /** Its rings stopped, or it is another guest's now. */
  end(port: Port): void {
    this.reminders.delete(port);
  }

  /** Says what is due; when it wants to be called again. */
  tick(now: Milliseconds): Milliseconds {
    if (this.reminders.size === 0) return Number.POSITIVE_INFINITY;
    if (now < this.pausesUntil) return this.pausesUntil;
    let room = BATCH;
    for (const [port, reminder] of [...this.reminders]) {
      if (room === 0) break;
      if (reminder.at > now) continue;
      room -= this.say(port, reminder, Math.min(room, BATCH_A_PORT), now);
      // To the end of the line.
      this.reminders.delete(port);
      if (reminder.left > 0) this.reminders.set(port, reminder);
    }
    if (room < BATCH) this.pausesUntil = now + PAUSE;
    let next = Number.POSITIVE_INFINITY;
    for (const { at } of this.reminders.values()) next = Math.min(next, at);
    return Math.max(next, this.pausesUntil);
  }

  /** How many were said. */
  private say(port: Port, reminder: Reminder, most: number, now: Milliseconds): number {
    const { mac } = this.networks[port.network];
    let said = 0;
    while (said < most && reminder.next < reminder.addresses.length) {
      this.outbox.add(BASE, port.number, gratuitousArp(mac, reminder.addresses[reminder.next]));
      reminder.next++;
      said++;
    }
    reminder.at = now + PAUSE;
    if (reminder.next === reminder.addresses.length) {
      reminder.next = 0;
      reminder.at = now + INTERVAL;
      reminder.left--;
    }
    return said;
  }

  /** The base's own address, the guests' gateway, and those of the other VMs: never its own, which would be a conflict. */
  private addressesFor(port: Port): number[] {
    const network = this.networks[port.network];
    const addresses = [network.address];
    for (const other of network.ports) {
      if (other === port) continue;
      for (const address of other.vm.addresses) {
        if (addresses.length === ADDRESSES) return addresses;
        addresses.push(keyOf(address));
      }
    }
    return addresses;
  }
}
