#pragma once
// Machines by description: planning needs nothing of the one that tests run on.

#include "kernel/target.h"

#include <vector>

namespace coregrad {

/// One of each instruction set, as they are and with everything tiny.
inline std::vector<Target> described_targets() {
  const auto target = [](Isa isa, int vector_bytes, int num_registers) {
    Target t;
    t.isa = isa;
    t.vector_bytes = vector_bytes;
    t.num_registers = num_registers;
    t.has_fma = isa != Isa::Generic;
    t.has_avx512 = t.has_masks = vector_bytes == 64;
    t.has_float16 = isa != Isa::Generic;
    t.has_amx = isa == Isa::Amx;
    return t;
  };
  std::vector<Target> targets = {target(Isa::Generic, 16, 16), target(Isa::Neon, 16, 32),
                                 target(Isa::Avx2, 32, 16), target(Isa::Avx512, 64, 32),
                                 target(Isa::Amx, 64, 32)};
  for (size_t i = 0, count = targets.size(); i < count; ++i)
    targets.push_back(with_machine(targets[i], "tiny"));
  return targets;
}

}  // namespace coregrad
