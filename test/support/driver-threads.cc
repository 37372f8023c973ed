// The drivers of two VMs as threads of their own, which work on rings that the test has set up while the base does: they sleep on the call
// descriptor exactly when virtio 1.3 lets them (§2.7.7, §2.8.10), and kick exactly when it demands it. Each sends COUNT datagrams to the
// other, at most WINDOW of them under way, so that none may be dropped: each must come once, in order and as it was sent.
//
// On stdin, numbers: seed, count, window, longest frame, flags (see Flag); for each VM its memory's descriptor, guest address and bytes, and for
// its receive and its transmit ring: size, where descriptors, driver's part, device's part and slots are, bytes of a slot, kick, call; then
// 42 bytes of headers that its datagrams have. Exit status 1, with a sentence on stdout: what went wrong.
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

namespace {

enum Flag { PACKED = 1, EVENT_IDX = 2, INDIRECT = 4, IN_ORDER = 8 };
enum { F_NEXT = 1, F_WRITE = 2, F_INDIRECT = 4, F_AVAIL = 1 << 7, F_USED = 1 << 15 };
enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESCRIPTOR };

constexpr int HEADER = 12, HEADERS = 42, MAX_PIECES = 16, TABLE = MAX_PIECES * 16;
/** Seconds without a datagram after which something has been lost; milliseconds of one wait. */
constexpr int PATIENCE = 20, WAIT = 100;

uint64_t seed, count, window;
uint32_t longest;
int flags;
/** Datagrams that the other VM has received. */
std::atomic<uint64_t> received[2];

[[noreturn]] void fail(const char* format, ...) {
  static std::atomic_flag once = ATOMIC_FLAG_INIT;
  if (once.test_and_set()) pause();
  va_list rest;
  va_start(rest, format);
  vprintf(format, rest);
  fflush(stdout);
  _exit(1);
}

uint64_t number() {
  unsigned long long value;
  if (scanf("%llu", &value) != 1) fail("a number is missing");
  return value;
}

struct Random {
  uint64_t state;
  uint32_t below(uint32_t limit) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 32) % limit;
  }
};

template <typename T>
T load(const void* at) {
  return __atomic_load_n(static_cast<const T*>(at), __ATOMIC_ACQUIRE);
}
template <typename T>
void store(void* at, T value) {
  __atomic_store_n(static_cast<T*>(at), value, __ATOMIC_RELEASE);
}
void fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/** vring_need_event of the specification. */
bool needEvent(uint16_t event, uint16_t next, uint16_t old) {
  return static_cast<uint16_t>(next - event - 1) < static_cast<uint16_t>(next - old);
}

struct Split {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};
struct Packed {
  uint64_t address;
  uint32_t length;
  uint16_t id, flags;
};
struct Piece {
  uint64_t address;
  uint32_t length;
};
/** A chain that the device has: its name, the slot that it is of, places of the ring, and the names that it holds. */
struct Out {
  uint16_t name, slot;
  int places;
  std::vector<uint16_t> names;
};

/** One ring, from its driver's side. */
struct Ring {
  int vm;
  bool input;
  uint8_t* memory;
  uint64_t guest;
  int size;
  uint64_t descriptorsAt, driverAt, deviceAt, slotsAt;
  uint32_t slotBytes;
  int kick, call, epoll;
  Random random;
  std::deque<Out> out;
  std::vector<uint16_t> freeSlots, freeNames;
  int freePlaces;
  uint16_t next = 0, taken = 0, added = 0;  // packed: places
  bool nextWrap = true, takenWrap = true;

  uint8_t* at(uint64_t address) const { return memory + (address - guest); }
  uint64_t slot(int index) const { return slotsAt + static_cast<uint64_t>(index) * slotBytes; }
  bool is(Flag flag) const { return (flags & flag) != 0; }
  Packed* packed(int place) const { return reinterpret_cast<Packed*>(at(descriptorsAt)) + place; }

  void read(int of, bool receives, uint8_t* mapped, uint64_t start) {
    vm = of, input = receives, memory = mapped, guest = start;
    size = static_cast<int>(number());
    descriptorsAt = number(), driverAt = number(), deviceAt = number(), slotsAt = number();
    slotBytes = static_cast<uint32_t>(number());
    kick = static_cast<int>(number()), call = static_cast<int>(number());
    random = {seed * 4 + static_cast<uint64_t>(of) * 2 + receives};
    for (int i = size - 1; i >= 0; i--) freeSlots.push_back(i), freeNames.push_back(i);
    freePlaces = size;
    epoll = epoll_create1(0);
    epoll_event event = {EPOLLIN, {}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, call, &event);
  }

