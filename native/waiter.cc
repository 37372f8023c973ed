// The one place where the addon blocks: epoll with microseconds.
#include "waiter.h"

#include <atomic>
#include <cerrno>
#include <ctime>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"
#include "environment.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441  // Linux 5.11; the same number on every architecture
#endif

namespace basewire {

WaiterState::~WaiterState() {
  if (epoll >= 0) close(epoll);
}

namespace {

WaiterState& stateOf(const Napi::CallbackInfo& info) {
  WaiterState& state = *static_cast<WaiterState*>(info.Data());
  if (state.epoll < 0) throw Napi::Error::New(info.Env(), "the waiter is closed");
  return state;
}

Napi::Value control(const Napi::CallbackInfo& info, int operation) {
  WaiterState& state = stateOf(info);
  const int fd = descriptor(info, 0);
  epoll_event event = {};
  event.data.u32 = static_cast<uint32_t>(integer(info, 1, "the token"));
  event.events = static_cast<uint32_t>(integer(info, 2, "events", 0)) & ~static_cast<uint32_t>(EPOLLET);
  if (boolean(info, 3, "edge")) event.events |= static_cast<uint32_t>(EPOLLET);
  if (epoll_ctl(state.epoll, operation, fd, &event) != 0) throw systemError(info.Env(), errno, "epoll_ctl");
  return info.Env().Undefined();
}

Napi::Value add(const Napi::CallbackInfo& info) { return control(info, EPOLL_CTL_ADD); }

Napi::Value modify(const Napi::CallbackInfo& info) { return control(info, EPOLL_CTL_MOD); }

Napi::Value remove(const Napi::CallbackInfo& info) {
  WaiterState& state = stateOf(info);
  epoll_event unused = {};
  // Whatever the reason, afterwards it is not watched.
  epoll_ctl(state.epoll, EPOLL_CTL_DEL, descriptor(info, 0), &unused);
  return info.Env().Undefined();
}

Napi::Value closeWaiter(const Napi::CallbackInfo& info) {
  WaiterState& state = *static_cast<WaiterState*>(info.Data());
  if (state.epoll >= 0) close(state.epoll);
  state.epoll = -1;
  return info.Env().Undefined();
}

/** epoll_pwait2 for microseconds; where the kernel or a filter refuses it, milliseconds rounded up. */
int waitFor(WaiterState& state, int32_t microseconds) {
  static std::atomic<bool> fine{true};
  if (microseconds <= 0) {
    return epoll_wait(state.epoll, state.ready.get(), state.maxEvents, microseconds < 0 ? -1 : 0);
  }
  if (fine.load(std::memory_order_relaxed)) {
    struct timespec timeout = {microseconds / 1'000'000, (microseconds % 1'000'000) * 1000};
    const long ready = syscall(SYS_epoll_pwait2, state.epoll, state.ready.get(), state.maxEvents, &timeout,
                               nullptr, size_t{0});
    if (ready >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(ready);
    fine.store(false, std::memory_order_relaxed);
  }
  return epoll_wait(state.epoll, state.ready.get(), state.maxEvents,
                    microseconds / 1000 + (microseconds % 1000 != 0));
}

/** wait(microseconds): raw Node-API, because a polling worker looks here between turns. */
napi_value wait(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  int32_t microseconds = 0;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  if (napi_get_value_int32(env, argument, &microseconds) != napi_ok) {
    napi_throw_type_error(env, nullptr, "microseconds must be a number");
    return nullptr;
  }
  WaiterState& state = *static_cast<WaiterState*>(data);
  if (state.epoll < 0) {
    napi_throw_error(env, nullptr, "the waiter is closed");
    return nullptr;
  }
  int ready = waitFor(state, microseconds);
  if (ready < 0) ready = 0;  // EINTR: our descriptor and array are good
  for (int i = 0; i < ready; i++) {
    state.pairs[2 * i] = static_cast<int32_t>(state.ready[i].data.u32);
    state.pairs[2 * i + 1] = static_cast<int32_t>(state.ready[i].events);
  }
  napi_value result = nullptr;
  napi_create_int32(env, ready, &result);
  return result;
}

/** createWaiter(maxEvents) */
Napi::Value createWaiter(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto state = std::make_unique<WaiterState>();
  state->maxEvents = integer(info, 0, "maxEvents", 1, 65536);
  state->ready = std::make_unique<epoll_event[]>(state->maxEvents);
  state->pairs = std::make_unique<int32_t[]>(2 * state->maxEvents);
  state->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (state->epoll < 0) throw systemError(env, errno, "epoll_create1");

  const size_t count = 2 * static_cast<size_t>(state->maxEvents);
  const Napi::ArrayBuffer memory = Napi::ArrayBuffer::New(env, state->pairs.get(), count * sizeof(int32_t));
  Napi::Object waiter = Napi::Object::New(env);
  waiter.Set("events", Napi::Int32Array::New(env, count, memory, 0));
  void* const data = state.get();
  environmentOf(info).waiters.push_back(std::move(state));
  define(env, waiter, "add", wrapped<add>, data);
  define(env, waiter, "modify", wrapped<modify>, data);
  define(env, waiter, "remove", wrapped<remove>, data);
  define(env, waiter, "wait", wait, data);
  define(env, waiter, "close", wrapped<closeWaiter>, data);
  return waiter;
}

}  // namespace

void addWaiter(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "createWaiter", wrapped<createWaiter>, &environment);
}

}  // namespace basewire
