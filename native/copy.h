// Batched copies between mapped regions and the arena.
//
// Plain C++, no Node-API: linked into the addon and into the fuzzer (native/fuzz/). A row says where in a
// region, where in the arena, how many bytes. Rows are written by our own TypeScript from numbers that
// guests chose, so every row is checked here again: this is the last line before memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace basewire {

/** One row of a copy list; layout fixed by COPY_ROW in src/native.ts. */
struct CopyRow {
  double offset;   // inside the region, an exact integer
  int32_t region;  // handle
  int32_t arena;   // byte offset inside the arena
  int32_t length;  // bytes; -1 after a refusal
  int32_t unused;
};
static_assert(sizeof(CopyRow) == 24, "the layout is shared with TypeScript");

/** Where a handle's bytes are in this thread. A handle that is not mapped here has length -1: no row fits. */
struct RegionWindow {
  uint8_t* base = nullptr;
  int64_t length = -1;
};

/** Everything the copies of one thread may touch. */
struct CopySpace {
  uint8_t* arena = nullptr;
  int64_t arenaBytes = 0;
  CopyRow* rows = nullptr;
  int32_t rowLimit = 0;
  const RegionWindow* windows = nullptr;  // indexed by handle
  uint32_t windowLimit = 0;
};

/** Carries out rows [0, count) region -> arena; returns how many were refused (their bytes in the arena are zeros). count is cut to rowLimit. */
int32_t gatherRows(const CopySpace& space, int32_t count);

/** The same, arena -> region. */
int32_t deliverRows(const CopySpace& space, int32_t count);

}  // namespace basewire
