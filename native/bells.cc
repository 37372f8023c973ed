// See bells.h.
#include "bells.h"

#include <atomic>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace basewire {
namespace {

constexpr int32_t batch = 32;

/** Begin of the ring of completions, which the kernel maps at the context's address (fs/aio.c: struct aio_ring). */
struct CompletionRing {
  uint32_t id;
  uint32_t count;
  std::atomic<uint32_t> head;
  std::atomic<uint32_t> tail;
};

/** Adds 1 by write(2), not blocking unless the flag is taken away in the very moment. */
bool writeOne(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return false;
  if ((flags & O_NONBLOCK) == 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  const uint64_t one = 1;
  return write(fd, &one, sizeof one) == sizeof one;
}

}  // namespace

Bells::~Bells() {
  if (context != 0) syscall(SYS_io_destroy, context);
}

/** Sets AIO up and tries it; where it is not to be had (a system call filter, fs.aio-max-nr) the way is write(2). */
void Bells::open() {
  way = Way::write;
  if (syscall(SYS_io_setup, 2 * batch, &context) != 0) {
    context = 0;
    return;
  }
  const int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  uint64_t counted = 0;
  if (bell >= 0 && submit(&bell, 1) == 0 && read(bell, &counted, sizeof counted) == sizeof counted &&
      counted == 1) {
    way = Way::asynchronous;
  }
  if (bell >= 0) close(bell);
}

/** At most `batch` of them. */
int32_t Bells::submit(const int32_t* fds, int32_t count) {
  iocb requests[batch];
  iocb* pointers[batch];
  for (int32_t i = 0; i < count; i++) {
    // Reading less than 8 bytes of an eventfd fails at once, before the counter is looked at; and then it is signalled.
    iocb& request = requests[i];
    request = iocb{};
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<uint32_t>(fds[i]);
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = static_cast<uint32_t>(fds[i]);
    pointers[i] = &request;
  }
  int32_t failed = 0;
  for (int32_t done = 0; done < count;) {
    const long taken = syscall(SYS_io_submit, context, static_cast<long>(count - done), pointers + done);
    if (taken > 0) {
      done += static_cast<int32_t>(taken);
    } else {
      failed += !writeOne(fds[done]);  // the first of the rest is none, or the kernel has no memory for it now
      done++;
    }
  }
  // Nobody is interested in the completions, which are all there already.
  auto* const ring = reinterpret_cast<CompletionRing*>(context);
  ring->head.store(ring->tail.load(std::memory_order_acquire), std::memory_order_release);
  return failed;
}

int32_t Bells::ring(const int32_t* fds, int32_t count) {
  if (way == Way::unknown) open();
  int32_t failed = 0;
  if (way == Way::asynchronous) {
    for (int32_t at = 0; at < count; at += batch) {
      failed += submit(fds + at, count - at < batch ? count - at : batch);
    }
    return failed;
  }
  for (int32_t i = 0; i < count; i++) failed += !writeOne(fds[i]);
  return failed;
}

}  // namespace basewire
