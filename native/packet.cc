// AF_PACKET sockets with mapped rings: the adapter. Only system calls are here; the rings are walked in TypeScript.
//
// Order matters: no protocol at socket(), every option, the rings, and the binding last, so that nothing
// arrives before the socket is as it shall be. PACKET_QDISC_BYPASS stays off: the interface's queueing discipline is
// the administrator's word on bandwidth and fairness, and without it a full device queue drops at once.
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <net/if.h>
#include <optional>
#include <netinet/in.h>
#include <iterator>
#include <numeric>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "arguments.h"
#include "environment.h"
#include "open-descriptor.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23  // Linux 4.20
#endif
#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24  // Linux 6.6
#endif

namespace basewire {
namespace {

/** A filter's answer: the frame as long as it is. */
constexpr uint32_t wholeFrame = 0x40000;

/** An integer property of packetOpen's options. */
uint32_t option(Napi::Env env, const Napi::Object& options, const char* name, double high) {
  const Napi::Value value = options.Get(name);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!exact(number) || number < 1 || number > high) {
    throw Napi::RangeError::New(env, std::string(name) + " must be an integer from 1 to " +
                                         std::to_string(static_cast<uint64_t>(high)));
  }
  return static_cast<uint32_t>(number);
}

void setOption(Napi::Env env, int fd, int name, const char* what, const void* value, socklen_t size) {
  if (setsockopt(fd, SOL_PACKET, name, value, size) != 0) {
    throw systemError(env, errno, "setsockopt", what);
  }
}

void bindTo(Napi::Env env, int fd, int interfaceIndex) {
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = interfaceIndex;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw systemError(env, errno, "bind");
  }
}

/** A Uint8Array of 6 bytes; nullptr for null or undefined. */
const uint8_t* macAddress(Napi::Env env, const Napi::Value& value) {
  if (value.IsNull() || value.IsUndefined()) return nullptr;
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
      value.As<Napi::TypedArray>().ByteLength() != ETH_ALEN) {
    throw Napi::TypeError::New(env, "unicast must be a Uint8Array of 6 bytes, or null");
  }
  return value.As<Napi::Uint8Array>().Data();
}

/**
 * Has the kernel pass `bytes` of each frame that is for us, and nothing of any other: before it makes room for it, copies it or wakes
 * somebody. For us is what goes to all or to a group, and what goes to the interface (PACKET_HOST) or, where `unicast` is not nullptr, to that
 * address alone: the host has the interface's then.
 */
void filterFrames(Napi::Env env, int fd, const uint8_t* unicast, uint32_t bytes) {
  constexpr uint32_t packetType = static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE);
  const uint32_t first = unicast == nullptr ? 0
                                            : uint32_t{unicast[0]} << 24 | uint32_t{unicast[1]} << 16 |
                                                  uint32_t{unicast[2]} << 8 | unicast[3];
  const uint32_t last = unicast == nullptr ? 0 : uint32_t{unicast[4]} << 8 | unicast[5];
  sock_filter toInterface[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, packetType),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, PACKET_MULTICAST, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, bytes),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  sock_filter toAddress[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, packetType),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_BROADCAST, 6, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_MULTICAST, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, PACKET_OTHERHOST, 5, 0),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 0, 3),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, last, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, bytes),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog filter = unicast == nullptr ? sock_fprog{std::size(toInterface), toInterface}
                                               : sock_fprog{std::size(toAddress), toAddress};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    throw systemError(env, errno, "setsockopt", "SO_ATTACH_FILTER");
  }
}

/** A second unicast address for the interface. */
packet_mreq membershipOf(int interfaceIndex, const uint8_t* unicast) {
  packet_mreq membership = {};
  membership.mr_ifindex = interfaceIndex;
  membership.mr_type = PACKET_MR_UNICAST;
  membership.mr_alen = ETH_ALEN;
  memcpy(membership.mr_address, unicast, ETH_ALEN);
  return membership;
}

