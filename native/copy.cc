// The copies themselves. Rules: read a row once, check it wholly, then touch memory; no allocation, no
// branches on payload. Reads of guest memory race with the guest by design: the arena's copy is the truth.
#include "copy.h"

#include <cstring>

#include "unaligned.h"

namespace basewire {
namespace {

/** Sixteen bytes in one register (SSE2 on x86-64, NEON on arm64). */
typedef uint8_t Block __attribute__((vector_size(16)));

/** First and last T of the range, which overlap when it is shorter than two of them. */
template <typename T>
ALWAYS_INLINE void copyEnds(uint8_t* to, const uint8_t* from, size_t length) {
  const T first = load<T>(from);
  const T last = load<T>(from + length - sizeof(T));
  store<T>(to, first);
  store<T>(to + length - sizeof(T), last);
}

/** Short frames without a call: overlapping loads and stores instead of loops; memcpy beyond 256 bytes. */
ALWAYS_INLINE void copyBytes(uint8_t* to, const uint8_t* from, size_t length) {
  if (length > 256) {
    memcpy(to, from, length);
  } else if (length >= 64) {
    // Whole 64-byte steps, then the last 64 bytes once more from the end.
    const size_t last = length - 64;
    for (size_t at = 0; at < last; at += 64) {
      const Block a = load<Block>(from + at), b = load<Block>(from + at + 16);
      const Block c = load<Block>(from + at + 32), d = load<Block>(from + at + 48);
      store<Block>(to + at, a);
      store<Block>(to + at + 16, b);
      store<Block>(to + at + 32, c);
      store<Block>(to + at + 48, d);
    }
    const Block a = load<Block>(from + last), b = load<Block>(from + last + 16);
    const Block c = load<Block>(from + last + 32), d = load<Block>(from + last + 48);
    store<Block>(to + last, a);
    store<Block>(to + last + 16, b);
    store<Block>(to + last + 32, c);
    store<Block>(to + last + 48, d);
  } else if (length >= 32) {
    const Block a = load<Block>(from), b = load<Block>(from + 16);
    const Block c = load<Block>(from + length - 32), d = load<Block>(from + length - 16);
    store<Block>(to, a);
    store<Block>(to + 16, b);
    store<Block>(to + length - 32, c);
    store<Block>(to + length - 16, d);
  } else if (length >= 16) {
    copyEnds<Block>(to, from, length);
  } else if (length >= 8) {
    copyEnds<uint64_t>(to, from, length);
  } else if (length >= 4) {
    copyEnds<uint32_t>(to, from, length);
  } else if (length >= 2) {
    copyEnds<uint16_t>(to, from, length);
  } else if (length == 1) {
    *to = *from;
  }
}

/**
 * Bytes of a row before the next line of the guest's, when they are as many as a virtio-net header in the head room of a buffer whose frame
 * begins with the line (DPDK's are like that); otherwise 0. Such a header is nearly always what it was when the buffer was used last:
 * left alone, its line stays in both cores' caches, instead of going from one to the other and back for each frame.
 */
ALWAYS_INLINE size_t headerBefore(uintptr_t guest, size_t length) {
  const size_t before = -guest & 63;
  return before >= sizeof(uint64_t) && before <= 2 * sizeof(uint64_t) && before < length ? before : 0;
}

/** Copies 8 to 16 bytes, unless they are there already. */
ALWAYS_INLINE void copyUnlessEqual(uint8_t* to, const uint8_t* from, size_t length) {
  const size_t last = length - sizeof(uint64_t);
  const bool equal = ((load<uint64_t>(to) ^ load<uint64_t>(from)) |
                      (load<uint64_t>(to + last) ^ load<uint64_t>(from + last))) == 0;
  if (!equal) copyEnds<uint64_t>(to, from, length);
}

constexpr double exactLimit = 9007199254740992.0;  // 2^53

/** Of each row, so many bytes are asked for so many rows before they are copied ... */
constexpr uint32_t headBytes = 192;
constexpr int32_t headRows = 8;
/**
 * ... and the rest while the row before is copied: with more under way than it has room for, a core waits. The machine's own
 * prefetcher would notice each row too late; of what is longer than this it has by then.
 */
constexpr uint32_t restBytes = 2048;
constexpr int32_t restRows = 1;

/**
 * Asks for a line that is about to be written. For plain x86-64 a compiler makes `__builtin_prefetch(line, 1)` a mere read, and the line
 * would come from the guest's core twice: to be read, then to be owned. Processors without the instruction do nothing.
 */
ALWAYS_INLINE void prefetchToWrite(const void* line) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" ::"m"(*static_cast<const uint8_t*>(line)));
#else
  __builtin_prefetch(line, 1, 3);
#endif
}

/**
 * Asks for the lines of a row's guest side, from byte `from` of the row (a multiple of 64) up to byte `to`. An address from an
 * unchecked row is only ever prefetched.
 */
template <bool toArena>
ALWAYS_INLINE void prefetchRow(const CopySpace& space, const CopyRow& row, uint32_t from, uint32_t to) {
  const uint32_t length = static_cast<uint32_t>(row.length);  // a negative one is cut like a long one
  if (length <= from) return;
  const uint32_t region = static_cast<uint32_t>(row.region);
  const double offset = row.offset;
  if (region >= space.windowLimit || !(offset >= 0 && offset < exactLimit)) return;
  const uintptr_t start =
      reinterpret_cast<uintptr_t>(space.windows[region].base) + static_cast<uintptr_t>(offset);
  const uintptr_t end = start + (length < to ? length : to);
  uintptr_t line = (start & ~uintptr_t{63}) + from;
  if (!toArena && from == 0 && headerBefore(start, length) != 0) {
    __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 3);
    line += 64;
  }
  for (; line < end; line += 64) {
    if (toArena) {
      __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 3);
    } else {
      prefetchToWrite(reinterpret_cast<const void*>(line));
    }
  }
}

