// Mapping, the table of regions, and the SIGBUS handler. Everything that the handler reads is a lock-free
// atomic of static storage; it calls nothing but mmap and sigaction, both async-signal-safe.
#include "regions.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <mutex>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "passed.h"

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

namespace basewire {
namespace {

constexpr uint64_t tmpfsMagic = 0x01021994;
constexpr uint64_t hugetlbfsMagic = 0x958458f6;
constexpr uint64_t hugePage = 2u << 20;
/**
 * Faults after which a whole region is replaced: each page that is replaced alone makes two mappings more, and of those a process may have
 * vm.max_map_count only, 65530 mostly. So of one region, and of all regions together: a front-end may share hundreds.
 */
constexpr uint32_t maxFaultsByPage = 1024;
constexpr uint32_t maxPagesInAll = 4096;

/**
 * One region as the handler sees it. Written only by the thread that owns the handle. `end` is 0 while the
 * cell is free or changing; a reader takes `end`, `start`, `end` and believes them when both ends are equal.
 */
struct Cell {
  std::atomic<uintptr_t> start;
  std::atomic<uintptr_t> end;
  std::atomic<uintptr_t> pageBytes;
  std::atomic<uint32_t> faults;
  std::atomic<uint32_t> pages;  // replaced alone
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free, "the signal handler needs lock-free cells");
static_assert(std::atomic<int32_t>::is_always_lock_free && sizeof(std::atomic<int32_t>) == 4,
              "JavaScript reads the count as an Int32");

// Process-wide, because a signal handler is. Zero at start, no destructors.
Cell cells[maxRegions];
std::atomic<uint32_t> cellsUsed{0};  // no cell at or above was ever taken
std::atomic<uint32_t> pagesInAll{0};
alignas(64) std::atomic<int32_t> faultedRegions{0};
struct sigaction previousAction;

/** Which handles are taken; only ever touched under the lock, never by the handler. */
std::mutex& tableLock() {
  static std::mutex* const lock = new std::mutex();  // never destroyed: threads may outlive exit()
  return *lock;
}
bool taken[maxRegions];
uint32_t lowestFree = 0;

/** Replaces [from, from + bytes) by zeros. */
bool putZeros(uintptr_t from, size_t bytes) {
  void* const want = reinterpret_cast<void*>(from);
  return mmap(want, bytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == want;
}

/** Whether one more page of the region may be replaced alone. */
bool takePage(Cell& cell) {
  if (cell.pages.load(std::memory_order_relaxed) >= maxFaultsByPage) return false;
  if (pagesInAll.fetch_add(1, std::memory_order_relaxed) >= maxPagesInAll) {
    pagesInAll.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  cell.pages.fetch_add(1, std::memory_order_relaxed);
  return true;
}

/** Mends the page under `address` if it belongs to a region. */
bool mend(uintptr_t address) {
  const uint32_t used = cellsUsed.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used; i++) {
    Cell& cell = cells[i];
    const uintptr_t end = cell.end.load(std::memory_order_acquire);
    if (address >= end) continue;
    const uintptr_t start = cell.start.load(std::memory_order_acquire);
    const uintptr_t pageBytes = cell.pageBytes.load(std::memory_order_acquire);
    if (address < start || cell.end.load(std::memory_order_acquire) != end) continue;
    const uint32_t before = cell.faults.fetch_add(1, std::memory_order_acq_rel);
    const uintptr_t page = address & ~(pageBytes - 1);
    const bool byPage = takePage(cell) && putZeros(page, pageBytes);
    if (!byPage) {
      if (!putZeros(start, end - start)) return false;
      // One mapping again.
      pagesInAll.fetch_sub(cell.pages.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
    }
    if (before == 0) faultedRegions.fetch_add(1, std::memory_order_acq_rel);
    return true;
  }
  return false;
}

/** What would have happened without us: the handler that was there before, or death with the true address. */
void passOn(int signal, siginfo_t* info, void* context) {
  if (previousAction.sa_flags & SA_SIGINFO) {
    previousAction.sa_sigaction(signal, info, context);
    return;
  }
  if (previousAction.sa_handler == SIG_IGN && info->si_code <= 0) return;
  if (previousAction.sa_handler != SIG_DFL && previousAction.sa_handler != SIG_IGN) {
    previousAction.sa_handler(signal);
    return;
  }
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  // A fault comes again as soon as we return; a signal that a process sent does not.
  if (info->si_code <= 0) raise(signal);
}

void onBusError(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  // BUS_MCEERR_AO and kill() name no access of ours; the others do.
  const bool access = info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR;
  if (!access || !mend(reinterpret_cast<uintptr_t>(info->si_addr))) passOn(signal, info, context);
  errno = saved;
}

/** Once per process, at the first region. */
void installHandler() {
  static std::atomic<bool> installed{false};
  if (installed.exchange(true)) return;
  struct sigaction action = {};
  action.sa_sigaction = onBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, nullptr, &previousAction);  // filled before our handler can run
  sigaction(SIGBUS, &action, nullptr);
}

int32_t fail(MapFailure& failure, const char* call) {
  failure.error = errno;
  failure.call = call;
  return -1;
}

int32_t refuse(MapFailure& failure, const char* refusal) {
  failure.refusal = refusal;
  return -1;
}

uint64_t systemPage() {
  static const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

/**
 * Reserves inaccessible address space with room for `bytes` at an address that is congruent to `offset` modulo
 * `align` (so that huge pages can be used), and at least one system page before and behind.
 */
uint8_t* reserve(uint64_t bytes, uint64_t align, uint64_t offset, Mapping& mapping) {
  const uint64_t guard = systemPage();
  const uint64_t total = bytes + align + 2 * guard;
  void* const all = mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  mapping.reserved = static_cast<uint8_t*>(all);
  mapping.reservedBytes = total;
  const uintptr_t lowest = reinterpret_cast<uintptr_t>(all) + guard;
  return mapping.reserved + guard + ((offset - lowest) & (align - 1));
}

void release(Mapping& mapping) {
  const int saved = errno;
  munmap(mapping.reserved, mapping.reservedBytes);
  mapping = Mapping{};
  errno = saved;
}

/** Takes the lowest free handle and shows the region to the handler. */
int32_t takeHandle(uintptr_t start, uint64_t bytes, uint64_t pageBytes) {
  const std::lock_guard<std::mutex> guard(tableLock());
  uint32_t handle = lowestFree;
  while (handle < maxRegions && taken[handle]) handle++;
  if (handle == maxRegions) {
    errno = ENFILE;
    return -1;
  }
  taken[handle] = true;
  lowestFree = handle + 1;
  Cell& cell = cells[handle];
  cell.faults.store(0, std::memory_order_relaxed);
  cell.pages.store(0, std::memory_order_relaxed);
  cell.pageBytes.store(pageBytes, std::memory_order_relaxed);
  cell.start.store(start, std::memory_order_release);
  cell.end.store(start + bytes, std::memory_order_release);
  if (handle >= cellsUsed.load(std::memory_order_relaxed)) {
    cellsUsed.store(handle + 1, std::memory_order_release);
  }
  return static_cast<int32_t>(handle);
}

/** Maps `bytes` of fd from `offset`, both multiples of pageBytes, and takes a handle. */
int32_t mapShared(int fd, uint64_t offset, uint64_t bytes, uint64_t pageBytes, Mapping& mapping,
                  MapFailure& failure) {
  const uint64_t align = bytes >= hugePage && pageBytes < hugePage ? hugePage : pageBytes;
  uint8_t* const start = reserve(bytes, align, offset, mapping);
  if (start == nullptr) return fail(failure, "mmap");
  if (mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
           static_cast<off_t>(offset)) == MAP_FAILED) {
    release(mapping);
    // Sealed against writing: the same answer as a descriptor that is not open for it.
    if (errno == EPERM || errno == EACCES) return refuse(failure, "READ_ONLY");
    return fail(failure, "mmap");
  }
  madvise(start, bytes, MADV_DONTDUMP);
  installHandler();
  const int32_t handle = takeHandle(reinterpret_cast<uintptr_t>(start), bytes, pageBytes);
  if (handle < 0) {
    release(mapping);
    return fail(failure, "mmap");
  }
  mapping.base = start;
  return handle;
}

}  // namespace

bool isSharedMemory(int fd) { return fcntl(fd, F_GET_SEALS) >= 0; }

int32_t mapFile(int fd, uint64_t offset, uint64_t length, Mapping& mapping, MapFailure& failure) {
  if (length == 0 || length > INT64_MAX || offset > INT64_MAX - length) {
    return refuse(failure, "BAD_RANGE");
  }
  if (!isSharedMemory(fd)) return errno == EBADF ? fail(failure, "fcntl") : refuse(failure, "NOT_MEMORY");
  struct stat file;
  struct statfs system;
  if (fstat(fd, &file) != 0) return fail(failure, "fstat");
  if (!S_ISREG(file.st_mode)) return refuse(failure, "NOT_MEMORY");
  if (fstatfs(fd, &system) != 0) return fail(failure, "fstatfs");
  const uint64_t kind = static_cast<uint64_t>(system.f_type) & 0xffffffffu;
  if (kind != tmpfsMagic && kind != hugetlbfsMagic) return refuse(failure, "NOT_MEMORY");
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return fail(failure, "fcntl");
  if ((flags & O_ACCMODE) != O_RDWR) return refuse(failure, "READ_ONLY");
  // It may shrink afterwards, before it is sealed (passed.h): then SIGBUS is caught.
  if (offset + length > static_cast<uint64_t>(file.st_size)) return refuse(failure, "PAST_END");

  const uint64_t pageBytes =
      kind == hugetlbfsMagic ? static_cast<uint64_t>(system.f_bsize) : systemPage();
  const uint64_t first = offset & ~(pageBytes - 1);
  const uint64_t past = (offset + length + pageBytes - 1) & ~(pageBytes - 1);
  const int32_t handle = mapShared(fd, first, past - first, pageBytes, mapping, failure);
  if (handle < 0) return -1;
  mapping.base += offset - first;
  mapping.length = length;
  return handle;
}

int32_t mapRings(int fd, uint64_t length, Mapping& mapping, MapFailure& failure) {
  const uint64_t pageBytes = systemPage();
  if (length == 0 || length > INT64_MAX || length % pageBytes != 0) {
    return refuse(failure, "BAD_RANGE");
  }
  int domain = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return fail(failure, "getsockopt");
  if (domain != AF_PACKET) return refuse(failure, "NOT_MEMORY");
  const int32_t handle = mapShared(fd, 0, length, pageBytes, mapping, failure);
  if (handle >= 0) mapping.length = length;
  return handle;
}

void unmap(int32_t handle, const Mapping& mapping, int32_t owner) {
  const std::lock_guard<std::mutex> guard(tableLock());
  const uint32_t index = static_cast<uint32_t>(handle);
  cells[index].end.store(0, std::memory_order_release);
  const uint32_t pages = cells[index].pages.load(std::memory_order_relaxed);
  if (owner >= 0) {
    unmapElsewhere(mapping.reserved, mapping.reservedBytes, pages, owner);
  } else {
    munmap(mapping.reserved, mapping.reservedBytes);
    pagesUnmapped(pages);
  }
  taken[index] = false;
  if (index < lowestFree) lowestFree = index;
}

void pagesUnmapped(uint32_t pages) { pagesInAll.fetch_sub(pages, std::memory_order_relaxed); }

bool isFaulted(int32_t handle) {
  return cells[handle].faults.load(std::memory_order_acquire) != 0;
}

std::atomic<int32_t>* faultCount() { return &faultedRegions; }

bool mapAnonymous(uint64_t length, Mapping& mapping, MapFailure& failure) {
  const uint64_t page = systemPage();
  const uint64_t bytes = (length + page - 1) & ~(page - 1);
  uint8_t* const start = reserve(bytes, bytes >= hugePage ? hugePage : page, 0, mapping);
  if (start == nullptr) return fail(failure, "mmap") == 0;
  if (mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
      MAP_FAILED) {
    release(mapping);
    return fail(failure, "mmap") == 0;
  }
  madvise(start, bytes, MADV_HUGEPAGE);
  madvise(start, bytes, MADV_DONTDUMP);
  mapping.base = start;
  mapping.length = length;
  return true;
}

void unmapAnonymous(const Mapping& mapping) { munmap(mapping.reserved, mapping.reservedBytes); }

}  // namespace basewire
