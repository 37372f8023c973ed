// A descriptor that is closed on the way out, whatever happens, unless it is released.
#pragma once

#include <unistd.h>

namespace basewire {

struct OpenDescriptor {
  int fd;  // -1: none
  explicit OpenDescriptor(int opened) : fd(opened) {}
  ~OpenDescriptor() {
    if (fd >= 0) close(fd);
  }
  OpenDescriptor(const OpenDescriptor&) = delete;
  OpenDescriptor& operator=(const OpenDescriptor&) = delete;

  /** It is the caller's from here on. */
  int release() {
    const int opened = fd;
    fd = -1;
    return opened;
  }
};

}  // namespace basewire
