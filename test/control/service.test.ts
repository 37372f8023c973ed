/** The management guests' protocol, as the design gives it. */
import { describe, expect, it } from 'vitest';
import { FIRST, Rig, SECOND, THIRD, uplink, WEB } from './rig.ts';

const OPEN = {
  ok: true,
  adapter: 'uplink',
  state: 'open',
  interface: 'eth1',
  mac: '52:54:00:12:34:56',
  mtu: 1500,
  lease: 10,
};

describe('the control service', () => {
  it('opens an adapter, and answers when it is open', () => {
    const rig = new Rig();
    rig.send(FIRST, '{"id":1,"op":"open","adapter":"uplink"}');
    expect(rig.texts).toEqual([]);
    expect([...rig.opening]).toEqual([0]);
    rig.now += 30;
    rig.opened();
    expect(rig.texts).toEqual([
      '{"id":1,"ok":true,"adapter":"uplink","state":"open","interface":"eth1","mac":"52:54:00:12:34:56","mtu":1500,"lease":10}',
    ]);
    expect(rig.replies[0]).toMatchObject({ vm: FIRST, peer: { key: 0x0b004d0a, udpPort: 40_000 } });
    expect(rig.service.control(0)).toEqual({ openedBy: 'first', leaseSeconds: 10 });
  });

  it('answers at once when it is open already, and renews', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(7000);
    expect(rig.service.control(0).leaseSeconds).toBe(3);
    expect(rig.ask(FIRST, 'open')).toMatchObject(OPEN);
    rig.pass(9000);
    expect(rig.ask(FIRST, 'renew')).toMatchObject(OPEN);
    rig.pass(9999);
    expect(rig.holder).toBe('first');
  });

  it('takes an interface that is down for open', () => {
    const rig = new Rig();
    rig.ask(FIRST, 'open');
    rig.states[0] = 'down';
    rig.service.opened(0);
    expect(rig.replies.at(-1)).toMatchObject({ ...OPEN, state: 'down' });
  });

  it('refuses an ordinary VM, whatever it says', () => {
    const rig = new Rig();
    for (const op of ['open', 'close', 'renew', 'status']) {
      expect(rig.ask(WEB, op)).toMatchObject({ ok: false, error: 'forbidden' });
    }
    rig.send(WEB, 'rubbish');
    expect(rig.replies.at(-1)).toMatchObject({ id: null, error: 'forbidden' });
    expect(rig.opening.size).toBe(0);
    expect(rig.counters.get(WEB, 'controlRequests')).toBe(5);
    expect(rig.counters.get(WEB, 'controlRefused')).toBe(5);
  });

  it('refuses a management guest that is not among the controllers', () => {
    const rig = new Rig(uplink({ controllers: [FIRST] }));
    for (const op of ['open', 'close', 'renew']) {
      expect(rig.ask(SECOND, op)).toMatchObject({ ok: false, error: 'forbidden' });
    }
    expect(rig.ask(SECOND, 'status')).toMatchObject({ ok: true, adapters: [] });
  });

  it('knows adapters by their configured name only', () => {
    const rig = new Rig();
    for (const name of ['eth1', '', '../uplink', '__proto__', 'constructor', 'uplink\0']) {
      expect(rig.ask(FIRST, 'open', name), name).toMatchObject({ error: 'unknownAdapter' });
    }
    expect(rig.opening.size).toBe(0);
  });

  it('says what is malformed, with the id where there is one', () => {
    const rig = new Rig();
    rig.send(FIRST, '{"id":"x","op":"explode"}');
    rig.send(FIRST, '{');
    expect(rig.replies).toMatchObject([
      { id: 'x', ok: false, error: 'malformed', message: expect.stringMatching(/op/) },
      { id: null, ok: false, error: 'malformed' },
    ]);
  });

  it('passes on the system’s reason, and lets the next one try', () => {
    const rig = new Rig();
    rig.ask(FIRST, 'open');
    rig.refused('ENODEV: no such interface');
    expect(rig.replies.at(-1)).toMatchObject({
      ok: false,
      error: 'unavailable',
      message: 'ENODEV: no such interface',
    });
    expect(rig.holder).toBeNull();
    rig.take(SECOND);
  });

  it('answers within five seconds, whatever becomes of the opening', () => {
    const rig = new Rig();
    rig.ask(FIRST, 'open');
    expect(rig.service.tick(rig.now), 'when it is to be called again').toBe(5000);
    rig.pass(4999);
    expect(rig.replies).toEqual([]);
    rig.pass(1);
    expect(rig.replies).toMatchObject([{ ok: false, error: 'unavailable' }]);
    // The opening goes on, and is there for the next request.
    rig.opened();
    expect(rig.replies.length).toBe(1);
    expect(rig.ask(FIRST, 'open')).toMatchObject(OPEN);
  });

  it('answers a request sent again once', () => {
    const rig = new Rig();
    const peer = { key: 1, udpPort: 2 };
    for (let count = 0; count < 5; count++)
      rig.send(FIRST, { id: 7, op: 'open', adapter: 'uplink' }, peer);
    rig.send(FIRST, { id: 8, op: 'open', adapter: 'uplink' }, peer);
    rig.opened();
    expect(rig.replies.map(({ id }) => id)).toEqual([7, 8]);
  });

  it('answers requests of one id that come from several ports and addresses, each', () => {
    const rig = new Rig();
    const peers = [
      { key: 1, udpPort: 2 },
      { key: 1, udpPort: 3 },
      { key: 4, udpPort: 2 },
    ];
    for (const peer of peers) rig.send(FIRST, { id: 7, op: 'open', adapter: 'uplink' }, peer);
    rig.opened();
    expect(rig.replies.map(({ peer }) => peer)).toEqual(peers);
  });

  it('remembers at most sixteen that wait', () => {
    const rig = new Rig();
    for (let id = 0; id < 20; id++) rig.send(FIRST, { id, op: 'open', adapter: 'uplink' });
    expect(rig.replies.map(({ id, error }) => [id, error])).toEqual(
      [16, 17, 18, 19].map((id) => [id, 'unavailable']),
    );
    rig.opened();
    expect(rig.replies.filter(({ ok }) => ok).length).toBe(16);
  });

  it('ignores what is above the limit, and goes on afterwards', () => {
    const rig = new Rig();
    for (let count = 0; count < 1000; count++) rig.ask(FIRST, 'status');
    expect(rig.replies.length).toBe(40);
    expect(rig.counters.get(FIRST, 'controlRefused')).toBe(960);
    expect(rig.ask(SECOND, 'status'), 'another VM is not affected').toMatchObject({ ok: true });
    rig.pass(1000);
    for (let count = 0; count < 100; count++) rig.ask(FIRST, 'status');
    expect(rig.replies.length).toBe(61);
  });

  it('has timers looked at for what it takes, not for a flood', () => {
    const rig = new Rig();
    const taken = Array.from({ length: 1000 }, () => rig.send(FIRST, { id: 1, op: 'status' }));
    expect(taken.filter(Boolean).length).toBe(40);
  });

  it('closes for the holder only', () => {
    const rig = new Rig();
    rig.take(FIRST);
    expect(rig.ask(SECOND, 'close')).toMatchObject({ ok: false, error: 'held' });
    expect(rig.states[0]).toBe('open');
    const reply = rig.ask(FIRST, 'close');
    expect(reply).toMatchObject({
      ok: true,
      adapter: 'uplink',
      state: 'closed',
      interface: 'eth1',
    });
    expect(reply).not.toHaveProperty('lease');
    expect(rig.closed).toEqual(['closed by first']);
    expect(rig.ask(FIRST, 'close'), 'again').toMatchObject({ ok: true, state: 'closed' });
    expect(rig.closed.length).toBe(1);
    rig.take(SECOND);
  });

  it('closes what is still being opened', () => {
    const rig = new Rig();
    rig.ask(FIRST, 'open');
    rig.ask(FIRST, 'close');
    expect(rig.replies).toMatchObject([
      { id: 1, ok: false, error: 'unavailable' },
      { id: 2, ok: true, state: 'closed' },
    ]);
    expect(rig.closed.length).toBe(1);
  });

  it('closes what is still being opened, though the lease has ended that it was opened for', () => {
    const rig = new Rig(uplink({ leaseSeconds: 2 }));
    rig.ask(FIRST, 'open');
    rig.pass(2500);
    expect(rig.holder).toBeNull();
    expect(rig.ask(SECOND, 'close')).toMatchObject({ ok: true, state: 'closed' });
    expect(rig.replies[0]).toMatchObject({ vm: FIRST, error: 'unavailable' });
    expect(rig.closed).toEqual(['closed by second']);
  });

  it('tells who controls it whenever that changes, and logs it once', () => {
    const rig = new Rig();
    rig.take(FIRST);
    expect(rig.told).toEqual(['first']);
    for (let count = 0; count < 3; count++) rig.ask(FIRST, 'renew');
    rig.pass(10_000);
    expect(rig.told).toEqual([null]);
    rig.take(FIRST);
    expect(rig.told).toEqual(['first']);
    rig.pass(10_000);
    rig.take(SECOND);
    expect(rig.told).toEqual(['second']);
    rig.ask(SECOND, 'close');
    expect(rig.told).toEqual([null]);
    rig.ask(THIRD, 'open');
    expect(rig.told).toEqual(['third']);
    rig.refused('ENODEV');
    expect(rig.told).toEqual([null]);
    const controlled = rig.lines.filter((line) => line.includes('controlled'));
    expect(controlled).toEqual([
      'adapter controlled by first',
      'adapter controlled by first',
      'adapter controlled by second',
    ]);
  });

  it('does not let an adapter be opened and closed all the time, nor the log be filled', () => {
    const rig = new Rig();
    let opened = 0;
    for (let second = 0; second < 60; second++) {
      for (let count = 0; count < 8; count++) {
        const reply = rig.ask(FIRST, 'open');
        if (reply === undefined) {
          rig.opened();
          opened++;
        } else {
          expect(reply).toMatchObject({ ok: false, error: 'unavailable' });
        }
        rig.ask(FIRST, 'close');
      }
      rig.pass(1000);
    }
    expect(opened).toBeLessThanOrEqual(10 + 60 / 2);
    expect(rig.lines.length).toBeLessThanOrEqual(20 + 60 / 2);
    rig.pass(2000);
    rig.take(SECOND);
  });

  it('tells a controller about its adapters', () => {
    const rig = new Rig(
      uplink(),
      uplink({ name: 'other', interface: 'eth2', controllers: [SECOND] }),
      uplink({ name: 'third', interface: 'eth3', controllers: [THIRD, FIRST] }),
    );
    rig.take(SECOND);
    rig.pass(2500);
    expect(rig.ask(FIRST, 'status')).toMatchObject({
      ok: true,
      adapters: [
        {
          adapter: 'uplink',
          state: 'open',
          interface: 'eth1',
          mtu: 1500,
          holder: 'second',
          lease: 8,
        },
        {
          adapter: 'third',
          state: 'closed',
          interface: 'eth3',
          mac: null,
          holder: null,
          lease: null,
        },
      ],
    });
  });

  it('keeps a status within one datagram', () => {
    const plans = Array.from({ length: 40 }, (_, index) => uplink({ name: `adapter-${index}` }));
    const rig = new Rig(...plans);
    rig.send(FIRST, { id: '\u0001'.repeat(64), op: 'status' });
    expect(rig.texts[0].length).toBeLessThanOrEqual(1400);
    expect(rig.replies[0]).toMatchObject({ ok: true, more: true });
    expect((rig.replies[0].adapters as unknown[]).length).toBeGreaterThan(3);
  });
});

