#pragma once
// Checks of what kernels claim about addresses, written into the kernels themselves.

namespace llvm {
class Module;
}

namespace coregrad {

/// In front of each load and store that claims a larger alignment than its elements have, a test of
/// the address: where it fails, the process ends with a message that names the function. For debug
/// builds and tests; a claim that does not hold is a fault now and then only, if at all.
void check_alignments(llvm::Module& module);

}  // namespace coregrad
