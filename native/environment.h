// What the addon knows per thread that loaded it (Node-API environment). Reaches each function as its data pointer. Of the process as
// a whole there are only the table of regions (regions.cc), what waits to be closed (passed.cc), and that epoll_pwait2 is missing (waiter.cc).
#pragma once

#include <memory>
#include <vector>

#include <napi.h>

#include "bells.h"
#include "copy.h"
#include "own-descriptors.h"
#include "regions.h"

namespace basewire {

struct WaiterState;

/** A region that this thread mapped. */
struct OwnedRegion {
  int32_t handle = -1;
  Mapping mapping;
  int32_t owner = -1;              // who shared it with us
  bool reported = false;           // by takeFaultedRegions
  std::vector<napi_ref> views;     // weak; what unmapRegion detaches
  size_t pruneAt = 64;             // sweep dead references when there are that many
};

struct Environment {
  CopySpace space;
  std::vector<RegionWindow> windows;  // by handle; fixed size
  std::vector<std::unique_ptr<OwnedRegion>> regions;  // by handle; grown by need
  Bells bells;
  OwnDescriptors own;
  Mapping arena;
  Mapping rows;
  double clock = 0;                                   // what readClock writes
  double worked = 0;                                  // what readWorked writes
  int32_t views = 0;                                  // made by viewRegion
  std::vector<std::unique_ptr<WaiterState>> waiters;

  Environment();
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

inline Environment& environmentOf(const Napi::CallbackInfo& info) {
  return *static_cast<Environment*>(info.Data());
}

/** Makes a number of ours a property of `exports`: an array of one that is this very memory, which must live as long as `exports` does. */
template <typename Array, typename T>
void exposeCell(Napi::Env env, Napi::Object exports, const char* name, T* cell) {
  exports.Set(name, Array::New(env, 1, Napi::ArrayBuffer::New(env, cell, sizeof *cell), 0));
}

// Each adds its functions to `exports`.
void addMemory(Napi::Env env, Napi::Object exports, Environment& environment);
void addDescriptors(Napi::Env env, Napi::Object exports, Environment& environment);
void addWaiter(Napi::Env env, Napi::Object exports, Environment& environment);
void addSockets(Napi::Env env, Napi::Object exports, Environment& environment);
void addPacket(Napi::Env env, Napi::Object exports, Environment& environment);
void addClock(Napi::Env env, Napi::Object exports, Environment& environment);
void addProcess(Napi::Env env, Napi::Object exports, Environment& environment);

}  // namespace basewire