describe('replies to a VM of a small MTU', () => {
  const bytes = (rig: Rig) => Buffer.byteLength(rig.texts.at(-1)!);

  it('have as many adapters as fit, one at least', () => {
    const plans = Array.from({ length: 5 }, (_, index) => uplink({ name: `adapter-${index}` }));
    const rig = new Rig(...plans);
    rig.wholeReply = 300;
    expect(rig.ask(FIRST, 'status')).toMatchObject({
      adapters: [{ adapter: 'adapter-0' }, { adapter: 'adapter-1' }],
      more: true,
    });
    expect(bytes(rig)).toBeLessThanOrEqual(300);
    rig.wholeReply = 40;
    expect(rig.ask(FIRST, 'status')).toMatchObject({
      adapters: [{ adapter: 'adapter-0' }],
      more: true,
    });
  });

  it('have as much of a message as fits', () => {
    const rig = new Rig();
    const message = 'can’t "open" it: no such interface \u{1f50c}'.repeat(3);
    let whole = 0;
    for (rig.wholeReply = 60; whole === 0; rig.wholeReply++) {
      rig.ask(FIRST, 'open');
      rig.refused(message);
      const reply = rig.replies.at(-1)!;
      expect(reply.error).toBe('unavailable');
      expect(bytes(rig)).toBeLessThanOrEqual(rig.wholeReply);
      if (reply.message === message) whole = bytes(rig);
      else expect(message.startsWith(reply.message!.replace(/…$/, '')), reply.message).toBe(true);
      rig.pass(2000);
    }
    expect(whole).toBe(rig.wholeReply - 1);
  });

  it('have all of it where they would not fit without', () => {
    const rig = new Rig();
    rig.wholeReply = 40;
    expect(rig.ask(WEB, 'open')).toMatchObject({ message: 'this VM is not a management guest' });
  });
});

