#pragma once
// LLVM in the process: modules in, callable addresses out.
//
// Each module is optimised and compiled on the calling thread (several may compile at once) and
// linked into memory that lives as long as the returned CodeHandle. LLVM headers stay in .cpp files
// and in other folders of codegen.

#include "kernel/target.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace llvm {
class Module;
class LLVMContext;
}  // namespace llvm

namespace coregrad {

/// Loaded machine code; freed with the last owner.
class LoadedCode {
 public:
  virtual ~LoadedCode() = default;
  /// Address of a function of the module; InternalError if it is not there.
  virtual void* address(const std::string& symbol) const = 0;
};

using CodeHandle = std::shared_ptr<const LoadedCode>;

struct CompileTimes {
  double build_ms = 0;  ///< writing LLVM IR
  double optimize_ms = 0;
  double codegen_ms = 0;  ///< instruction selection to object
  double link_ms = 0;
};

/// Fills `module`; called once on the compiling thread.
using ModuleBuilder = std::function<void(llvm::Module& module)>;

/// Compiles one module for `target`. Thread-safe. Fast-math flags, attributes and vector widths are
/// the builder's business; target attributes are set on every function here.
CodeHandle compile_module(const Target& target, std::string_view name, const ModuleBuilder& build,
                          CompileTimes* times = nullptr);

/// The two halves of compile_module: relocatable object bytes, for keeping on disk, and loading
/// them.
std::string compile_to_object(const Target& target, std::string_view name,
                              const ModuleBuilder& build, CompileTimes* times = nullptr);
CodeHandle load_object(std::string_view object, std::string_view name,
                       CompileTimes* times = nullptr);

/// The module as text, before any optimisation: equal texts give equal machine code.
std::string print_module(const Target& target, const ModuleBuilder& build);

/// The module's assembly in place of code: for tests and for looking at.
std::string compile_to_assembly(const Target& target, std::string_view name,
                                const ModuleBuilder& build);

}  // namespace coregrad
