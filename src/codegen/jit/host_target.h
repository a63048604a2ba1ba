#pragma once
// The machine that this process runs on, as code generation sees it.

#include "kernel/target.h"

namespace coregrad {

/// Whether this machine can run code for `isa`.
bool host_supports(Isa isa);
/// The host, narrowed by COREGRAD_ISA, with what COREGRAD_MACHINE says. Throws ValueError for an
/// ISA the host does not have.
const Target& host_target();
/// The host as if it had only `isa`. Throws ValueError for an ISA the host does not have.
Target target_for(Isa isa);

}  // namespace coregrad