  uint16_t takeName() {
    // In order: descriptors in the order of the ring (§2.7.10).
    const size_t from = is(IN_ORDER) ? 0 : random.below(static_cast<uint32_t>(freeNames.size()));
    const uint16_t name = is(IN_ORDER) ? freeNames.back() : freeNames[from];
    if (!is(IN_ORDER)) freeNames[from] = freeNames.back();
    freeNames.pop_back();
    return name;
  }

  /** Some pieces of what lies at `address`, the first of them with at least `first` bytes. */
  std::vector<Piece> cut(uint64_t address, uint32_t length, uint32_t first) {
    std::vector<Piece> pieces;
    const int most = random.below(2) ? 1 : 1 + random.below(MAX_PIECES < size ? MAX_PIECES : size);
    while (static_cast<int>(pieces.size()) < most - 1 && length > first + 1) {
      const uint32_t part = first + random.below((length - first) / 2 + 1);
      if (part == 0 || part >= length) break;
      pieces.push_back({address, part});
      address += part, length -= part, first = 0;
    }
    pieces.push_back({address, length});
    return pieces;
  }

  /** Makes a chain available, not yet published; false: the ring has no room for it. */
  bool add(uint16_t slotIndex, std::vector<Piece> pieces) {
    const bool table = is(INDIRECT) && random.below(3) == 0;
    const int needed = table ? 1 : static_cast<int>(pieces.size());
    if (freePlaces < needed || freeNames.empty()) return false;
    const uint16_t write = input ? F_WRITE : 0;
    if (table) {
      uint8_t* entry = at(slot(slotIndex));
      for (size_t i = 0; i < pieces.size(); i++, entry += 16) {
        const bool more = i + 1 < pieces.size();
        const uint16_t nextFlag = more ? F_NEXT : 0, nextIndex = more ? i + 1 : 0;
        if (is(PACKED)) *reinterpret_cast<Packed*>(entry) = {pieces[i].address, pieces[i].length, 0, write};
        else *reinterpret_cast<Split*>(entry) = {pieces[i].address, pieces[i].length, static_cast<uint16_t>(write | nextFlag), nextIndex};
      }
      pieces = {{slot(slotIndex), static_cast<uint32_t>(pieces.size() * 16)}};
    }
    const uint16_t kind = table ? uint16_t{F_INDIRECT} : write;
    Out chain = {0, slotIndex, needed, {}};
    const int names = is(PACKED) ? 1 : needed;
    for (int i = 0; i < names; i++) chain.names.push_back(takeName());
    chain.name = chain.names[0];
    freePlaces -= needed;
    if (is(PACKED)) addPacked(chain, pieces, kind);
    else addSplit(chain, pieces, kind);
    out.push_back(chain);
    return true;
  }

  void addSplit(const Out& chain, const std::vector<Piece>& pieces, uint16_t kind) {
    Split* table = reinterpret_cast<Split*>(at(descriptorsAt));
    for (size_t i = 0; i < pieces.size(); i++) {
      const bool more = i + 1 < pieces.size();
      const uint16_t nextIndex = more ? chain.names[i + 1] : 0;
      table[chain.names[i]] = {pieces[i].address, pieces[i].length, static_cast<uint16_t>(kind | (more ? F_NEXT : 0)), nextIndex};
    }
    store<uint16_t>(at(driverAt + 4 + (next & (size - 1)) * 2), chain.name);
    next++, added++;
  }

  void addPacked(const Out& chain, const std::vector<Piece>& pieces, uint16_t kind) {
    const int head = next;
    uint16_t headFlags = 0;
    for (size_t i = 0; i < pieces.size(); i++) {
      Packed* descriptor = packed(next);
      descriptor->address = pieces[i].address, descriptor->length = pieces[i].length, descriptor->id = chain.name;
      const uint16_t all = kind | (i + 1 < pieces.size() ? F_NEXT : 0) | (nextWrap ? F_AVAIL : F_USED);
      if (i == 0) headFlags = all;
      else store<uint16_t>(&descriptor->flags, all);
      if (++next == size) next = 0, nextWrap = !nextWrap;
      added++;
    }
    store<uint16_t>(&packed(head)->flags, headFlags);
  }

  /** Shows what was added, and kicks if the device wants to know. */
  void publish() {
    if (added == 0) return;
    if (!is(PACKED)) store<uint16_t>(at(driverAt + 2), next);
    fence();
    const uint16_t old = next - added;
    added = 0;
    bool wanted;
    if (!is(PACKED)) {
      wanted = is(EVENT_IDX) ? needEvent(load<uint16_t>(at(deviceAt + 4 + size * 8)), next, old)
                             : (load<uint16_t>(at(deviceAt)) & 1) == 0;
    } else {
      const uint32_t event = load<uint32_t>(at(deviceAt));
      uint16_t place = event & 0x7fff;
      if ((event >> 15 & 1) != nextWrap) place -= size;
      wanted = event >> 16 == EVENT_DESCRIPTOR ? needEvent(place, next, old) : event >> 16 == EVENT_ENABLE;
    }
    const uint64_t one = 1;
    if (wanted && write(kick, &one, sizeof one) != sizeof one) fail("a kick failed");
  }

