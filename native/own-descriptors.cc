// Bookkeeping only: numbers, no policy.
#include "own-descriptors.h"

#include <unistd.h>

namespace basewire {

OwnDescriptors::~OwnDescriptors() {
  for (size_t fd = 0; fd < open_.size(); fd++) {
    if (open_[fd]) close(static_cast<int>(fd));
  }
}

int OwnDescriptors::opened(int fd) {
  if (!keeps_ || fd < 0) return fd;
  const size_t index = static_cast<size_t>(fd);
  if (open_.size() <= index) open_.resize(index + 64);
  open_[index] = true;
  return fd;
}

void OwnDescriptors::closing(int fd) {
  const size_t index = static_cast<size_t>(fd);
  if (fd >= 0 && index < open_.size()) open_[index] = false;
}

}  // namespace basewire
