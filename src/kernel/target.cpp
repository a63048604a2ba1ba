#include "kernel/target.h"

#include "base/error.h"

#include <algorithm>
#include <charconv>

namespace coregrad {
namespace {

struct CacheSetting {
  std::string_view name;
  int64_t Target::* field;
};
constexpr CacheSetting kCacheSettings[] = {
    {"l1", &Target::l1_bytes}, {"l2", &Target::l2_bytes}, {"l3", &Target::l3_bytes}};

struct ThresholdSetting {
  std::string_view name;
  int64_t Thresholds::* field;
  int64_t tiny;
};
constexpr ThresholdSetting kThresholdSettings[] = {
    {"stream", &Thresholds::stream_bytes, 256},    {"split", &Thresholds::split_elements, 64},
    {"part", &Thresholds::part_elements, 16},      {"columns", &Thresholds::column_elements, 256},
    {"column_part", &Thresholds::column_part, 64}, {"column_bytes", &Thresholds::column_bytes, 64},
    {"merge", &Thresholds::merge_elements, 64},    {"lane_block", &Thresholds::lane_block, 1},
    {"chunk_ns", &Thresholds::chunk_ns, 20},       {"serial_ns", &Thresholds::serial_ns, 0},
    {"side", &Thresholds::contract_side_bytes, 1}, {"steps", &Thresholds::contract_steps, 40},
    {"unit", &Thresholds::contract_unit, 1000},    {"loop", &Thresholds::contract_loop, 1},
    {"phase", &Thresholds::contract_phase, 1},
};

void apply_setting(Target& target, std::string_view setting) {
  if (setting == "tiny") {
    target.l1_bytes = 1024, target.l2_bytes = 4096, target.l3_bytes = 16 * 1024;
    for (const ThresholdSetting& s : kThresholdSettings) target.thresholds.*s.field = s.tiny;
    return;
  }
  const size_t equals = setting.find('=');
  const std::string_view name = setting.substr(0, equals);
  const std::string_view text =
      equals == std::string_view::npos ? std::string_view() : setting.substr(equals + 1);
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || status != std::errc() || end != text.data() + text.size() || value < 0)
    raise<ValueError>("COREGRAD_MACHINE: expected 'tiny' or name=number, got '{}'", setting);
  if (name == "threads") {
    target.threads = static_cast<int>(std::clamp<int64_t>(value, 1, 1024));
    return;
  }
  for (const CacheSetting& s : kCacheSettings)
    if (s.name == name) return void(target.*s.field = value);
  for (const ThresholdSetting& s : kThresholdSettings)
    if (s.name == name) return void(target.thresholds.*s.field = value);
  raise<ValueError>("COREGRAD_MACHINE: there is no setting '{}'", name);
}

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::Generic:
      return "generic";
    case Isa::Neon:
      return "neon";
    case Isa::Avx2:
      return "avx2";
    case Isa::Avx512:
      return "avx512";
    case Isa::Amx:
      return "amx";
  }
  COREGRAD_UNREACHABLE("unknown ISA");
}

Target with_machine(Target target, std::string_view settings) {
  target.machine = settings;
  while (!settings.empty()) {
    const size_t comma = settings.find(',');
    if (comma != 0) apply_setting(target, settings.substr(0, comma));
    settings = comma == std::string_view::npos ? std::string_view() : settings.substr(comma + 1);
  }
  return target;
}

}  // namespace coregrad
