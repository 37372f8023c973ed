#include "sum.h"

#include <cstring>

#include "unaligned.h"

namespace basewire {
namespace {

/** Words in one register: SSE2's on x86-64, NEON's on arm64; and AVX2's. */
typedef uint32_t FourWords __attribute__((vector_size(16)));
typedef uint32_t EightWords __attribute__((vector_size(32)));

/** Bytes that are asked for before they are added: they were copied to the arena with all the others of the turn, and lie in the second cache. */
constexpr size_t ahead = 512;

/** `internetSum` with vectors of this type; inlined, so that the caller says for which processors. */
template <typename Words>
ALWAYS_INLINE uint32_t sumOf(const uint8_t* from, size_t length) {
  // Lower and upper halves of words apart: a lane is added to 4096 times at most, so it stays below 2^32.
  Words low[2] = {}, high[2] = {};
  size_t at = 0;
  for (; at + 2 * sizeof(Words) <= length; at += 2 * sizeof(Words)) {
    // Past the end it is only a hint.
    __builtin_prefetch(from + at + ahead);
    for (size_t part = 0; part < 2; part++) {
      Words words;
      memcpy(&words, from + at + part * sizeof(Words), sizeof words);
      low[part] += words & 0xffff;
      high[part] += words >> 16;
    }
  }
  const Words lanes = low[0] + high[0];
  const Words more = low[1] + high[1];
  uint64_t sum = 0;
  for (size_t lane = 0; lane < sizeof(Words) / sizeof(uint32_t); lane++) sum += uint64_t{lanes[lane]} + more[lane];
  // 2^16 is 1 in this arithmetic, so whole words may be added as well as halves.
  for (; at + sizeof(uint32_t) <= length; at += sizeof(uint32_t)) sum += load<uint32_t>(from + at);
  if ((length & 2) != 0) sum += load<uint16_t>(from + at);
  if ((length & 1) != 0) sum += from[length - 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

#if defined(__x86_64__)
/** On processors that have AVX2, for ranges that are long enough to gain by it. */
constexpr size_t wideFrom = 256;
__attribute__((target("avx2"))) uint32_t sumWide(const uint8_t* from, size_t length) { return sumOf<EightWords>(from, length); }

const bool isWide = __builtin_cpu_supports("avx2");
#endif

}  // namespace

uint32_t internetSum(const uint8_t* from, size_t length) {
#if defined(__x86_64__)
  if (isWide && length >= wideFrom) return sumWide(from, length);
#endif
  return sumOf<FourWords>(from, length);
}

int32_t sumRanges(const CopySpace& space, int32_t* ranges, int32_t count) {
  int32_t refused = 0;
  for (int32_t index = 0; index < count; index++) {
    int32_t* const range = ranges + 2 * size_t(index);
    const int64_t at = range[0];
    const int64_t length = range[1];
    if (at < 0 || length < 0 || length > maxSumBytes || at + length > space.arenaBytes) {
      range[0] = -1;
      refused++;
    } else {
      range[0] = static_cast<int32_t>(internetSum(space.arena + at, static_cast<size_t>(length)));
    }
  }
  return refused;
}

}  // namespace basewire
