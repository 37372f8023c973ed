// Fuzzer of the unsafe core (copy.cc, regions.cc) without Node: random rows, good and bad, against regions between guard
// pages, compared with a plain model byte by byte; now and then a file shrinks underneath, as a hostile front-end would do it.
//
//     copies SEED BATCHES        prints a line and exits 0, or says what went wrong and exits 1
//     copies huge                the same file shrinking on hugetlbfs; exits 77 when no huge pages are free
//
// Built and run by test/native/fuzz.test.ts with AddressSanitizer and UndefinedBehaviorSanitizer.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "../copy.h"
#include "../regions.h"

using namespace basewire;

namespace {

constexpr int64_t arenaBytes = 128 * 1024;  // whole pages: its end touches the guard
constexpr int32_t rowLimit = 128;
constexpr uint64_t page = 4096;

uint64_t seed;

[[noreturn]] void fail(const char* what, long detail = 0) {
  fprintf(stderr, "seed %llu: %s (%ld)\n", static_cast<unsigned long long>(seed), what, detail);
  exit(1);
}

/** One mapped file and what it must contain. */
struct Region {
  int fd;
  int32_t handle;
  Mapping mapping;
  std::vector<uint8_t> model;
  bool shrunk = false;
};

std::mt19937_64 randomBits;

uint64_t below(uint64_t limit) { return randomBits() % limit; }

Region makeRegion(uint64_t offset, uint64_t length) {
  Region region{memfd_create("fuzz", 0), -1, {}, std::vector<uint8_t>(length)};
  if (region.fd < 0 || ftruncate(region.fd, static_cast<off_t>(offset + length)) != 0) fail("memfd");
  MapFailure failure;
  region.handle = mapFile(region.fd, offset, length, region.mapping, failure);
  if (region.handle < 0) fail(failure.refusal ? failure.refusal : failure.call, failure.error);
  for (uint64_t i = 0; i < length; i++) {
    region.mapping.base[i] = region.model[i] = static_cast<uint8_t>(randomBits());
  }
  return region;
}

double strangeOffset() {
  switch (below(12)) {
    case 0: return std::numeric_limits<double>::quiet_NaN();
    case 1: return std::numeric_limits<double>::infinity();
    case 2: return -std::numeric_limits<double>::infinity();
    case 3: return -1;
    case 4: return -0.0;
    case 5: return 9007199254740992.0;
    case 6: return 9007199254740991.0;
    case 7: return 18446744073709551616.0;
    case 8: return 1e308;
    case 9: return static_cast<double>(below(5000)) + 0.5;
    case 10: return std::numeric_limits<double>::denorm_min();
    default: {
      const uint64_t bits = randomBits();
      double value;
      memcpy(&value, &bits, sizeof value);
      return value;
    }
  }
}

int32_t strangeInteger() {
  switch (below(6)) {
    case 0: return -1;
    case 1: return INT32_MIN;
    case 2: return INT32_MAX;
    case 3: return static_cast<int32_t>(arenaBytes);
    case 4: return 65536;
    default: return static_cast<int32_t>(randomBits());
  }
}

/** Mostly good rows, many of them ending exactly at an end. */
CopyRow makeRow(const std::vector<Region>& regions) {
  const Region& region = regions[below(regions.size())];
  const int64_t size = static_cast<int64_t>(region.mapping.length);
  CopyRow row = {};
  row.region = region.handle;
  row.length = static_cast<int32_t>(below(4) == 0 ? below(size + 1) : below(std::min<int64_t>(size, 300) + 1));
  row.offset = static_cast<double>(below(3) == 0 ? size - row.length : below(size - row.length + 1));
  row.arena = static_cast<int32_t>(below(3) == 0 && row.length <= arenaBytes
                                       ? arenaBytes - row.length
                                       : below(arenaBytes));
  switch (below(10)) {
    case 0: row.offset = strangeOffset(); break;
    case 1: row.region = strangeInteger(); break;
    case 2: row.arena = strangeInteger(); break;
    case 3: row.length = strangeInteger(); break;
    case 4: row.offset += 1; break;
    default: break;
  }
  return row;
}

/** The contract, in other words than copy.cc's. */
bool acceptable(const CopyRow& row, const std::vector<Region>& regions, size_t& index) {
  if (std::isnan(row.offset) || std::floor(row.offset) != row.offset) return false;
  if (row.offset < 0 || row.offset > 1e15 || row.length < 0 || row.arena < 0) return false;
  if (int64_t{row.arena} + row.length > arenaBytes) return false;
  for (index = 0; index < regions.size(); index++) {
    if (regions[index].handle != row.region) continue;
    return row.offset + row.length <= static_cast<double>(regions[index].mapping.length);
  }
  return false;
}

void runBatch(CopySpace& space, std::vector<Region>& regions, std::vector<uint8_t>& model, long& refusedInAll) {
  const bool gather = below(2) == 0;
  const int32_t count = static_cast<int32_t>(below(rowLimit + 1));
  std::vector<CopyRow> rows(count);
  int32_t expected = 0;
  for (int32_t i = 0; i < count; i++) {
    rows[i] = space.rows[i] = makeRow(regions);
    size_t index = 0;
    if (!acceptable(rows[i], regions, index)) {
      const CopyRow& row = rows[i];
      if (gather && row.length >= 0 && row.arena >= 0 && int64_t{row.arena} + row.length <= arenaBytes) {
        memset(model.data() + row.arena, 0, static_cast<size_t>(row.length));
      }
      rows[i].length = -1;
      expected++;
      continue;
    }
    uint8_t* const guest = regions[index].model.data() + static_cast<size_t>(rows[i].offset);
    uint8_t* const own = model.data() + rows[i].arena;
    memcpy(gather ? own : guest, gather ? guest : own, static_cast<size_t>(rows[i].length));
  }
  const int32_t refused = gather ? gatherRows(space, count) : deliverRows(space, count);
  if (refused != expected) fail("a wrong number of refusals", refused - expected);
  for (int32_t i = 0; i < count; i++) {
    if (space.rows[i].length != rows[i].length) fail("a row's length after the batch", i);
  }
  if (memcmp(space.arena, model.data(), model.size()) != 0) fail("the arena differs from the model");
  for (const Region& region : regions) {
    if (memcmp(region.mapping.base, region.model.data(), region.model.size()) != 0) {
      fail("a region differs from the model", region.handle);
    }
  }
  refusedInAll += refused;
}

/** Shrinks a file: what is beyond reads as zeros from now on, in whole pages of the file. */
void shrink(Region& region, uint64_t offset) {
  const uint64_t keep = below((offset + region.mapping.length) / page + 1) * page;
  if (ftruncate(region.fd, static_cast<off_t>(keep)) != 0) fail("ftruncate");
  for (uint64_t i = 0; i < region.mapping.length; i++) {
    if (offset + i >= keep) region.model[i] = 0;
  }
  region.shrunk = true;
}

/** A fault outside every region must still end the process. */
void checkStranger() {
  const pid_t child = fork();
  if (child == 0) {
    const int fd = memfd_create("stranger", 0);
    if (ftruncate(fd, page) != 0) _exit(2);
    auto* const bytes = static_cast<volatile uint8_t*>(mmap(nullptr, page, PROT_READ, MAP_SHARED, fd, 0));
    if (ftruncate(fd, 0) != 0) _exit(2);
    const uint8_t value = bytes[0];
    _exit(value);  // never reached
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) fail("waitpid");
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGBUS) fail("a foreign SIGBUS was swallowed", status);
}