template <bool toArena>
ALWAYS_INLINE int32_t carryOut(const CopySpace& space, int32_t count) {
  if (count > space.rowLimit) count = space.rowLimit;
  int32_t refused = 0;
  CopyRow* const rows = space.rows;
  const int32_t ahead = count < headRows ? count : headRows;
  for (int32_t i = 0; i < ahead; i++) prefetchRow<toArena>(space, rows[i], 0, headBytes);
  for (int32_t i = 0; i < count; i++) {
    if (i + headRows < count) prefetchRow<toArena>(space, rows[i + headRows], 0, headBytes);
    if (i + restRows < count) prefetchRow<toArena>(space, rows[i + restRows], headBytes, restBytes);
    CopyRow& row = rows[i];
    const double offset = row.offset;
    const int64_t length = row.length;
    const int64_t arena = row.arena;
    const uint32_t region = static_cast<uint32_t>(row.region);
    // The comparison is false for NaN; below 2^53 the conversion and the sums can't overflow.
    if (offset >= 0 && offset < exactLimit && length >= 0 && arena >= 0 &&
        region < space.windowLimit && arena + length <= space.arenaBytes) {
      const RegionWindow window = space.windows[region];
      const int64_t at = static_cast<int64_t>(offset);
      if (static_cast<double>(at) == offset && at + length <= window.length) {
        uint8_t* const guest = window.base + at;
        uint8_t* const own = space.arena + arena;
        if (toArena) {
          copyBytes(own, guest, static_cast<size_t>(length));
        } else {
          const size_t bytes = static_cast<size_t>(length);
          const size_t header = headerBefore(reinterpret_cast<uintptr_t>(guest), bytes);
          if (header != 0) copyUnlessEqual(guest, own, header);
          copyBytes(guest + header, own + header, bytes - header);
        }
        continue;
      }
    }
    // What another VM left there must not go on in its stead.
    if (toArena && length >= 0 && arena >= 0 && arena + length <= space.arenaBytes) {
      memset(space.arena + arena, 0, static_cast<size_t>(length));
    }
    row.length = -1;
    refused++;
  }
  return refused;
}

}  // namespace

int32_t gatherRows(const CopySpace& space, int32_t count) { return carryOut<true>(space, count); }

int32_t deliverRows(const CopySpace& space, int32_t count) { return carryOut<false>(space, count); }

}  // namespace basewire
