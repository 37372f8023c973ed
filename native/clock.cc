// The turn worker's clock. A function that returned the time would leave a number on the heap with each call, and a worker that reads it in
// every round would be interrupted for collections; this one writes into a cell.
#include <ctime>

#include "arguments.h"
#include "environment.h"

namespace basewire {
namespace {

/** readClock(), called in every round, and readWorked(), twice for each round of requests: raw Node-API. */
template <clockid_t id, double Environment::*cell>
napi_value read(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  timespec now;
  clock_gettime(id, &now);
  static_cast<Environment*>(data)->*cell = static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
  return nullptr;
}

}  // namespace

void addClock(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "readClock", read<CLOCK_MONOTONIC, &Environment::clock>, &environment);
  exposeCell<Napi::Float64Array>(env, exports, "clock", &environment.clock);
  define(env, exports, "readWorked", read<CLOCK_THREAD_CPUTIME_ID, &Environment::worked>, &environment);
  exposeCell<Napi::Float64Array>(env, exports, "worked", &environment.worked);
}

}  // namespace basewire
