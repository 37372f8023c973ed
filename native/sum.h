// The internet checksum (RFC 1071) over ranges of the arena, many in one call. Plain C++, no Node-API.
#pragma once

#include <cstddef>
#include <cstdint>

#include "copy.h"

namespace basewire {

/** Longest range: what a datagram can be, so that no lane of a sum can overflow. */
constexpr int32_t maxSumBytes = 65536;

/**
 * The folded sum over `length` bytes, at most maxSumBytes, of halves as this little-endian machine reads them; an odd last byte counts
 * as if a zero followed.
 */
uint32_t internetSum(const uint8_t* from, size_t length);

/**
 * `ranges` holds `count` pairs: a byte offset in the arena, and a length. The sum takes the place of the offset; where the range is not inside
 * the arena, or longer than maxSumBytes, that becomes -1. Returns how many did.
 */
int32_t sumRanges(const CopySpace& space, int32_t* ranges, int32_t count);

}  // namespace basewire
