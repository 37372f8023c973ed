// Closing what somebody else made, without ever waiting.
//
// The last close of a descriptor waits as long as its maker likes: a TCP socket that lingers over what its peer does not read, a file whose file
// system is a process (FUSE), a Unix socket with one of these in its queue. Front-ends pass us descriptors and hold their connections' queues, so all
// that is not known to close at once is closed by a thread of its own for each front-end; how many wait there is counted.
#pragma once

#include <cstdint>

namespace basewire {

/** Closes a descriptor that `owner` passed to us. */
void closePassed(int fd, int32_t owner);

/** Ends a connection, which its peer sees at once, and closes it. What lies in its queue unread may be anything. */
void closeConnection(int fd, int32_t owner);

/** How many descriptors of `owner` are being closed. */
int32_t closing(int32_t owner);

}  // namespace basewire