/** Asks the interface for it. */
void addUnicast(Napi::Env env, int fd, int interfaceIndex, const uint8_t* unicast) {
  if (unicast == nullptr) return;
  const packet_mreq membership = membershipOf(interfaceIndex, unicast);
  setOption(env, fd, PACKET_ADD_MEMBERSHIP, "PACKET_ADD_MEMBERSHIP", &membership, sizeof membership);
}

int packetSocketDescriptor() { return socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

/** packetSocket(): receives nothing yet. The only call here that needs CAP_NET_RAW. */
Napi::Value packetSocket(const Napi::CallbackInfo& info) {
  const int fd = packetSocketDescriptor();
  if (fd < 0) throw systemError(info.Env(), errno, "socket");
  return Napi::Number::New(info.Env(), environmentOf(info).own.opened(fd));
}

/**
 * Takes both rings away, so that options can be set again; nullptr, or the name of the one that stays: EBUSY while they are mapped, and the transmit ring
 * while the interface has frames of it that are still to be sent.
 */
const char* removeRings(int fd) {
  const tpacket_req3 none = {};
  if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none) != 0) return "PACKET_RX_RING";
  if (setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &none, sizeof none) != 0) return "PACKET_TX_RING";
  return nullptr;
}

/**
 * A packet socket without rings, to get those of `version`: a new one, or another descriptor of `given` (-1: none). What the host sends does not
 * come in.
 */
