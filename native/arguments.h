// Arguments checked as they come in, errors as they go out. A wrong type or range is our own caller's fault and
// throws TypeError or RangeError; a failed system call throws what Node's own functions throw.
#pragma once

#include <cstdint>
#include <string>

#include <napi.h>

namespace basewire {

/** Error with code ('ENOENT'), errno (negative, as in Node) and syscall; `subject` is a path or name, or empty. */
Napi::Error systemError(Napi::Env env, int error, const char* call, const std::string& subject = {});

/** Error whose code is one of RegionRefusal. */
Napi::Error refusalError(Napi::Env env, const char* refusal);

/** An integer of [low, high]. */
int32_t integer(const Napi::CallbackInfo& info, size_t index, const char* name, int32_t low = INT32_MIN,
                int32_t high = INT32_MAX);

/** A descriptor: an integer >= 0. */
int descriptor(const Napi::CallbackInfo& info, size_t index);

/** A number, whatever it is. */
double number(const Napi::CallbackInfo& info, size_t index, const char* name);

bool boolean(const Napi::CallbackInfo& info, size_t index, const char* name);

/** A string without NUL characters. */
std::string text(const Napi::CallbackInfo& info, size_t index, const char* name);

Napi::Uint8Array bytes(const Napi::CallbackInfo& info, size_t index, const char* name);
Napi::Int32Array integers(const Napi::CallbackInfo& info, size_t index, const char* name);

/** Whether a double is an exact integer of [0, 2^53). */
bool exact(double value);

/**
 * For functions that are written against raw Node-API: the descriptor that a value names, or -1. (napi_get_value_int32 would
 * make 0 of NaN, which is somebody's descriptor.)
 */
inline int descriptorOf(napi_env env, napi_value value) {
  double number = -1;
  if (napi_get_value_double(env, value, &number) != napi_ok) return -1;
  return number >= 0 && number <= INT32_MAX ? static_cast<int>(number) : -1;
}

/** Adds a function that gets `data`. */
template <typename Callback>
void define(Napi::Env env, Napi::Object object, const char* name, Callback callback, void* data) {
  // Node-API hands the raw pair to the callback: no allocation per function or per call.
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function) != napi_ok) {
    throw Napi::Error::New(env);
  }
  object.Set(name, Napi::Value(env, function));
}

/** Wraps a function written against node-addon-api; C++ exceptions become JavaScript's. */
template <Napi::Value (*body)(const Napi::CallbackInfo&)>
napi_value wrapped(napi_env env, napi_callback_info raw) {
  return Napi::details::WrapCallback(env, [&] {
    const Napi::CallbackInfo info(env, raw);
    return static_cast<napi_value>(body(info));
  });
}

}  // namespace basewire