  /** The device has given back the oldest chain. */
  bool hasUsed() const {
    if (!is(PACKED)) return load<uint16_t>(at(deviceAt + 2)) != taken;
    const uint16_t word = load<uint16_t>(&packed(taken)->flags);
    return ((word & F_AVAIL) != 0) == takenWrap && ((word & F_USED) != 0) == takenWrap;
  }

  /** Takes the oldest chain back: its slot, and how many bytes were written. */
  uint16_t take(uint32_t* length) {
    if (out.empty()) fail("vm %d: a chain is given back that the device does not have", vm);
    const Out chain = out.front();
    out.pop_front();
    uint32_t name;
    if (!is(PACKED)) {
      const uint8_t* element = at(deviceAt + 4 + (taken & (size - 1)) * 8);
      name = load<uint32_t>(element), *length = load<uint32_t>(element + 4);
      taken++;
    } else {
      name = packed(taken)->id, *length = packed(taken)->length;
      taken += chain.places;
      if (taken >= size) taken -= size, takenWrap = !takenWrap;
    }
    if (name != chain.name) fail("vm %d: chain %u is given back, and not %u, the oldest", vm, name, chain.name);
    freePlaces += chain.places;
    for (uint16_t each : chain.names) {
      if (is(IN_ORDER)) freeNames.insert(freeNames.begin(), each);
      else freeNames.push_back(each);
    }
    return chain.slot;
  }

  void suppress() {
    if (is(PACKED)) store<uint16_t>(at(driverAt + 2), EVENT_DISABLE);
    else if (!is(EVENT_IDX)) store<uint16_t>(at(driverAt), 1);
  }

  /** Sleeps until the device says that it has given back something, unless it has. Looks at the ring before only. */
  void sleep() {
    if (is(PACKED)) {
      store<uint16_t>(at(driverAt), taken | takenWrap << 15);
      store<uint16_t>(at(driverAt + 2), is(EVENT_IDX) ? EVENT_DESCRIPTOR : EVENT_ENABLE);
    } else if (is(EVENT_IDX)) store<uint16_t>(at(driverAt + 4 + size * 2), taken);
    else store<uint16_t>(at(driverAt), 0);
    fence();
    if (!hasUsed()) waitForSignal();
    if (random.below(4) > 0) suppress();
  }

  void waitForSignal() {
    uint64_t before = 0;
    for (int waits = 0; waits * WAIT < PATIENCE * 1000; waits++) {
      epoll_event event;
      uint64_t signals;
      if (epoll_wait(epoll, &event, 1, WAIT) > 0) {
        if (::read(call, &signals, sizeof signals) != sizeof signals) fail("a call descriptor can't be read");
        return;
      }
      const uint64_t now = received[0] + received[1];
      if (now == 2 * count) return;
      if (now != before) waits = 0;
      before = now;
    }
    fail("vm %d waits for its %s ring in vain: %s", vm, input ? "receive" : "transmit",
         hasUsed() ? "an interrupt was lost" : "nothing is given back");
  }

