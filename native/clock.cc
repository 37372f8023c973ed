// The turn worker's clock. A function that returned the time would leave a number on the heap with each call, and a worker that reads it in
// every round would be interrupted for collections; this one writes into a cell.
#include <ctime>

#include "arguments.h"
#include "environment.h"

namespace basewire {
namespace {

/** readClock(): raw Node-API, called in every round. */
napi_value readClock(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  static_cast<Environment*>(data)->clock = static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
  return nullptr;
}

/** readWorked(): raw Node-API, twice for each round of requests. */
napi_value readWorked(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  timespec worked;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &worked);
  static_cast<Environment*>(data)->worked = static_cast<double>(worked.tv_sec) * 1e3 + static_cast<double>(worked.tv_nsec) * 1e-6;
  return nullptr;
}

}  // namespace

void addClock(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "readClock", readClock, &environment);
  const Napi::ArrayBuffer cell = Napi::ArrayBuffer::New(env, &environment.clock, sizeof(double));
  exports.Set("clock", Napi::Float64Array::New(env, 1, cell, 0));
  define(env, exports, "readWorked", readWorked, &environment);
  const Napi::ArrayBuffer worked = Napi::ArrayBuffer::New(env, &environment.worked, sizeof(double));
  exports.Set("worked", Napi::Float64Array::New(env, 1, worked, 0));
}

}  // namespace basewire
