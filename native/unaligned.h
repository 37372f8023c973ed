// Moves of a constant size at any address. Plain C++, no Node-API.
#pragma once

#include <cstdint>
#include <cstring>

#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace basewire {

/** memcpy of a constant size is one move. */
template <typename T>
ALWAYS_INLINE T load(const uint8_t* from) {
  T value;
  memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
ALWAYS_INLINE void store(uint8_t* to, T value) {
  memcpy(to, &value, sizeof value);
}

}  // namespace basewire
