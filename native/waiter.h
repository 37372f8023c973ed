// One epoll instance and the arrays it reports into.
#pragma once

#include <memory>

#include <sys/epoll.h>

namespace basewire {

/** Lives until its thread ends, because the functions of the JavaScript object point at it; close() frees the descriptor. */
struct WaiterState {
  int epoll = -1;
  int maxEvents = 0;
  std::unique_ptr<epoll_event[]> ready;
  std::unique_ptr<int32_t[]> pairs;  // the memory of `events`

  ~WaiterState();
};

}  // namespace basewire
