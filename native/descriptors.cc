// Eventfds, memfds and single descriptors, and the function with which tests shrink a memory.
#include <algorithm>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arguments.h"
#include "environment.h"
#include "passed.h"
#include "regions.h"

namespace basewire {
namespace {

Napi::Value newEventfd(const Napi::CallbackInfo& info) {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) throw systemError(info.Env(), errno, "eventfd");
  return Napi::Number::New(info.Env(), environmentOf(info).own.opened(fd));
}

/** signal(fd): raw Node-API, once per ring and turn. */
napi_value signalOne(napi_env env, napi_callback_info info) {
  size_t arguments = 1;
  napi_value argument = nullptr;
  napi_value result = nullptr;
  void* data = nullptr;
  napi_get_cb_info(env, info, &arguments, &argument, nullptr, &data);
  const int32_t fd = descriptorOf(env, argument);
  napi_get_boolean(env, static_cast<Environment*>(data)->bells.ring(&fd, 1) == 0, &result);
  return result;
}

/** signalAll(fds, count): microseconds that it took */
napi_value signalAll(napi_env env, napi_callback_info info) {
  size_t arguments = 2;
  napi_value argument[2] = {nullptr, nullptr};
  napi_value result = nullptr;
  void* own = nullptr;
  napi_get_cb_info(env, info, &arguments, argument, nullptr, &own);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  int32_t count = 0;
  if (napi_get_typedarray_info(env, argument[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || napi_get_value_int32(env, argument[1], &count) != napi_ok || count < 0 ||
      static_cast<size_t>(count) > length) {
    napi_throw_type_error(env, nullptr, "signalAll needs an Int32Array and a count that it holds");
    return nullptr;
  }
  timespec begin;
  timespec end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  static_cast<Environment*>(own)->bells.ring(static_cast<const int32_t*>(data), count);
  clock_gettime(CLOCK_MONOTONIC, &end);
  const int64_t took = (end.tv_sec - begin.tv_sec) * 1'000'000 + (end.tv_nsec - begin.tv_nsec) / 1000;
  napi_create_int32(env, static_cast<int32_t>(std::min<int64_t>(took, INT32_MAX)), &result);
  return result;
}

Napi::Value drain(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  uint64_t count = 0;
  iovec vector = {&count, sizeof count};
  // RWF_NOWAIT: does not block even if somebody who shares the eventfd took O_NONBLOCK away.
  ssize_t got = preadv2(fd, &vector, 1, -1, RWF_NOWAIT);
  if (got < 0 && errno == EOPNOTSUPP) got = read(fd, &count, sizeof count);
  return Napi::Number::New(info.Env(), got == sizeof count ? static_cast<double>(count) : 0);
}

Napi::Value closeDescriptor(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  environmentOf(info).own.closing(fd);
  // After any error but EBADF the descriptor is gone (close(2)), so there is nothing to repeat.
  if (close(fd) != 0 && errno == EBADF) throw systemError(info.Env(), EBADF, "close");
  return info.Env().Undefined();
}

/** closePassed(fd, owner) and closeConnection(fd, owner) */
template <void (*closeIt)(int, int32_t)>
Napi::Value closeFor(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  const int32_t owner = integer(info, 1, "owner", 0);
  environmentOf(info).own.closing(fd);
  closeIt(fd, owner);
  return info.Env().Undefined();
}

Napi::Value countClosing(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), closing(integer(info, 0, "owner", 0)));
}

Napi::Value countUnmapping(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(unmapping(integer(info, 0, "owner", 0))));
}

Napi::Value sharedMemory(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), isSharedMemory(descriptor(info, 0)));
}

Napi::Value eventfdOrNot(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), isEventfd(descriptor(info, 0)));
}

Napi::Value duplicate(const Napi::CallbackInfo& info) {
  const int copy = fcntl(descriptor(info, 0), F_DUPFD_CLOEXEC, 3);
  if (copy < 0) throw systemError(info.Env(), errno, "fcntl");
  return Napi::Number::New(info.Env(), environmentOf(info).own.opened(copy));
}

Napi::Value setNonBlocking(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) throw systemError(info.Env(), errno, "fcntl");
  return info.Env().Undefined();
}

Napi::Value memfd(const Napi::CallbackInfo& info) {
  const std::string name = text(info, 0, "the name");
  const double length = number(info, 1, "bytes");
  const bool sealable = boolean(info, 2, "sealable");
  if (!exact(length)) throw Napi::RangeError::New(info.Env(), "bytes must be an integer from 0");
  const int fd = memfd_create(name.c_str(), MFD_CLOEXEC | (sealable ? MFD_ALLOW_SEALING : 0));
  if (fd < 0) throw systemError(info.Env(), errno, "memfd_create");
  if (ftruncate(fd, static_cast<off_t>(length)) != 0) {
    const int error = errno;
    close(fd);
    throw systemError(info.Env(), error, "ftruncate");
  }
  return Napi::Number::New(info.Env(), environmentOf(info).own.opened(fd));
}

Napi::Value truncate(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  const double length = number(info, 1, "bytes");
  if (!exact(length)) throw Napi::RangeError::New(info.Env(), "bytes must be an integer from 0");
  return Napi::Number::New(info.Env(), ftruncate(fd, static_cast<off_t>(length)) == 0 ? 0 : -errno);
}

}  // namespace

void addDescriptors(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "eventfd", wrapped<newEventfd>, &environment);
  define(env, exports, "signal", signalOne, &environment);
  define(env, exports, "signalAll", signalAll, &environment);
  define(env, exports, "drain", wrapped<drain>, &environment);
  define(env, exports, "closeDescriptor", wrapped<closeDescriptor>, &environment);
  define(env, exports, "closePassed", wrapped<closeFor<closePassed>>, &environment);
  define(env, exports, "closeConnection", wrapped<closeFor<closeConnection>>, &environment);
  define(env, exports, "closing", wrapped<countClosing>, &environment);
  define(env, exports, "unmapping", wrapped<countUnmapping>, &environment);
  define(env, exports, "isSharedMemory", wrapped<sharedMemory>, &environment);
  define(env, exports, "isEventfd", wrapped<eventfdOrNot>, &environment);
  define(env, exports, "duplicate", wrapped<duplicate>, &environment);
  define(env, exports, "setNonBlocking", wrapped<setNonBlocking>, &environment);
  define(env, exports, "memfd", wrapped<memfd>, &environment);
  define(env, exports, "truncate", wrapped<truncate>, &environment);
}

}  // namespace basewire
