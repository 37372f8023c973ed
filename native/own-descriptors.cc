// Bookkeeping only: numbers, no policy.
#include "own-descriptors.h"

#include <unistd.h>

#include "passed.h"

namespace basewire {
namespace {

/** Owner of what a thread left. */
constexpr int32_t nobody = -1;

}  // namespace

OwnDescriptors::~OwnDescriptors() {
  for (size_t fd = 0; fd < open_.size(); fd++) {
    const int number = static_cast<int>(fd);
    if (open_[fd] == From::here) close(number);
    if (open_[fd] == From::message) closePassed(number, nobody);
    if (open_[fd] == From::connection) closeConnection(number, nobody);
  }
}

int OwnDescriptors::opened(int fd, From from) {
  if (!closes_ || fd < 0) return fd;
  const size_t index = static_cast<size_t>(fd);
  if (open_.size() <= index) open_.resize(index + 64);
  open_[index] = from;
  return fd;
}

void OwnDescriptors::closing(int fd) {
  const size_t index = static_cast<size_t>(fd);
  if (fd >= 0 && index < open_.size()) open_[index] = From::nowhere;
}

}  // namespace basewire
