#include "base/flags.h"

#include "base/error.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace coregrad {
namespace {

std::string_view read(const char* name) {
  const char* value = secure_getenv(name);
  return value ? std::string_view(value) : std::string_view();
}

int read_int(const char* name, int fallback) {
  const std::string_view text = read(name);
  if (text.empty()) return fallback;
  int value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size() || value < 0)
    raise<ValueError>("environment variable {}: expected a non-negative whole number, got '{}'",
                      name, text);
  return value;
}

Executor read_executor() {
  const std::string_view text = read("COREGRAD_EXECUTOR");
  if (text.empty()) return Executor::Plan;
  return parse_executor(text, "environment variable COREGRAD_EXECUTOR");
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    if (!part.empty()) parts.emplace_back(part);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return parts;
}

Flags read_flags() {
  Flags f;
  f.debug = read_int("COREGRAD_DEBUG", 0);
  f.validate = read_int("COREGRAD_VALIDATE", 0) != 0;
  f.executor = read_executor();
  f.trace_file = read("COREGRAD_TRACE");
  f.num_threads = read_int("COREGRAD_NUM_THREADS", 0);
  f.isa = read("COREGRAD_ISA");
  f.machine = read("COREGRAD_MACHINE");
  f.check_memory = read_int("COREGRAD_CHECK_MEMORY", 0) != 0;
  f.disabled_passes = split(read("COREGRAD_DISABLE_PASSES"));
  f.dump_dir = read("COREGRAD_DUMP");
  return f;
}

Flags& storage() {
  static Flags f = read_flags();
  return f;
}

}  // namespace

Executor parse_executor(std::string_view text, std::string_view what) {
  if (text == "plan") return Executor::Plan;
  if (text == "unfused") return Executor::Unfused;
  if (text == "interpreter") return Executor::Interpreter;
  raise<ValueError>("{}: expected 'plan', 'unfused' or 'interpreter', got '{}'", what, text);
}

const Flags& flags() { return storage(); }

Flags set_flags_for_test(Flags replacement) {
  Flags before = std::move(storage());
  storage() = std::move(replacement);
  return before;
}

}  // namespace coregrad
