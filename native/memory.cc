// Regions, views and the arena, as JavaScript sees them. Here lives who may touch what: a handle counts
// only in the thread that mapped it, and a view is detached before its memory goes.
#include <cerrno>
#include <cmath>
#include <unistd.h>

#include "arguments.h"
#include "environment.h"
#include "passed.h"
#include "sum.h"
#include "waiter.h"

namespace basewire {

constexpr double maxViewBytes = 1073741824.0;  // 1 GiB: offsets stay int32

/** Only the main thread's number is the process's. */
Environment::Environment() : windows(maxRegions), own(gettid() != getpid()) {
  space.windows = windows.data();
  space.windowLimit = maxRegions;
}

/** Runs as a clean-up hook, when no JavaScript of this thread runs any more: views need no detaching. */
Environment::~Environment() {
  for (const auto& region : regions) {
    if (region) unmap(region->handle, region->mapping, region->owner);
  }
  if (arena.reserved != nullptr) unmapAnonymous(arena);
  if (rows.reserved != nullptr) unmapAnonymous(rows);
  // Then `own` closes what this thread left open: after the mappings, as a packet socket gives no ring up that is mapped.
}

namespace {

Napi::Error failureError(Napi::Env env, const MapFailure& failure) {
  if (failure.refusal != nullptr) return refusalError(env, failure.refusal);
  return systemError(env, failure.error, failure.call);
}

/** The region of a handle of this thread; throws RangeError for any other number. */
OwnedRegion& ownedRegion(const Napi::CallbackInfo& info) {
  Environment& environment = environmentOf(info);
  const int32_t handle = integer(info, 0, "the region", 0);
  const size_t index = static_cast<size_t>(handle);
  if (index >= environment.regions.size() || !environment.regions[index]) {
    throw Napi::RangeError::New(info.Env(), "no region of this thread has the handle " + std::to_string(handle));
  }
  return *environment.regions[index];
}

/** Notes a fresh mapping as this thread's. */
Napi::Value own(const Napi::CallbackInfo& info, int32_t handle, const Mapping& mapping, int32_t owner = -1) {
  Environment& environment = environmentOf(info);
  const size_t index = static_cast<size_t>(handle);
  auto region = std::make_unique<OwnedRegion>();
  region->handle = handle;
  region->mapping = mapping;
  region->owner = owner;
  if (environment.regions.size() <= index) environment.regions.resize(index + 1);
  environment.regions[index] = std::move(region);
  environment.windows[index] = {mapping.base, static_cast<int64_t>(mapping.length)};
  return Napi::Number::New(info.Env(), handle);
}

/** mapRegion(fd, offset, length, owner) */
Napi::Value mapRegion(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  const double offset = number(info, 1, "the offset");
  const double length = number(info, 2, "the length");
  if (!exact(offset) || !exact(length)) throw refusalError(info.Env(), "BAD_RANGE");
  const int32_t owner = info[3].IsUndefined() ? -1 : integer(info, 3, "owner", 0);
  Mapping mapping;
  MapFailure failure;
  const int32_t handle =
      mapFile(fd, static_cast<uint64_t>(offset), static_cast<uint64_t>(length), mapping, failure);
  if (handle < 0) throw failureError(info.Env(), failure);
  if (owner >= 0) sealElsewhere(fd, owner);
  return own(info, handle, mapping, owner);
}

/** mapPacketRings(fd, length) */
Napi::Value mapPacketRings(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  const double length = number(info, 1, "the length");
  if (!exact(length)) throw refusalError(info.Env(), "BAD_RANGE");
  Mapping mapping;
  MapFailure failure;
  const int32_t handle = mapRings(fd, static_cast<uint64_t>(length), mapping, failure);
  if (handle < 0) throw failureError(info.Env(), failure);
  return own(info, handle, mapping);
}

/** Forgets views that were collected, so that a region which is viewed again and again does not grow. */
void pruneViews(Napi::Env env, OwnedRegion& region) {
  size_t kept = 0;
  for (const napi_ref view : region.views) {
    napi_value value = nullptr;
    if (napi_get_reference_value(env, view, &value) == napi_ok && value != nullptr) {
      region.views[kept++] = view;
    } else {
      napi_delete_reference(env, view);
    }
  }
  region.views.resize(kept);
  region.pruneAt = 2 * kept + 64;
}

/** viewRegion(region, offset, length) */
Napi::Value viewRegion(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OwnedRegion& region = ownedRegion(info);
  const double offset = number(info, 1, "the offset");
  const double length = number(info, 2, "the length");
  if (!exact(offset) || !exact(length) || length < 1 || length > maxViewBytes ||
      offset + length > static_cast<double>(region.mapping.length)) {
    throw Napi::RangeError::New(env, "the view is empty, longer than 1 GiB, or not inside the region");
  }
  napi_value view = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, region.mapping.base + static_cast<uint64_t>(offset), static_cast<size_t>(length), nullptr, nullptr,
      &view);
  if (status == napi_no_external_buffers_allowed) {
    throw Napi::Error::New(env, "this JavaScript engine was built without external buffers (Electron's memory cage)");
  }
  if (status != napi_ok) throw Napi::Error::New(env);
  if (region.views.size() >= region.pruneAt) pruneViews(env, region);
  napi_ref reference = nullptr;
  if (napi_create_reference(env, view, 0, &reference) != napi_ok) throw Napi::Error::New(env);
  region.views.push_back(reference);
  environmentOf(info).views++;
  return Napi::Value(env, view);
}

/** unmapRegion(region) */
Napi::Value unmapRegion(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OwnedRegion& region = ownedRegion(info);
  for (const napi_ref reference : region.views) {
    napi_value view = nullptr;
    if (napi_get_reference_value(env, reference, &view) == napi_ok && view != nullptr) {
      bool detached = false;
      napi_is_detached_arraybuffer(env, view, &detached);
      // A view that stays attached would point at nothing: keep the memory rather than that.
      if (!detached && napi_detach_arraybuffer(env, view) != napi_ok) throw Napi::Error::New(env);
    }
  }
  for (const napi_ref reference : region.views) napi_delete_reference(env, reference);
  Environment& environment = environmentOf(info);
  const size_t index = static_cast<size_t>(region.handle);
  environment.windows[index] = RegionWindow{};
  unmap(region.handle, region.mapping, region.owner);
  environment.regions[index].reset();
  return env.Undefined();
}

/** takeFaultedRegions() */
Napi::Value takeFaultedRegions(const Napi::CallbackInfo& info) {
  Napi::Array handles = Napi::Array::New(info.Env());
  for (const auto& region : environmentOf(info).regions) {
    if (!region || region->reported || !isFaulted(region->handle)) continue;
    region->reported = true;
    handles.Set(handles.Length(), Napi::Number::New(info.Env(), region->handle));
  }
  return handles;
}

/** createArena(bytes, rows) */
Napi::Value createArena(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Environment& environment = environmentOf(info);
  if (environment.arena.reserved != nullptr) throw Napi::Error::New(env, "this thread has an arena");
  const int32_t length = integer(info, 0, "bytes", 1, 1 << 30);
  const int32_t rows = integer(info, 1, "rows", 1, 1 << 22);
  const size_t rowBytes = static_cast<size_t>(rows) * sizeof(CopyRow);
  Mapping arena;
  Mapping list;
  MapFailure failure;
  if (!mapAnonymous(static_cast<uint64_t>(length), arena, failure)) throw failureError(env, failure);
  if (!mapAnonymous(rowBytes, list, failure)) {
    unmapAnonymous(arena);
    throw failureError(env, failure);
  }
  environment.arena = arena;
  environment.rows = list;
  environment.space.arena = arena.base;
  environment.space.arenaBytes = length;
  environment.space.rows = reinterpret_cast<CopyRow*>(list.base);
  environment.space.rowLimit = rows;
  Napi::Object result = Napi::Object::New(env);
  result.Set("arena", Napi::ArrayBuffer::New(env, arena.base, static_cast<size_t>(length)));
  result.Set("rows", Napi::ArrayBuffer::New(env, list.base, rowBytes));
  return result;
}

/** gatherCopies(count) and deliverCopies(count): raw Node-API, the hot pair. */
template <int32_t (*carryOut)(const CopySpace&, int32_t)>
napi_value copies(napi_env env, napi_callback_info info) {
  size_t arguments = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  int32_t count = 0;
  napi_value result = nullptr;
  napi_get_cb_info(env, info, &arguments, &argument, nullptr, &data);
  if (napi_get_value_int32(env, argument, &count) != napi_ok) {
    napi_throw_type_error(env, nullptr, "count must be a number");
    return nullptr;
  }
  const CopySpace& space = static_cast<Environment*>(data)->space;
  if (count < 0 || count > space.rowLimit) {
    napi_throw_range_error(env, nullptr, "count must be from 0 to the number of rows");
    return nullptr;
  }
  napi_create_int32(env, carryOut(space, count), &result);
  return result;
}

/** sumRanges(ranges, count): raw Node-API. */
napi_value sums(napi_env env, napi_callback_info info) {
  size_t arguments = 2;
  napi_value argument[2] = {nullptr, nullptr};
  void* own = nullptr;
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  int32_t count = 0;
  napi_value result = nullptr;
  napi_get_cb_info(env, info, &arguments, argument, nullptr, &own);
  if (napi_get_typedarray_info(env, argument[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || napi_get_value_int32(env, argument[1], &count) != napi_ok || count < 0 ||
      static_cast<size_t>(count) > length / 2) {
    napi_throw_type_error(env, nullptr, "sumRanges needs an Int32Array of pairs and a count that it holds");
    return nullptr;
  }
  napi_create_int32(env, sumRanges(static_cast<Environment*>(own)->space, static_cast<int32_t*>(data), count), &result);
  return result;
}

}  // namespace

void addMemory(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "mapRegion", wrapped<mapRegion>, &environment);
  define(env, exports, "mapPacketRings", wrapped<mapPacketRings>, &environment);
  define(env, exports, "viewRegion", wrapped<viewRegion>, &environment);
  define(env, exports, "unmapRegion", wrapped<unmapRegion>, &environment);
  define(env, exports, "takeFaultedRegions", wrapped<takeFaultedRegions>, &environment);
  define(env, exports, "createArena", wrapped<createArena>, &environment);
  define(env, exports, "gatherCopies", copies<gatherRows>, &environment);
  define(env, exports, "deliverCopies", copies<deliverRows>, &environment);
  define(env, exports, "sumRanges", sums, &environment);
  exposeCell<Napi::Int32Array>(env, exports, "faults", faultCount());
  exposeCell<Napi::Int32Array>(env, exports, "views", &environment.views);
}

}  // namespace basewire
