// Closing what somebody else made, without ever waiting.
//
// The last close of a descriptor waits as long as its maker likes: a TCP socket that lingers over what its peer does not read, a file whose file
// system is a process (FUSE), a Unix socket with one of these in its queue, an eventfd that an epoll instance watches whose maker is just being
// told of its events (the kernel holds the instance's mutex, and copies to where it may wait for ever). Front-ends pass us descriptors and hold their connections' queues, so all
// that is not known to close at once is closed by a thread of its own for each front-end; how many wait there is counted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace basewire {

/**
 * Memory of so many bytes is given back at once. Whoever closes or unmaps it last gives it back, and of a VM whose QEMU died that is us:
 * a tenth of a second and more for each GiB. One message brings 253 descriptors, 16 MiB in all: some milliseconds.
 */
constexpr uint64_t smallBytes = 64u << 10;

/**
 * Unmaps what `owner` shared with us: however small the mapping, it may be the last that holds a large file. `pages`: how many of its pages the
 * SIGBUS handler has replaced alone.
 */
void unmapElsewhere(void* start, size_t bytes, uint32_t pages, int32_t owner);

/**
 * Tries to add F_SEAL_SHRINK to a file that `owner` shared, by a thread of its own: the kernel makes whoever does so wait for everybody who is
 * just writing to the file, for seconds if they like. Waits for the seal itself, but five milliseconds at most, and no more for an `owner` that
 * made us wait that long once. Without a seal SIGBUS tells us when the file shrinks.
 */
void sealElsewhere(int fd, int32_t owner);

/** Made by eventfd(2). Asks /proc: where that is not mounted nothing is one. */
bool isEventfd(int fd);

/** Closes a descriptor that `owner` passed to us. */
void closePassed(int fd, int32_t owner);

/** Ends a connection, which its peer sees at once, and closes it. What lies in its queue unread may be anything. */
void closeConnection(int fd, int32_t owner);

/** How many descriptors of `owner` are being closed, but for as many eventfds as a VM may have, and mappings unmapped beyond what it may have. */
int32_t closing(int32_t owner);

/** Bytes of address space that wait to be unmapped. */
uint64_t unmapping(int32_t owner);

}  // namespace basewire
