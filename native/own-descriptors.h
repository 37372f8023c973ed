// The descriptors that a thread opened and has not closed. Node does not know them, so it closes none of them when the thread
// ends, and whoever is at their other end would wait for ever. The environment of a worker closes what is left when it goes.
#pragma once

#include <cstdint>
#include <vector>

namespace basewire {

class OwnDescriptors {
 public:
  /** `closes`: whether what is left is closed in the end. The main thread ends with its process: nothing is left of it. */
  explicit OwnDescriptors(bool closes) : closes_(closes) {}
  ~OwnDescriptors();
  OwnDescriptors(const OwnDescriptors&) = delete;
  OwnDescriptors& operator=(const OwnDescriptors&) = delete;

  /** Where a descriptor comes from: what others passed or connected may not be waited for when it is closed (passed.h). */
  enum class From : uint8_t { nowhere, here, message, connection };

  /** A descriptor of this thread from here on; returns it. */
  int opened(int fd, From from = From::here);

  /** No longer: call before it is closed, as another thread may get its number at once. */
  void closing(int fd);

 private:
  const bool closes_;
  std::vector<From> open_;  // by number
};

}  // namespace basewire
