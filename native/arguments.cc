// See arguments.h.
#include "arguments.h"

#include <cmath>
#include <cstring>

#include <uv.h>

namespace basewire {

Napi::Error systemError(Napi::Env env, int error, const char* call, const std::string& subject) {
  const char* const code = uv_err_name(-error);
  std::string message = std::string(call) + (subject.empty() ? "" : " " + subject) + ": " + code + " (" +
                        uv_strerror(-error) + ")";
  Napi::Error thrown = Napi::Error::New(env, message);
  thrown.Set("code", code);
  thrown.Set("errno", Napi::Number::New(env, -error));
  thrown.Set("syscall", call);
  return thrown;
}

Napi::Error refusalError(Napi::Env env, const char* refusal) {
  const char* reason = "the range is empty or does not fit";
  if (strcmp(refusal, "NOT_MEMORY") == 0) reason = "the file is neither a memfd nor on tmpfs or hugetlbfs (QEMU's memory-backend-memfd, or mem-path=/dev/shm)";
  if (strcmp(refusal, "PAST_END") == 0) reason = "the range ends beyond the end of the file";
  if (strcmp(refusal, "READ_ONLY") == 0) reason = "the descriptor can't be mapped for writing";
  Napi::Error thrown = Napi::Error::New(env, std::string("mapRegion: ") + reason);
  thrown.Set("code", refusal);
  return thrown;
}

double number(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const Napi::Value value = info[index];
  if (!value.IsNumber()) throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a number");
  return value.As<Napi::Number>().DoubleValue();
}

int32_t integer(const Napi::CallbackInfo& info, size_t index, const char* name, int32_t low, int32_t high) {
  const double value = number(info, index, name);
  if (!(value >= low && value <= high) || std::trunc(value) != value) {
    throw Napi::RangeError::New(info.Env(), std::string(name) + " must be an integer from " +
                                                std::to_string(low) + " to " + std::to_string(high));
  }
  return static_cast<int32_t>(value);
}

int descriptor(const Napi::CallbackInfo& info, size_t index) {
  return integer(info, index, "the descriptor", 0);
}

bool boolean(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const Napi::Value value = info[index];
  if (!value.IsBoolean()) throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string text(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const Napi::Value value = info[index];
  if (!value.IsString()) throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a string");
  std::string string = value.As<Napi::String>().Utf8Value();
  if (string.find('\0') != std::string::npos) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must not contain NUL");
  }
  return string;
}

namespace {
bool isArrayOf(const Napi::Value& value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}
}  // namespace

Napi::Uint8Array bytes(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const Napi::Value value = info[index];
  if (!isArrayOf(value, napi_uint8_array)) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a Uint8Array");
  }
  return value.As<Napi::Uint8Array>();
}

Napi::Int32Array integers(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const Napi::Value value = info[index];
  if (!isArrayOf(value, napi_int32_array)) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must be an Int32Array");
  }
  return value.As<Napi::Int32Array>();
}

bool exact(double value) {
  return value >= 0 && value < 9007199254740992.0 && std::trunc(value) == value;
}

}  // namespace basewire