int socketForRings(Napi::Env env, int given, int version) {
  const bool made = given < 0;
  OpenDescriptor packet(made ? packetSocketDescriptor() : fcntl(given, F_DUPFD_CLOEXEC, 3));
  if (packet.fd < 0) throw systemError(env, errno, made ? "socket" : "fcntl");
  if (!made) {
    const char* const stays = removeRings(packet.fd);
    if (stays != nullptr) throw systemError(env, errno, "setsockopt", stays);
  }
  setOption(env, packet.fd, PACKET_VERSION, "PACKET_VERSION", &version, sizeof version);
  const int on = 1;
  setOption(env, packet.fd, PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING", &on, sizeof on);
  return packet.release();
}

/**
 * Fills the receive ring's blocks with ones, behind their headers: where a packet is not yet there, nothing looks like one. Before the
 * binding, while nothing of the interface is written there.
 */
void makeBlank(Napi::Env env, int fd, size_t mapBytes, uint32_t blockBytes, uint32_t blocks) {
  constexpr size_t headerBytes = 48;  // struct tpacket_block_desc, aligned: no private area is asked for
  void* const rings = mmap(nullptr, mapBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (rings == MAP_FAILED) throw systemError(env, errno, "mmap");
  for (uint32_t block = 0; block < blocks; block++) {
    memset(static_cast<uint8_t*>(rings) + size_t{block} * blockBytes + headerBytes, 0xff, blockBytes - headerBytes);
  }
  munmap(rings, mapBytes);
}

/** packetOpen(options) */
Napi::Value packetOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) throw Napi::TypeError::New(env, "options must be an object");
  const Napi::Object options = info[0].As<Napi::Object>();
  const int interfaceIndex = static_cast<int>(option(env, options, "interfaceIndex", INT32_MAX));
  const uint32_t blockBytes = option(env, options, "blockBytes", 1 << 26);
  const uint32_t blocks = option(env, options, "blocks", 65536);
  const uint32_t retire = option(env, options, "retireMilliseconds", 60000);
  const uint32_t frameBytes = option(env, options, "frameBytes", 1 << 20);
  const uint32_t wantedFrames = option(env, options, "frames", 1 << 20);
  const uint32_t page = static_cast<uint32_t>(sysconf(_SC_PAGESIZE));
  if (blockBytes % page != 0) throw Napi::RangeError::New(env, "blockBytes must be a multiple of the page size");
  if (frameBytes % TPACKET_ALIGNMENT != 0) {
    throw Napi::RangeError::New(env, "frameBytes must be a multiple of " + std::to_string(TPACKET_ALIGNMENT));
  }
  // Frames must follow each other without gaps across blocks: a block is the least whole number of frames and pages.
  const uint64_t transmitBlock = std::lcm(uint64_t{frameBytes}, uint64_t{page});
  if (transmitBlock > (1u << 26)) throw Napi::RangeError::New(env, "frameBytes does not divide into pages well");
  const uint32_t perBlock = static_cast<uint32_t>(transmitBlock / frameBytes);
  const uint32_t transmitBlocks = (wantedFrames + perBlock - 1) / perBlock;
  const uint32_t frames = transmitBlocks * perBlock;
  const uint64_t receiveBytes = uint64_t{blockBytes} * blocks;
  const uint64_t mapBytes = receiveBytes + transmitBlock * transmitBlocks;
  if (mapBytes > INT32_MAX) throw Napi::RangeError::New(env, "the rings are 2 GiB or more");

  const int given =
      options.Get("socket").IsUndefined() ? -1 : static_cast<int>(option(env, options, "socket", INT32_MAX));
  OpenDescriptor packet(socketForRings(env, given, TPACKET_V3));
  int headerBytes = 12;
  if (setsockopt(packet.fd, SOL_PACKET, PACKET_VNET_HDR_SZ, &headerBytes, sizeof headerBytes) != 0) {
    headerBytes = 10;
    const int on = 1;
    setOption(env, packet.fd, PACKET_VNET_HDR, "PACKET_VNET_HDR", &on, sizeof on);
  }

  tpacket_req3 receive = {};
  receive.tp_block_size = blockBytes;
  receive.tp_block_nr = blocks;
  // Version 3 packs frames of any length into a block; the kernel only wants the product to fit.
  receive.tp_frame_size = page;
  receive.tp_frame_nr = blockBytes / page * blocks;
  receive.tp_retire_blk_tov = retire;
  setOption(env, packet.fd, PACKET_RX_RING, "PACKET_RX_RING", &receive, sizeof receive);
  tpacket_req3 transmit = {};
  transmit.tp_block_size = static_cast<uint32_t>(transmitBlock);
  transmit.tp_block_nr = transmitBlocks;
  transmit.tp_frame_size = frameBytes;
  transmit.tp_frame_nr = frames;
  setOption(env, packet.fd, PACKET_TX_RING, "PACKET_TX_RING", &transmit, sizeof transmit);

  makeBlank(env, packet.fd, mapBytes, blockBytes, blocks);
  const uint8_t* const unicast = macAddress(env, options.Get("unicast"));
  filterFrames(env, packet.fd, unicast, wholeFrame);
  addUnicast(env, packet.fd, interfaceIndex, unicast);
  bindTo(env, packet.fd, interfaceIndex);

  Napi::Object receiveShape = Napi::Object::New(env);
  receiveShape.Set("blockBytes", Napi::Number::New(env, blockBytes));
  receiveShape.Set("blocks", Napi::Number::New(env, blocks));
  Napi::Object transmitShape = Napi::Object::New(env);
  transmitShape.Set("frameBytes", Napi::Number::New(env, frameBytes));
  transmitShape.Set("frames", Napi::Number::New(env, frames));
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, packet.fd));
  result.Set("headerBytes", Napi::Number::New(env, headerBytes));
  result.Set("receive", receiveShape);
  result.Set("transmit", transmitShape);
  result.Set("mapBytes", Napi::Number::New(env, static_cast<double>(mapBytes)));
  environmentOf(info).own.opened(packet.release());
  return result;
}

