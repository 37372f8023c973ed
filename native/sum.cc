#include "sum.h"

#include <cstring>

namespace basewire {
namespace {

/** Four words in one register (SSE2 on x86-64, NEON on arm64). */
typedef uint32_t Words __attribute__((vector_size(16)));

/** At any address: memcpy of a constant size is one move. */
template <typename T>
T load(const uint8_t* from) {
  T value;
  memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

uint32_t internetSum(const uint8_t* from, size_t length) {
  // Lower and upper halves of words apart: a lane is added to 4096 times at most, so it stays below 2^32.
  Words low[2] = {}, high[2] = {};
  size_t at = 0;
  for (; at + 2 * sizeof(Words) <= length; at += 2 * sizeof(Words)) {
    for (size_t part = 0; part < 2; part++) {
      const Words words = load<Words>(from + at + part * sizeof(Words));
      low[part] += words & 0xffff;
      high[part] += words >> 16;
    }
  }
  uint64_t sum = 0;
  for (size_t lane = 0; lane < 4; lane++) {
    sum += uint64_t{low[0][lane]} + low[1][lane] + high[0][lane] + high[1][lane];
  }
  // 2^16 is 1 in this arithmetic, so whole words may be added as well as halves.
  for (; at + sizeof(uint32_t) <= length; at += sizeof(uint32_t)) sum += load<uint32_t>(from + at);
  if ((length & 2) != 0) sum += load<uint16_t>(from + at);
  if ((length & 1) != 0) sum += from[length - 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
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
