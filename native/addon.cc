// Entry: one state per thread that loads the addon, handed to every function; src/native.ts is the contract.
#include "environment.h"
#include "waiter.h"

namespace basewire {
namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* const environment = new Environment();
  // Runs after the last JavaScript of this thread, before its heap goes.
  napi_add_env_cleanup_hook(env, [](void* data) { delete static_cast<Environment*>(data); }, environment);
  addMemory(env, exports, *environment);
  addDescriptors(env, exports, *environment);
  addWaiter(env, exports, *environment);
  addSockets(env, exports, *environment);
  addPacket(env, exports, *environment);
  addClock(env, exports, *environment);
  addProcess(env, exports, *environment);
  return exports;
}

}  // namespace
}  // namespace basewire

static Napi::Object initBasewire(Napi::Env env, Napi::Object exports) { return basewire::init(env, exports); }

NODE_API_MODULE(basewire, initBasewire)
