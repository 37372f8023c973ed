// One thread for each owner that has something to close, as long as it has: nobody's waits behind another's.
#include "passed.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include "regions.h"

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SEAL 0x0001
#define F_SEAL_SHRINK 0x0002
#endif

namespace basewire {
namespace {

/** A descriptor, which may be to be sealed first, or where `bytes` is not 0 a mapping. */
struct Item {
  int fd = -1;
  bool event = false;
  void* start = nullptr;
  size_t bytes = 0;
  uint32_t pages = 0;
  bool seal = false;
};

/** With so many items before it there is no seal. */
constexpr int32_t mostBeforeSeal = 32;
/** So many mappings wait where a VM with all its regions ends, or has them replaced: they don't count. */
constexpr int32_t usualUnmaps = 1024;
/** And so many eventfds: all rings' where a front-end goes, and twice what one message carries. */
constexpr int32_t usualEvents = 512;
/** Usually it is there at once; whoever makes us wait longer gets it later. */
constexpr std::chrono::milliseconds mostForSeal{5};

struct Waiting {
  std::deque<Item> items;
  int32_t count = 0;   // descriptors, with the one that is being closed
  int32_t events = 0;  // eventfds, likewise
  int32_t unmaps = 0;  // mappings, likewise
  uint64_t bytes = 0;  // of those
  int32_t seals = 0;   // that are to be added
  bool slow = false;   // one took too long
  bool works = false;
};

// Never destroyed: a thread may wait in close() while the process exits.
std::mutex& lock() {
  static std::mutex* const one = new std::mutex();
  return *one;
}
std::condition_variable& sealed() {
  static auto* const one = new std::condition_variable();
  return *one;
}
std::map<int32_t, Waiting>& waiting() {
  static auto* const all = new std::map<int32_t, Waiting>();
  return *all;
}

void work(int32_t owner) {
  for (;;) {
    Item item;
    {
      const std::lock_guard<std::mutex> guard(lock());
      Waiting& mine = waiting()[owner];
      if (mine.items.empty()) {
        // That it is slow stays known: else it could make us wait for each seal.
        if (mine.slow) mine.works = false;
        else waiting().erase(owner);
        return;
      }
      item = mine.items.front();
      mine.items.pop_front();
    }
    if (item.seal) fcntl(item.fd, F_ADD_SEALS, F_SEAL_SHRINK);
    if (item.bytes != 0) {
      munmap(item.start, item.bytes);
      pagesUnmapped(item.pages);
    } else {
      close(item.fd);
    }
    const std::lock_guard<std::mutex> guard(lock());
    Waiting& mine = waiting()[owner];
    if (item.bytes != 0) {
      mine.unmaps--;
      mine.bytes -= item.bytes;
    } else if (!item.seal) (item.event ? mine.events : mine.count)--;
    else if (--mine.seals == 0) sealed().notify_all();
  }
}

/** Has a thread close what waits. Called with the lock held. */
void begin(Waiting& mine, int32_t owner) {
  if (mine.works || mine.items.empty()) return;
  try {
    std::thread(work, owner).detach();
    mine.works = true;
  } catch (const std::system_error&) {
    // No thread to be had now: whoever asks how many wait tries again.
  }
}

void closeElsewhere(const Item& item, int32_t owner) {
  const std::lock_guard<std::mutex> guard(lock());
  Waiting& mine = waiting()[owner];
  mine.items.push_back(item);
  (item.bytes != 0 ? mine.unmaps : item.event ? mine.events : mine.count)++;
  mine.bytes += item.bytes;
  begin(mine, owner);
}

/** Memory whose pages are given back in no time, should this be its last descriptor. */
bool isSmallMemory(int fd) {
  struct stat file;
  return isSharedMemory(fd) && fstat(fd, &file) == 0 && static_cast<uint64_t>(file.st_blocks) * 512 <= smallBytes;
}

}  // namespace

bool isEventfd(int fd) {
  char path[32];
  char name[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  static const char expected[] = "anon_inode:[eventfd]";
  const ssize_t length = readlink(path, name, sizeof name);
  return length == sizeof expected - 1 && memcmp(name, expected, sizeof expected - 1) == 0;
}

void closePassed(int fd, int32_t owner) {
  if (isSmallMemory(fd)) close(fd);
  else closeElsewhere({fd, isEventfd(fd)}, owner);
}

void unmapElsewhere(void* start, size_t bytes, uint32_t pages, int32_t owner) {
  closeElsewhere({-1, false, start, bytes, pages}, owner);
}

void sealElsewhere(int fd, int32_t owner) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & (F_SEAL_SEAL | F_SEAL_SHRINK)) != 0) return;
  std::unique_lock<std::mutex> guard(lock());
  Waiting& mine = waiting()[owner];
  // Eventfds are closed in no time, but by an attacker, whose seal waits in vain.
  if (static_cast<int32_t>(mine.items.size()) - mine.events >= mostBeforeSeal) return;
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return;
  mine.items.push_back({copy, false, nullptr, 0, 0, true});
  mine.seals++;
  begin(mine, owner);
  if (mine.slow || !mine.works) return;
  const auto done = [owner] {
    const auto found = waiting().find(owner);
    return found == waiting().end() || found->second.seals == 0;
  };
  if (!sealed().wait_for(guard, mostForSeal, done)) waiting()[owner].slow = true;
}

void closeConnection(int fd, int32_t owner) {
  shutdown(fd, SHUT_RDWR);  // nothing more can come after this
  int unread = 0;
  if (ioctl(fd, FIONREAD, &unread) == 0 && unread == 0) close(fd);
  else closeElsewhere({fd}, owner);
}

int32_t closing(int32_t owner) {
  const std::lock_guard<std::mutex> guard(lock());
  const auto found = waiting().find(owner);
  if (found == waiting().end()) return 0;
  begin(found->second, owner);
  const Waiting& its = found->second;
  return its.count + std::max(0, its.events - usualEvents) + std::max(0, its.unmaps - usualUnmaps);
}

uint64_t unmapping(int32_t owner) {
  const std::lock_guard<std::mutex> guard(lock());
  const auto found = waiting().find(owner);
  return found == waiting().end() ? 0 : found->second.bytes;
}

}  // namespace basewire
