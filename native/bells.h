// Signalling eventfds that front-ends passed to us, without ever blocking.
//
// write(2) to an eventfd blocks when its counter is full and O_NONBLOCK is not set, and both are in the hands of whoever passed
// it: the counter is shared, and so are the flags, which can be changed back right after we set them. The kernel
// itself signals an eventfd without blocking, and Linux AIO lets us ask for that: a request that ends at once and names
// the eventfd as what is to be signalled at its end (IOCB_FLAG_RESFD). It takes nothing but an eventfd, and several
// with one system call. Measured on Linux 6.18: 470 ns for one, 317 each for eight; write(2) 205, with O_NONBLOCK set anew 370.
#pragma once

#include <cstdint>

namespace basewire {

class Bells {
 public:
  Bells() = default;
  ~Bells();
  Bells(const Bells&) = delete;
  Bells& operator=(const Bells&) = delete;

  /** Adds 1 to each of fds[0..count); how many were no eventfds. A full counter is as good as signalled. */
  int32_t ring(const int32_t* fds, int32_t count);

 private:
  void open();
  int32_t submit(const int32_t* fds, int32_t count);

  enum class Way { unknown, asynchronous, write };
  Way way = Way::unknown;
  unsigned long context = 0;  // aio_context_t: also the address of its ring
};

}  // namespace basewire
