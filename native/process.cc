// What the process and its threads may do: which cores they run on, whether others may trace them, and the way to give up every capability in all
// threads at once.
//
// Capabilities belong to threads, and Node's helper threads exist before any of our code runs, so capset(2) would leave theirs as they
// are. execve(2) ends all threads but one and starts with what that one passes on: nothing, when its ambient set is empty and the user is not root.
#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "arguments.h"
#include "environment.h"

namespace basewire {
namespace {

/** As many as a kernel can be built for (CONFIG_NR_CPUS). */
constexpr int maxCores = 8192;

std::vector<std::string> strings(const Napi::Value& value) {
  std::vector<std::string> result;
  const Napi::Array array = value.As<Napi::Array>();
  for (uint32_t index = 0; index < array.Length(); index++) {
    result.push_back(array.Get(index).ToString().Utf8Value());
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

/** executeWithout(program, arguments, environment, descriptors): returns only by throwing. */
Napi::Value executeWithout(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string program = text(info, 0, "the program");
  if (!info[1].IsArray() || !info[2].IsArray()) {
    throw Napi::TypeError::New(env, "arguments and environment must be arrays of strings");
  }
  std::vector<std::string> arguments = strings(info[1]);
  std::vector<std::string> variables = strings(info[2]);
  const Napi::Int32Array descriptors = integers(info, 3, "the descriptors");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) throw systemError(env, errno, "prctl");
  for (size_t index = 0; index < descriptors.ElementLength(); index++) {
    const int fd = descriptors[index];
    if (fd >= 0 && fcntl(fd, F_SETFD, 0) != 0) throw systemError(env, errno, "fcntl");
  }
  // Node marks them, so that programs it starts don't get them by accident.
  for (int fd = 0; fd <= 2; fd++) fcntl(fd, F_SETFD, 0);
  execve(program.c_str(), pointers(arguments).data(), pointers(variables).data());
  const int error = errno;
  for (size_t index = 0; index < descriptors.ElementLength(); index++) {
    if (descriptors[index] >= 0) fcntl(descriptors[index], F_SETFD, FD_CLOEXEC);
  }
  throw systemError(env, error, "execve", program);
}

/** setDumpable(on): whether the process can be traced by its own user and leaves core files. */
Napi::Value setDumpable(const Napi::CallbackInfo& info) {
  if (prctl(PR_SET_DUMPABLE, boolean(info, 0, "on") ? 1 : 0, 0, 0, 0) != 0) {
    throw systemError(info.Env(), errno, "prctl");
  }
  return info.Env().Undefined();
}

/** setCores(thread, cores): the thread of this process (0: the calling one) runs on these cores only from now on. */
Napi::Value setCores(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int32_t thread = integer(info, 0, "the thread", 0);
  const Napi::Int32Array cores = integers(info, 1, "the cores");
  // sched_setaffinity(2) would take any thread of the machine.
  if (thread != 0 && syscall(SYS_tgkill, getpid(), thread, 0) != 0) throw systemError(env, errno, "tgkill");
  uint64_t bits[maxCores / 64] = {};  // sched_setaffinity(2) wants longs; 8 bytes each here
  for (size_t index = 0; index < cores.ElementLength(); index++) {
    const int core = cores[index];
    if (core < 0 || core >= maxCores) throw Napi::RangeError::New(env, "a core must be from 0 to 8191");
    bits[core / 64] |= uint64_t{1} << (core % 64);
  }
  if (sched_setaffinity(thread, sizeof bits, reinterpret_cast<const cpu_set_t*>(bits)) != 0) {
    throw systemError(env, errno, "sched_setaffinity");
  }
  return env.Undefined();
}

}  // namespace

void addProcess(Napi::Env env, Napi::Object exports, Environment& environment) {
  define(env, exports, "executeWithout", wrapped<executeWithout>, &environment);
  define(env, exports, "setCores", wrapped<setCores>, &environment);
  define(env, exports, "setDumpable", wrapped<setDumpable>, &environment);
}

}  // namespace basewire
