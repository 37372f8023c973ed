// Memory that somebody else owns, mapped into this process: a front-end's shared files, a packet socket's rings.
//
// Plain C++, no Node-API. A region is mapped inside a larger reservation, so that an inaccessible page stands
// on both sides. Every region has a cell in one process-wide table, which is what the SIGBUS handler
// reads: whoever shares a file with us can truncate it later, and the next access then raises SIGBUS in
// whatever code happens to read, JavaScript included. The handler puts an anonymous zero page there and marks the
// cell; the access goes on and reads zeros.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace basewire {

constexpr uint32_t maxRegions = 65536;

/** On tmpfs or hugetlbfs: only they know seals. Asks no file system, as fstat would: that may be a process. */
bool isSharedMemory(int fd);

/** A mapping and its surroundings. */
struct Mapping {
  uint8_t* base = nullptr;      // the byte that the caller's offset named
  uint64_t length = 0;          // bytes from base that the caller asked for
  uint8_t* reserved = nullptr;  // the reservation: guard, mapping, guard
  size_t reservedBytes = 0;
};

/** Why a mapping failed: `refusal` (a RegionRefusal of src/native.ts), or `error` (errno) of `call`. */
struct MapFailure {
  const char* refusal = nullptr;
  int error = 0;
  const char* call = nullptr;
};

/**
 * Maps [offset, offset + length) of a front-end's file, read and write, and takes a handle for it.
 * Returns the handle, or -1 with `failure` filled in.
 */
int32_t mapFile(int fd, uint64_t offset, uint64_t length, Mapping& mapping, MapFailure& failure);

/** Maps a packet socket's rings, from offset 0, and takes a handle. */
int32_t mapRings(int fd, uint64_t length, Mapping& mapping, MapFailure& failure);

/** Gives the handle back and unmaps; what `owner` (-1: nobody) shared is unmapped by another thread. */
void unmap(int32_t handle, const Mapping& mapping, int32_t owner);

/** So many pages that the SIGBUS handler had replaced alone are unmapped: others may be. */
void pagesUnmapped(uint32_t pages);

/** Whether the handle's region has been hit by SIGBUS. */
bool isFaulted(int32_t handle);

/** How many regions of this process have been hit so far. The cell lives as long as the process. */
std::atomic<int32_t>* faultCount();

/** Anonymous memory with an inaccessible page on both sides, huge pages where the kernel likes, not in core dumps. */
bool mapAnonymous(uint64_t length, Mapping& mapping, MapFailure& failure);

void unmapAnonymous(const Mapping& mapping);

}  // namespace basewire