/** packetDoorbell(interfaceIndex, unicast, socket) */
Napi::Value packetDoorbell(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int interfaceIndex = integer(info, 0, "the interface index", 1);
  const uint8_t* const unicast = macAddress(env, info[1]);
  char name[IF_NAMESIZE];
  if (if_indextoname(interfaceIndex, name) == nullptr) throw systemError(env, errno, "if_indextoname");
  OpenDescriptor packet(socketForRings(env, info[2].IsUndefined() ? -1 : descriptor(info, 2), TPACKET_V2));
  // Whatever the socket was before: a frame that no such header describes would stop this ring.
  const int off = 0;
  setOption(env, packet.fd, PACKET_VNET_HDR, "PACKET_VNET_HDR", &off, sizeof off);
  filterFrames(env, packet.fd, unicast, 1);
  const uint32_t page = static_cast<uint32_t>(sysconf(_SC_PAGESIZE));
  const tpacket_req one{page, 1, page, 1};
  setOption(env, packet.fd, PACKET_RX_RING, "PACKET_RX_RING", &one, sizeof one);
  bindTo(env, packet.fd, interfaceIndex);
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, packet.fd));
  result.Set("mapBytes", Napi::Number::New(env, page));
  environmentOf(info).own.opened(packet.release());
  return result;
}

/** packetClose(fd, interfaceIndex, unicast): also where other descriptors of the socket stay open. A transmit ring of which frames are still to be sent stays until the next opening. */
Napi::Value packetClose(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const OpenDescriptor packet(descriptor(info, 0));
  environmentOf(info).own.closing(packet.fd);
  const uint8_t* const unicast = macAddress(env, info[2]);
  if (unicast != nullptr) {
    const packet_mreq membership = membershipOf(integer(info, 1, "the interface index", 1), unicast);
    // Fails when the interface is gone, and the membership with it.
    setsockopt(packet.fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &membership, sizeof membership);
  }
  // No kernel unbinds a packet socket in the same way; an EtherType that nobody uses, on the loopback interface, comes to the same.
  sockaddr_ll nowhere = {};
  nowhere.sll_family = AF_PACKET;
  nowhere.sll_protocol = htons(0x88b5);  // IEEE 802, local experimental
  nowhere.sll_ifindex = 1;
  bind(packet.fd, reinterpret_cast<const sockaddr*>(&nowhere), sizeof nowhere);
  removeRings(packet.fd);
  return env.Undefined();
}

