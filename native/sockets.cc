// Unix stream sockets that carry descriptors (SCM_RIGHTS), and rtnetlink.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "arguments.h"
#include "environment.h"
#include "open-descriptor.h"
#include "passed.h"

namespace basewire {
namespace {

/** SCM_MAX_FD: the kernel passes no more in one message. */
constexpr int maxPassed = 253;

/** The socket address of a path; throws ENAMETOOLONG, or EINVAL for an empty path (which would mean "any name"). */
sockaddr_un addressOf(Napi::Env env, const std::string& path, const char* call) {
  sockaddr_un address = {};
  if (path.empty()) throw systemError(env, EINVAL, call);
  if (path.size() >= sizeof address.sun_path) throw systemError(env, ENAMETOOLONG, call, path);
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int streamSocket(Napi::Env env) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw systemError(env, errno, "socket");
  return fd;
}

/**
 * Gives the socket file at `path` exactly `mode`. bind() made it with mode & ~umask: never wider than asked, and nobody can
 * connect before listen(). Changing the umask instead would change it for all threads of the process. Goes through the
 * file itself (O_PATH | O_NOFOLLOW), so a link put in its place is not followed.
 */
bool setMode(const std::string& path, mode_t mode) {
  const OpenDescriptor file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat found;
  if (file.fd < 0 || fstat(file.fd, &found) != 0) return false;
  if (!S_ISSOCK(found.st_mode)) {
    errno = ENOTSOCK;
    return false;
  }
  if ((found.st_mode & 07777) == mode) return true;
  const std::string link = "/proc/self/fd/" + std::to_string(file.fd);
  return chmod(link.c_str(), mode) == 0;
}

/** unixListen(path, mode, backlog) */
Napi::Value unixListen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = text(info, 0, "the path");
  const mode_t mode = static_cast<mode_t>(integer(info, 1, "the mode", 0, 0777));
  const int backlog = integer(info, 2, "the backlog", 0, 65535);
  const sockaddr_un address = addressOf(env, path, "bind");
  OpenDescriptor listener(streamSocket(env));
  // The file takes the socket inode's mode when bind() makes it: it is never visible with a wider one.
  if (fchmod(listener.fd, mode) != 0) throw systemError(env, errno, "fchmod", path);
  if (bind(listener.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw systemError(env, errno, "bind", path);
  }
  if (!setMode(path, mode)) {
    const int error = errno;
    unlink(path.c_str());
    throw systemError(env, error, "chmod", path);
  }
  if (listen(listener.fd, backlog) != 0) {
    const int error = errno;
    unlink(path.c_str());
    throw systemError(env, error, "listen", path);
  }
  return Napi::Number::New(env, environmentOf(info).own.opened(listener.release()));
}

/** unixConnect(path) */
Napi::Value unixConnect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = text(info, 0, "the path");
  const sockaddr_un address = addressOf(env, path, "connect");
  OpenDescriptor connection(streamSocket(env));
  if (connect(connection.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw systemError(env, errno, "connect", path);
  }
  const int fd = environmentOf(info).own.opened(connection.release(), OwnDescriptors::From::connection);
  return Napi::Number::New(env, fd);
}

Napi::Value unixAccept(const Napi::CallbackInfo& info) {
  const int fd = accept4(descriptor(info, 0), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  const int error = errno;
  if (fd >= 0) environmentOf(info).own.opened(fd, OwnDescriptors::From::connection);
  const int answer = fd >= 0 ? fd : error == EAGAIN ? -1 : -error;
  return Napi::Number::New(info.Env(), answer);
}

Napi::Value unixPair(const Napi::CallbackInfo& info) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
    throw systemError(info.Env(), errno, "socketpair");
  }
  for (const int fd : fds) environmentOf(info).own.opened(fd);
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, Napi::Number::New(info.Env(), fds[0]));
  pair.Set(1u, Napi::Number::New(info.Env(), fds[1]));
  return pair;
}

Napi::Value peerCredentials(const Napi::CallbackInfo& info) {
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(descriptor(info, 0), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    throw systemError(info.Env(), errno, "getsockopt");
  }
  Napi::Object credentials = Napi::Object::New(info.Env());
  credentials.Set("pid", Napi::Number::New(info.Env(), peer.pid));
  credentials.Set("uid", Napi::Number::New(info.Env(), peer.uid));
  credentials.Set("gid", Napi::Number::New(info.Env(), peer.gid));
  return credentials;
}

/** socketError(fd) */
Napi::Value socketError(const Napi::CallbackInfo& info) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(descriptor(info, 0), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return Napi::Number::New(info.Env(), -error);
}

/** getsockopt of an int option of the socket level. */
int socketOption(const Napi::CallbackInfo& info, int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0) throw systemError(info.Env(), errno, "getsockopt");
  return value;
}