describe('leases', () => {
  it('hold off a stand-by until they end, and then it takes over without a gap', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(9000);
    expect(rig.ask(SECOND, 'open')).toMatchObject({
      ok: false,
      error: 'held',
      message: 'held by first for 1 s more',
    });
    expect(rig.ask(SECOND, 'renew')).toMatchObject({ error: 'held' });
    rig.pass(1000);
    expect(rig.holder).toBeNull();
    expect(rig.states[0]).toBe('open');
    expect(rig.ask(SECOND, 'open')).toMatchObject(OPEN);
    expect(rig.holder).toBe('second');
    expect(rig.closed).toEqual([]);
    expect(rig.ask(FIRST, 'renew')).toMatchObject({ ok: false, error: 'held' });
    expect(rig.ask(FIRST, 'open')).toMatchObject({ ok: false, error: 'held' });
  });

  it('go to the most preferred of those that wait', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(8000);
    rig.ask(SECOND, 'open');
    rig.pass(1500);
    rig.ask(THIRD, 'open');
    rig.pass(600);
    expect(rig.ask(THIRD, 'open'), 'the second waits, too').toMatchObject({ error: 'held' });
    expect(rig.ask(SECOND, 'open')).toMatchObject({ ok: true });
  });

  it('go to a less preferred one when the other does not come', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(9000);
    rig.ask(SECOND, 'open');
    rig.pass(1000);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ error: 'held' });
    rig.pass(4999);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ error: 'held' });
    rig.pass(1);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ ok: true });
  });

  it('go to the most preferred also when the base stood still after the last one', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(9000);
    rig.ask(SECOND, 'open');
    rig.pass(1001);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ error: 'held' });
    rig.now += 6000;
    rig.service.stoodStill(6000);
    expect(rig.ask(THIRD, 'open'), 'the second was not heard').toMatchObject({ error: 'held' });
    rig.pass(4998);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ error: 'held' });
    rig.pass(1);
    expect(rig.ask(THIRD, 'open'), 'the grace is over').toMatchObject({ ok: true });
  });

  it('that are long are reserved for five seconds only', () => {
    const rig = new Rig(uplink({ leaseSeconds: 60 }));
    rig.take(FIRST);
    rig.pass(59_000);
    rig.ask(SECOND, 'open');
    rig.pass(5999);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ error: 'held' });
    rig.pass(1);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ ok: true });
  });

  it('that are given back are not reserved, though one ended shortly before', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(9000);
    rig.ask(SECOND, 'open');
    rig.pass(1000);
    expect(rig.holder).toBeNull();
    rig.take(FIRST);
    rig.ask(FIRST, 'close');
    rig.take(THIRD);
  });

  it('are not reserved for one that asked long ago', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.ask(SECOND, 'open');
    for (let count = 0; count < 3; count++) {
      rig.pass(5000);
      rig.ask(FIRST, 'renew');
    }
    rig.pass(10_000);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ ok: true });
  });

  it('may be taken up again by the one who lost it, when it is preferred', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(9900);
    rig.ask(SECOND, 'open');
    rig.pass(200);
    expect(rig.ask(FIRST, 'open')).toMatchObject({ ok: true });
  });

  it('leave the adapter open when nobody is left and it is to be kept', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(60_000);
    expect(rig.states[0]).toBe('open');
    expect(rig.service.control(0)).toEqual({ openedBy: null, leaseSeconds: null });
    expect(rig.ask(THIRD, 'close'), 'anybody listed may close it then').toMatchObject({ ok: true });
  });

  it('close the adapter when nobody is left and that is wanted', () => {
    const rig = new Rig(uplink({ onControllerLoss: 'close' }));
    rig.take(FIRST);
    rig.pass(9999);
    expect(rig.states[0]).toBe('open');
    rig.pass(1);
    expect(rig.states[0]).toBe('closed');
    expect(rig.closed).toEqual(['no controller is left']);
    rig.take(SECOND);
  });

  it('wait for a stand-by before they close it', () => {
    const rig = new Rig(uplink({ onControllerLoss: 'close' }));
    rig.take(FIRST);
    rig.pass(8000);
    rig.ask(SECOND, 'open');
    rig.pass(9999);
    expect(rig.states[0]).toBe('open');
    rig.pass(1);
    expect(rig.states[0]).toBe('closed');

    rig.take(FIRST);
    rig.pass(8000);
    rig.ask(SECOND, 'open');
    rig.pass(3000);
    expect(rig.ask(SECOND, 'open')).toMatchObject({ ok: true });
    rig.pass(9000);
    expect(rig.states[0]).toBe('open');
    expect(rig.closed.length).toBe(1);
  });

  it('of a second are not closed before a stand-by that asks every second or so has asked again', () => {
    const rig = new Rig(uplink({ leaseSeconds: 1, onControllerLoss: 'close' }));
    rig.take(FIRST);
    rig.pass(50);
    rig.ask(SECOND, 'open');
    rig.pass(1100);
    expect(rig.ask(SECOND, 'open')).toMatchObject({ ok: true, state: 'open' });
    expect(rig.closed).toEqual([]);
    rig.ask(FIRST, 'open');
    rig.pass(2499);
    expect(rig.states[0]).toBe('open');
    rig.pass(1);
    expect(rig.closed).toEqual(['no controller is left']);
  });

  it.each([1, 2, 3])(
    'of %i s go to the most preferred, too, when it asks every second or so',
    (leaseSeconds) => {
      // In whatever order both ask: the second does so every 1.1 s, beginning then.
      for (let phase = 0; phase < 1100; phase += 100) {
        const rig = new Rig(uplink({ leaseSeconds }));
        rig.take(FIRST);
        rig.pass(phase);
        rig.ask(SECOND, 'open');
        while (rig.holder !== 'second') {
          for (let asked = 0; asked < 11; asked++) {
            rig.pass(100);
            expect(rig.ask(THIRD, 'open'), `${phase}`).toMatchObject({ error: 'held' });
          }
          rig.ask(SECOND, 'open');
        }
      }
    },
  );

  it('of a second do not wait for their last holder, who asked in vain before', () => {
    const rig = new Rig(uplink({ leaseSeconds: 1, onControllerLoss: 'close' }));
    rig.take(FIRST);
    rig.pass(900);
    rig.ask(SECOND, 'open');
    rig.pass(200);
    rig.take(SECOND);
    rig.pass(1000);
    expect(rig.closed).toEqual(['no controller is left']);
  });

  it('that ended are not missed any more once somebody has closed the adapter', () => {
    const rig = new Rig(uplink({ onControllerLoss: 'close' }));
    rig.take(FIRST);
    rig.pass(8000);
    rig.ask(SECOND, 'open');
    rig.pass(2000);
    expect(rig.ask(SECOND, 'close')).toMatchObject({ ok: true });
    rig.pass(60_000);
    expect(rig.closed).toEqual(['closed by second']);
  });

  it('and who waits for them are remembered over a time in which nobody was heard', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.pass(9500);
    rig.ask(SECOND, 'open');
    rig.now += 30_000;
    rig.service.stoodStill(30_000);
    rig.pass(499);
    expect(rig.holder).toBe('first');
    rig.pass(1);
    expect(rig.holder).toBeNull();
    expect(rig.ask(THIRD, 'open')).toMatchObject({ error: 'held' });
    expect(rig.ask(SECOND, 'open')).toMatchObject({ ok: true });
  });

  it('of two seconds are kept for a preferred stand-by that asks that rarely', () => {
    const rig = new Rig(uplink({ leaseSeconds: 2 }));
    rig.take(FIRST);
    rig.ask(SECOND, 'open');
    rig.pass(2400);
    expect(rig.ask(THIRD, 'open')).toMatchObject({ error: 'held' });
    expect(rig.ask(SECOND, 'open')).toMatchObject({ ok: true });
  });

  it('stay with their holder while the interface is gone', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.states[0] = 'gone';
    expect(rig.ask(FIRST, 'renew')).toMatchObject({ ok: true, state: 'gone', mac: null });
    expect(rig.ask(FIRST, 'open')).toBeUndefined();
    rig.refused('ENODEV');
    expect(rig.replies.at(-1)).toMatchObject({ error: 'unavailable', message: 'ENODEV' });
    expect(rig.holder).toBe('first');
    rig.opened();
    expect(rig.ask(FIRST, 'open')).toMatchObject(OPEN);
  });

  it('stay with their holder while the interface is gone, however often it asks', () => {
    const rig = new Rig();
    rig.take(FIRST);
    rig.states[0] = 'gone';
    for (let count = 0; count < 9; count++) {
      expect(rig.ask(FIRST, 'open')).toBeUndefined();
      rig.refused('ENODEV');
    }
    expect(rig.ask(FIRST, 'open')).toMatchObject({ error: 'unavailable', message: 'ENODEV' });
    expect(rig.holder).toBe('first');
  });

  it('that ended while the adapter was being opened go to nobody', () => {
    const rig = new Rig(uplink({ leaseSeconds: 2, onControllerLoss: 'close' }));
    rig.ask(FIRST, 'open');
    rig.pass(2000);
    expect(rig.replies).toMatchObject([{ error: 'unavailable' }]);
    expect(rig.opening.size).toBe(0);

    const keeping = new Rig(uplink({ leaseSeconds: 2 }));
    keeping.ask(FIRST, 'open');
    keeping.pass(2500);
    expect(keeping.ask(SECOND, 'open')).toBeUndefined();
    keeping.opened();
    expect(keeping.replies).toMatchObject([
      { vm: FIRST, ok: false, error: 'held' },
      { vm: SECOND, ok: true, lease: 2 },
    ]);
  });
});