/** packetSend(fd): raw Node-API, once per turn. */
napi_value packetSend(napi_env env, napi_callback_info info) {
  size_t arguments = 1;
  napi_value argument = nullptr;
  napi_value result = nullptr;
  napi_get_cb_info(env, info, &arguments, &argument, nullptr, nullptr);
  const int fd = descriptorOf(env, argument);
  const int answer = send(fd, nullptr, 0, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ? 0 : -errno;
  napi_create_int32(env, answer, &result);
  return result;
}

Napi::Value packetStatistics(const Napi::CallbackInfo& info) {
  tpacket_stats_v3 statistics = {};
  socklen_t size = sizeof statistics;
  if (getsockopt(descriptor(info, 0), SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0) {
    throw systemError(info.Env(), errno, "getsockopt", "PACKET_STATISTICS");
  }
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, Napi::Number::New(info.Env(), statistics.tp_packets));
  pair.Set(1u, Napi::Number::New(info.Env(), statistics.tp_drops));
  return pair;
}

/** Asks `name` for what `command` (struct ethtool_...) wants; false when the kernel does not say. */
bool askEthtool(int fd, const std::string& name, void* command) {
  ifreq request = {};
  memcpy(request.ifr_name, name.c_str(), name.size() + 1);
  request.ifr_data = static_cast<char*>(command);
  return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

/** Number of a feature among those that this kernel knows: it names all of them for any interface. */
std::optional<uint32_t> featureBit(int fd, const std::string& name, const char* feature, uint32_t& count) {
  // struct ethtool_sset_info: command, reserved, sset_mask, and one length behind it.
  struct {
    uint32_t command, reserved;
    uint64_t sets;
    uint32_t length;
  } lengths = {ETHTOOL_GSSET_INFO, 0, uint64_t{1} << ETH_SS_FEATURES, 0};
  if (!askEthtool(fd, name, &lengths) || lengths.sets == 0) return std::nullopt;
  count = lengths.length;
  std::vector<char> buffer(sizeof(ethtool_gstrings) + size_t{count} * ETH_GSTRING_LEN);
  const uint32_t head[] = {ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count};
  static_assert(sizeof head == sizeof(ethtool_gstrings));
  memcpy(buffer.data(), head, sizeof head);
  if (!askEthtool(fd, name, buffer.data())) return std::nullopt;
  for (uint32_t bit = 0; bit < count; bit++) {
    const char* const text = buffer.data() + sizeof head + size_t{bit} * ETH_GSTRING_LEN;
    if (strncmp(text, feature, ETH_GSTRING_LEN) == 0) return bit;
  }
  return std::nullopt;
}

/** Whether the interface's feature is in use; nothing when the kernel does not say. */
std::optional<bool> hasFeature(int fd, const std::string& name, const char* feature) {
  uint32_t count = 0;
  const std::optional<uint32_t> bit = featureBit(fd, name, feature, count);
  if (!bit) return std::nullopt;
  const uint32_t blocks = (count + 31) / 32;
  std::vector<uint32_t> buffer((sizeof(ethtool_gfeatures) + blocks * sizeof(ethtool_get_features_block)) /
                               sizeof(uint32_t));
  const uint32_t head[] = {ETHTOOL_GFEATURES, blocks};
  static_assert(sizeof head == sizeof(ethtool_gfeatures));
  memcpy(buffer.data(), head, sizeof head);
  if (!askEthtool(fd, name, buffer.data())) return std::nullopt;
  ethtool_get_features_block block = {};
  memcpy(&block, reinterpret_cast<const char*>(buffer.data()) + sizeof head + *bit / 32 * sizeof block, sizeof block);
  return (block.active >> (*bit % 32) & 1) != 0;
}

/** interfaceInfo(name) */
Napi::Value interfaceInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string name = text(info, 0, "the name");
  if (name.empty() || name.size() >= IFNAMSIZ) throw systemError(env, ENODEV, "ioctl", name);
  const OpenDescriptor socketForIoctl(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (socketForIoctl.fd < 0) throw systemError(env, errno, "socket");
  const auto ask = [&](unsigned long request) {
    ifreq answer = {};
    memcpy(answer.ifr_name, name.c_str(), name.size() + 1);
    if (ioctl(socketForIoctl.fd, request, &answer) != 0) throw systemError(env, errno, "ioctl", name);
    return answer;
  };
  const ifreq index = ask(SIOCGIFINDEX);
  const ifreq address = ask(SIOCGIFHWADDR);
  const ifreq mtu = ask(SIOCGIFMTU);
  const ifreq flags = ask(SIOCGIFFLAGS);
  Napi::Uint8Array mac = Napi::Uint8Array::New(env, ETH_ALEN);
  memcpy(mac.Data(), address.ifr_hwaddr.sa_data, ETH_ALEN);
  Napi::Object result = Napi::Object::New(env);
  result.Set("index", Napi::Number::New(env, index.ifr_ifindex));
  result.Set("type", Napi::Number::New(env, address.ifr_hwaddr.sa_family));
  result.Set("mac", mac);
  result.Set("mtu", Napi::Number::New(env, mtu.ifr_mtu));
  result.Set("flags", Napi::Number::New(env, static_cast<uint16_t>(flags.ifr_flags)));
  const bool takesLongUdp = hasFeature(socketForIoctl.fd, name, "tx-udp-segmentation").value_or(true);
  result.Set("takesLongUdp", Napi::Boolean::New(env, takesLongUdp));
  return result;
}

}  // namespace

void addPacket(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "packetSocket", wrapped<packetSocket>, &environment);
  define(env, exports, "packetClose", wrapped<packetClose>, &environment);
  define(env, exports, "packetDoorbell", wrapped<packetDoorbell>, &environment);
  define(env, exports, "packetOpen", wrapped<packetOpen>, &environment);
  define(env, exports, "packetSend", packetSend, &environment);
  define(env, exports, "packetStatistics", wrapped<packetStatistics>, &environment);
  define(env, exports, "interfaceInfo", wrapped<interfaceInfo>, &environment);
}

}  // namespace basewire
