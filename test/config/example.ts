/** The example of the design, word for word. */
export const EXAMPLE = `networks:
  lan:
    subnet: 10.77.0.0/24
    address: 10.77.0.1            # the base's own
    mac: 02:00:0a:4d:00:01        # optional: the base's MAC; else derived, stable across restarts
vms:
  web:
    socket: /run/basewire/web.sock        # or {path: ..., mode: server | client}
    addresses: [10.77.0.11]
    mac: 52:54:00:00:00:11        # optional: learned from the guest's first frame otherwise
  controller:
    socket: /run/basewire/controller.sock
    addresses: [10.77.0.2]
    management: true
adapters:
  uplink:
    interface: eth1
    network: lan
    controllers: [controller]
    nextHop: 10.77.0.254          # optional: where what is outside the subnet goes
    lease: 10                     # seconds
    onControllerLoss: keep
datapath: {poll: adaptive, spin: 50, burst: 256}    # poll: adaptive | busy; spin in microseconds
log: {level: info}
admin: {socket: /run/basewire/admin.sock}
`;
