// One thread for each owner that has something to close, as long as it has: nobody's waits behind another's.
#include "passed.h"

#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include "regions.h"

namespace basewire {
namespace {

struct Waiting {
  std::deque<int> descriptors;
  int32_t count = 0;  // with the one that is being closed
  bool works = false;
};

// Never destroyed: a thread may wait in close() while the process exits.
std::mutex& lock() {
  static std::mutex* const one = new std::mutex();
  return *one;
}
std::map<int32_t, Waiting>& waiting() {
  static auto* const all = new std::map<int32_t, Waiting>();
  return *all;
}

void work(int32_t owner) {
  for (;;) {
    int fd;
    {
      const std::lock_guard<std::mutex> guard(lock());
      Waiting& mine = waiting()[owner];
      if (mine.descriptors.empty()) {
        waiting().erase(owner);
        return;
      }
      fd = mine.descriptors.front();
      mine.descriptors.pop_front();
    }
    close(fd);
    const std::lock_guard<std::mutex> guard(lock());
    waiting()[owner].count--;
  }
}

void closeElsewhere(int fd, int32_t owner) {
  const std::lock_guard<std::mutex> guard(lock());
  Waiting& mine = waiting()[owner];
  mine.descriptors.push_back(fd);
  mine.count++;
  if (mine.works) return;
  try {
    std::thread(work, owner).detach();
    mine.works = true;
  } catch (const std::system_error&) {
    // No thread to be had now: it is closed with the next one.
  }
}

bool isEventfd(int fd) {
  char path[32];
  char name[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  static const char expected[] = "anon_inode:[eventfd]";
  const ssize_t length = readlink(path, name, sizeof name);
  return length == sizeof expected - 1 && memcmp(name, expected, sizeof expected - 1) == 0;
}

}  // namespace

void closePassed(int fd, int32_t owner) {
  if (isSharedMemory(fd) || isEventfd(fd)) close(fd);
  else closeElsewhere(fd, owner);
}

void closeConnection(int fd, int32_t owner) {
  shutdown(fd, SHUT_RDWR);  // nothing more can come after this
  int unread = 0;
  if (ioctl(fd, FIONREAD, &unread) == 0 && unread == 0) close(fd);
  else closeElsewhere(fd, owner);
}

int32_t closing(int32_t owner) {
  const std::lock_guard<std::mutex> guard(lock());
  const auto found = waiting().find(owner);
  return found == waiting().end() ? 0 : found->second.count;
}

}  // namespace basewire