  /** Now and then does nothing for a while, so that the base falls asleep at any moment. */
  void linger() {
    const uint32_t how = random.below(64);
    if (how == 0) usleep(random.below(random.below(8) ? 200 : 2000));
    if (how > 2) return;
    const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(random.below(40'000));
    while (std::chrono::steady_clock::now() < end) {}
  }
};

struct Vm {
  Ring input, output;
  uint8_t headers[HEADERS];
} vms[2];

/** The datagram with this number from a VM: its frame's length. */
uint32_t build(uint8_t* frame, int vm, uint64_t sequence) {
  Random random = {sequence * 2 + vm};
  const uint32_t least = HEADERS + 8;
  const uint32_t length = least + random.below(random.below(2) ? 64 : longest - least + 1);
  memcpy(frame, vms[vm].headers, HEADERS);
  const auto put = [&](int at, uint32_t value) { frame[at] = value >> 8, frame[at + 1] = value; };
  put(16, length - 14), put(24, 0), put(38, length - 34), put(40, 0);
  uint32_t sum = 0;
  for (int at = 14; at < 34; at += 2) sum += frame[at] << 8 | frame[at + 1];
  sum = (sum & 0xffff) + (sum >> 16);
  put(24, ~(sum + (sum >> 16)) & 0xffff);
  memcpy(frame + HEADERS, &sequence, 8);
  for (uint32_t at = least; at < length; at++) frame[at] = random.below(256);
  return length;
}

void transmit(int vm) {
  Ring& ring = vms[vm].output;
  ring.suppress();
  uint64_t sent = 0;
  while (sent < count || !ring.out.empty()) {
    uint32_t length;
    while (ring.hasUsed()) {
      const uint16_t slot = ring.take(&length);
      memset(ring.at(ring.slot(slot) + TABLE), 0xdd, ring.slotBytes - TABLE);  // it is ours again
      ring.freeSlots.push_back(slot);
    }
    const bool each = ring.random.below(3) == 0;
    bool full = false;
    for (uint32_t left = 1 + ring.random.below(ring.random.below(4) ? 8 : 200); left > 0 && sent < count && !full; left--) {
      if (sent - received[1 - vm] >= window) break;
      if ((full = ring.freeSlots.empty())) break;
      const uint64_t start = ring.slot(ring.freeSlots.back()) + TABLE;
      memset(ring.at(start), 0, HEADER);
      length = HEADER + build(ring.at(start + HEADER), vm, sent);
      if ((full = !ring.add(ring.freeSlots.back(), ring.cut(start, length, HEADER)))) break;
      ring.freeSlots.pop_back();
      sent++;
      if (each) ring.publish();
    }
    ring.publish();
    if (!ring.out.empty() && (full || sent == count || ring.random.below(16) == 0)) ring.sleep();
    else if (sent < count && sent - received[1 - vm] >= window) usleep(50);
    ring.linger();
  }
}

void receive(int vm) {
  Ring& ring = vms[vm].input;
  ring.suppress();
  std::vector<uint8_t> whole(1 << 17), expected(1 << 17);
  const uint32_t room = ring.slotBytes - TABLE;
  while (received[vm] < count) {
    // As many as fit, one by one or together; nobody sleeps with fewer.
    const bool each = ring.random.below(3) == 0;
    while (!ring.freeSlots.empty()) {
      const uint16_t slot = ring.freeSlots.back();
      memset(ring.at(ring.slot(slot) + TABLE), 0xee, room);
      if (!ring.add(slot, ring.cut(ring.slot(slot) + TABLE, room, 1))) break;
      ring.freeSlots.pop_back();
      if (each) ring.publish();
    }
    ring.publish();
    if (!ring.hasUsed()) ring.sleep();
    for (uint32_t left = 1 + ring.random.below(300); left > 0 && ring.hasUsed(); left--) {
      uint32_t bytes = 0, buffers = 1;
      for (uint32_t index = 0; index < buffers; index++) {
        if (!ring.hasUsed()) fail("vm %d: %u of %u merged buffers are given back", vm, index, buffers);
        uint32_t length;
        const uint16_t slot = ring.take(&length);
        const uint8_t* data = ring.at(ring.slot(slot) + TABLE);
        if (length == 0 || length > room) fail("vm %d: %u bytes in a buffer of %u", vm, length, room);
        memcpy(&whole[bytes], data, length);
        for (uint32_t at = length; at < room; at++)
          if (data[at] != 0xee) fail("vm %d: byte %u of a buffer with %u bytes was written", vm, at, length);
        bytes += length;
        ring.freeSlots.insert(ring.freeSlots.begin(), slot);
        if (index == 0) buffers = whole[10] | whole[11] << 8;
        if (bytes + room > whole.size()) fail("vm %d: a datagram of more than %u bytes", vm, bytes);
      }
      const uint32_t length = build(expected.data(), 1 - vm, received[vm]);
      if (bytes < HEADER + HEADERS + 8 || whole[HEADER + 12] != 8 || whole[HEADER + 13] != 0) continue;  // the base's own ARP
      uint64_t sequence;
      memcpy(&sequence, &whole[HEADER + HEADERS], 8);
      if (sequence != received[vm]) fail("vm %d: datagram %lu comes, and not %lu", vm, sequence, received[vm].load());
      if (bytes != HEADER + length || memcmp(&whole[HEADER + 14], &expected[14], length - 14) != 0)
        fail("vm %d: datagram %lu is not what was sent", vm, sequence);
      received[vm]++;
    }
    ring.linger();
  }
}

}  // namespace

int main() {
  seed = number(), count = number(), window = number(), longest = number(), flags = number();
  for (int vm = 0; vm < 2; vm++) {
    const int fd = number();
    const uint64_t guest = number(), bytes = number();
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) fail("the memory of vm %d can't be mapped", vm);
    vms[vm].input.read(vm, true, static_cast<uint8_t*>(memory), guest);
    vms[vm].output.read(vm, false, static_cast<uint8_t*>(memory), guest);
    for (uint8_t& byte : vms[vm].headers) byte = number();
  }
  std::thread threads[] = {std::thread(receive, 0), std::thread(receive, 1), std::thread(transmit, 0), std::thread(transmit, 1)};
  for (std::thread& thread : threads) thread.join();
  return 0;
}
