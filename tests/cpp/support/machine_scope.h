#pragma once
// Another machine for a test: an instruction set, small caches and thresholds, checks of memory.

#include "base/flags.h"
#include "kernel/target.h"
#include "runtime/allocator.h"
#include "runtime/executor.h"

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace coregrad::test {

/// A machine as COREGRAD_ISA and COREGRAD_MACHINE name it.
struct Machine {
  Isa isa;
  const char* settings;
  std::string name() const {
    return std::string(name_of(isa)) + (*settings == 0 ? "" : "_" + std::string(settings, 4));
  }
};

/// The flags of a machine, with checks of memory, until the end of the scope.
class MachineScope {
 public:
  explicit MachineScope(const Machine& machine) {
    Flags changed = flags();
    changed.isa = name_of(machine.isa);
    changed.machine = machine.settings;
    changed.check_memory = true;
    before_ = set_flags_for_test(std::move(changed));
  }
  ~MachineScope() { set_flags_for_test(std::move(before_)); }
  MachineScope(const MachineScope&) = delete;
  MachineScope& operator=(const MachineScope&) = delete;

 private:
  Flags before_;
};

/// Runs a plan on copies of the buffers in blocks of the allocator, which checks of memory guard.
inline void run_in_blocks(const Plan& plan, std::span<const std::span<const std::byte>> inputs,
                          std::span<const std::span<std::byte>> outputs) {
  std::vector<Block> blocks;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const auto& bytes : inputs) {
    blocks.push_back(allocate_block(static_cast<int64_t>(bytes.size())));
    if (!bytes.empty()) std::memcpy(blocks.back().get(), bytes.data(), bytes.size());
    in.push_back(blocks.back().get());
  }
  for (const auto& bytes : outputs) {
    blocks.push_back(allocate_block(static_cast<int64_t>(bytes.size())));
    if (!bytes.empty()) std::memcpy(blocks.back().get(), bytes.data(), bytes.size());
    out.push_back(blocks.back().get());
  }
  run(plan, in, out);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (!outputs[i].empty()) std::memcpy(outputs[i].data(), out[i], outputs[i].size());
}

}  // namespace coregrad::test