/** socketKind(fd) */
Napi::Value socketKind(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  Napi::Object kind = Napi::Object::New(info.Env());
  kind.Set("family", Napi::Number::New(info.Env(), socketOption(info, fd, SO_DOMAIN)));
  kind.Set("type", Napi::Number::New(info.Env(), socketOption(info, fd, SO_TYPE)));
  kind.Set("listens", Napi::Boolean::New(info.Env(), socketOption(info, fd, SO_ACCEPTCONN) != 0));
  sockaddr_storage peer;
  socklen_t size = sizeof peer;
  const bool connected = getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
  kind.Set("connected", Napi::Boolean::New(info.Env(), connected));
  return kind;
}

/** The part of a Uint8Array that arguments 1 (array), 2 (at) and 3 (length) name. */
iovec part(const Napi::CallbackInfo& info) {
  Napi::Uint8Array array = bytes(info, 1, "bytes");
  const int32_t at = integer(info, 2, "at", 0);
  const int32_t length = integer(info, 3, "length", 1);
  if (static_cast<size_t>(at) + static_cast<size_t>(length) > array.ByteLength()) {
    throw Napi::RangeError::New(info.Env(), "at + length is beyond the end of bytes");
  }
  return {array.Data() + at, static_cast<size_t>(length)};
}

/** receive(fd, bytes, at, length, fds) */
Napi::Value receive(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  iovec vector = part(info);
  Napi::Int32Array fds = integers(info, 4, "fds");
  if (fds.ElementLength() < 1) throw Napi::RangeError::New(info.Env(), "fds must hold at least its count");
  int32_t* const out = fds.Data();
  const size_t room = fds.ElementLength() - 1;
  out[0] = 0;

  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * maxPassed)];
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Napi::Number::New(info.Env(), -errno);

  int passed[maxPassed];
  size_t count = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < here && count < maxPassed; i++) {
      memcpy(&passed[count++], CMSG_DATA(header) + i * sizeof(int), sizeof(int));
    }
  }
  // MSG_CTRUNC: we ran out of descriptors, or a security module keeps one from us, as there is room for all that the kernel passes. MSG_TRUNC: a
  // netlink message is longer than `length`.
  if ((message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0 || count > room) {
    for (size_t i = 0; i < count; i++) closePassed(passed[i], -1);
    return Napi::Number::New(info.Env(), (message.msg_flags & MSG_CTRUNC) != 0 ? -EMFILE : -EMSGSIZE);
  }
  std::copy(passed, passed + count, out + 1);
  for (size_t i = 0; i < count; i++) environmentOf(info).own.opened(passed[i], OwnDescriptors::From::message);
  out[0] = static_cast<int32_t>(count);
  return Napi::Number::New(info.Env(), static_cast<double>(got));
}

/** send(fd, bytes, at, length, fds, fdCount) */
Napi::Value send(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info, 0);
  iovec vector = part(info);
  const int32_t count = integer(info, 5, "fdCount", 0, maxPassed);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * maxPassed)] = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (count > 0) {
    Napi::Int32Array fds = integers(info, 4, "fds");
    if (static_cast<size_t>(count) > fds.ElementLength()) {
      throw Napi::RangeError::New(info.Env(), "fds holds fewer than fdCount");
    }
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds.Data(), sizeof(int) * count);
  }
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return Napi::Number::New(info.Env(), sent >= 0 ? static_cast<double>(sent) : -errno);
}

/** netlinkOpen() */
Napi::Value netlinkOpen(const Napi::CallbackInfo& info) {
  OpenDescriptor netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (netlink.fd < 0) throw systemError(info.Env(), errno, "socket");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  if (bind(netlink.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw systemError(info.Env(), errno, "bind");
  }
  return Napi::Number::New(info.Env(), environmentOf(info).own.opened(netlink.release()));
}

}  // namespace

void addSockets(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "unixListen", wrapped<unixListen>, &environment);
  define(env, exports, "unixConnect", wrapped<unixConnect>, &environment);
  define(env, exports, "unixAccept", wrapped<unixAccept>, &environment);
  define(env, exports, "unixPair", wrapped<unixPair>, &environment);
  define(env, exports, "peerCredentials", wrapped<peerCredentials>, &environment);
  define(env, exports, "socketError", wrapped<socketError>, &environment);
  define(env, exports, "socketKind", wrapped<socketKind>, &environment);
  define(env, exports, "receive", wrapped<receive>, &environment);
  define(env, exports, "send", wrapped<send>, &environment);
  define(env, exports, "netlinkOpen", wrapped<netlinkOpen>, &environment);
}

}  // namespace basewire