/** A hugetlbfs file: an offset inside a huge page, and a fault mended by a whole huge page. */
int checkHugePages() {
  constexpr uint64_t huge = 2u << 20;
  const int fd = memfd_create("huge", MFD_HUGETLB);
  if (fd < 0 || ftruncate(fd, 2 * huge) != 0) return 77;
  Mapping mapping;
  MapFailure failure;
  const int32_t handle = mapFile(fd, page + 3, 2 * huge - page - 3, mapping, failure);
  if (handle < 0) {
    if (failure.error == ENOMEM || failure.error == EINVAL) return 77;
    fail(failure.refusal ? failure.refusal : failure.call, failure.error);
  }
  volatile uint8_t* const bytes = mapping.base;
  const uint64_t second = huge - page - 3;  // first byte of the second huge page
  bytes[0] = 5;
  bytes[second] = 6;
  if (ftruncate(fd, huge) != 0) fail("ftruncate of huge pages", errno);
  if (bytes[second] != 0) fail("the page that went is not zero");
  if (!isFaulted(handle)) fail("the fault was not noted");
  bytes[second + huge - 1] = 7;
  if (bytes[0] != 5 || bytes[second + huge - 1] != 7) fail("the mended region does not hold");
  unmap(handle, mapping, -1);
  close(fd);
  printf("huge pages: mended\n");
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count == 2 && strcmp(words[1], "huge") == 0) return checkHugePages();
  if (count != 3) {
    fprintf(stderr, "usage: copies SEED BATCHES\n");
    return 2;
  }
  seed = strtoull(words[1], nullptr, 10);
  const long batches = strtol(words[2], nullptr, 10);
  randomBits.seed(seed);

  Mapping arena, list;
  MapFailure failure;
  if (!mapAnonymous(arenaBytes, arena, failure) || !mapAnonymous(rowLimit * sizeof(CopyRow), list, failure)) {
    fail("mapAnonymous", failure.error);
  }
  std::vector<RegionWindow> windows(maxRegions);
  CopySpace space{arena.base, arenaBytes, reinterpret_cast<CopyRow*>(list.base), rowLimit, windows.data(),
                  maxRegions};
  std::vector<uint8_t> model(arenaBytes);
  long refused = 0;
  long shrunk = 0;
  bool strangerChecked = false;

  for (long batch = 0; batch < batches;) {
    // A fresh set of regions every now and then: handles come and go.
    std::vector<Region> regions;
    const uint64_t offsets[] = {0, below(3 * page), page};
    for (const uint64_t offset : offsets) regions.push_back(makeRegion(offset, 1 + below(40 * page)));
    for (const Region& region : regions) {
      windows[region.handle] = {region.mapping.base, static_cast<int64_t>(region.mapping.length)};
    }
    if (!strangerChecked) checkStranger();
    strangerChecked = true;
    for (int i = 0; i < 50 && batch < batches; i++, batch++) {
      if (below(40) == 0) {
        const size_t which = below(regions.size());
        // Once: zero pages that were put in hide a second change of the file.
        if (!regions[which].shrunk) shrink(regions[which], offsets[which]);
        shrunk++;
      }
      runBatch(space, regions, model, refused);
    }
    for (const Region& region : regions) {
      if (isFaulted(region.handle) && !region.shrunk) fail("a region counts as faulted without reason");
      windows[region.handle] = RegionWindow{};
      unmap(region.handle, region.mapping, -1);
      close(region.fd);
    }
  }
  printf("seed %llu: %ld batches, %ld rows refused, %ld files shrunk, %d regions faulted\n",
         static_cast<unsigned long long>(seed), batches, refused, shrunk, faultCount()->load());
  return 0;
}