describe('a snapshot', () => {
  it('brings a lease over a restart', () => {
    const before = new Rig();
    before.take(SECOND);
    before.pass(4000);
    const text = JSON.stringify(before.service.snapshot());
    expect(JSON.parse(text)).toEqual({
      version: 1,
      adapters: [{ adapter: 'uplink', holder: 'second', secondsLeft: 6 }],
    });
    const after = new Rig();
    after.service.restore(JSON.parse(text));
    expect([...after.opening]).toEqual([0]);
    expect(after.told).toEqual(['second']);
    after.opened();
    expect(after.service.control(0)).toEqual({ openedBy: 'second', leaseSeconds: 6 });
    expect(after.ask(FIRST, 'open')).toMatchObject({ error: 'held' });
    expect(after.ask(SECOND, 'renew')).toMatchObject({ ok: true, lease: 10 });
    expect(after.lines, 'who controls it is no news').toEqual([]);
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a number', 7],
    [
      'another version',
      { version: 2, adapters: [{ adapter: 'uplink', holder: 'first', secondsLeft: 5 }] },
    ],
    ['no list', { version: 1, adapters: {} }],
    [
      'rubbish in the list',
      { version: 1, adapters: [null, 7, 'x', [], {}, { adapter: 'uplink' }] },
    ],
    [
      'an unknown adapter',
      { version: 1, adapters: [{ adapter: 'x', holder: 'first', secondsLeft: 5 }] },
    ],
    [
      'an unknown VM',
      { version: 1, adapters: [{ adapter: 'uplink', holder: 'x', secondsLeft: 5 }] },
    ],
    [
      'an ordinary VM',
      { version: 1, adapters: [{ adapter: 'uplink', holder: 'web', secondsLeft: 5 }] },
    ],
    [
      'no time left',
      { version: 1, adapters: [{ adapter: 'uplink', holder: 'first', secondsLeft: -1 }] },
    ],
    [
      'no number',
      { version: 1, adapters: [{ adapter: 'uplink', holder: 'first', secondsLeft: NaN }] },
    ],
  ])('of %s changes nothing', (_, from) => {
    const rig = new Rig();
    rig.service.restore(from);
    expect(rig.holder).toBeNull();
    expect(rig.opening.size).toBe(0);
  });

  it('gives nothing to a management guest that is not among the controllers any more', () => {
    const rig = new Rig(uplink({ controllers: [FIRST] }));
    rig.service.restore({
      version: 1,
      adapters: [{ adapter: 'uplink', holder: 'second', secondsLeft: 5 }],
    });
    expect(rig.holder).toBeNull();
    expect(rig.opening.size).toBe(0);
  });

  it('brings an adapter over a restart that stays open without a controller', () => {
    const before = new Rig();
    before.take(FIRST);
    before.pass(60_000);
    expect(before.lines.at(-1)).toContain('stays as it is');
    const text = JSON.stringify(before.service.snapshot());
    expect(JSON.parse(text)).toEqual({
      version: 1,
      adapters: [{ adapter: 'uplink', holder: null, secondsLeft: 0 }],
    });
    const after = new Rig();
    after.service.restore(JSON.parse(text));
    expect([...after.opening]).toEqual([0]);
    expect(after.holder).toBeNull();
    expect(after.service.snapshot(), 'also while it is being opened').toEqual(JSON.parse(text));
    after.opened();
    expect(after.ask(SECOND, 'open')).toMatchObject({ ok: true });
    // Where it has to close without one it is not opened.
    const closing = new Rig(uplink({ onControllerLoss: 'close' }));
    closing.service.restore(JSON.parse(text));
    expect(closing.opening.size).toBe(0);
    closing.take(FIRST);
    closing.pass(10_000);
    expect(closing.service.snapshot().adapters).toEqual([]);
    // Nor one that somebody closed.
    after.ask(SECOND, 'close');
    expect(after.service.snapshot().adapters).toEqual([]);
  });

  it('keeps the lease of an adapter that can’t be opened again at once', () => {
    const rig = new Rig();
    rig.service.restore({
      version: 1,
      adapters: [{ adapter: 'uplink', holder: 'first', secondsLeft: 5 }],
    });
    rig.refused('there is no interface');
    expect(rig.holder).toBe('first');
    expect(rig.ask(FIRST, 'renew')).toMatchObject({ ok: true, state: 'gone' });
  });

  it('gives nobody more than a lease', () => {
    const rig = new Rig();
    const entry = { adapter: 'uplink', holder: 'first', secondsLeft: Number.POSITIVE_INFINITY };
    rig.service.restore({ version: 1, adapters: [entry, { ...entry, holder: 'second' }] });
    expect(rig.service.control(0)).toEqual({ openedBy: 'first', leaseSeconds: 10 });
  });
});
