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
#include <vector>

namespace llvm {
class Module;
}  // namespace llvm

namespace coregrad {

class SharedFunctions;  // codegen/ir/shared_functions.h

/// Loaded machine code; freed with the last owner.
class LoadedCode {
 public:
  virtual ~LoadedCode() = default;
  /// Whether it has the function.
  virtual bool has(const std::string& symbol) const = 0;
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
/// The same for a module that calls functions which others may call too.
using SharingBuilder = std::function<void(llvm::Module& module, SharedFunctions& shared)>;

/// A module as LLVM IR, before any optimisation. Fast-math flags, attributes and vector widths are
/// the builder's business; target attributes are set on every function here.
class ModuleIr {
 public:
  ModuleIr(const Target& target, std::string_view name, const SharingBuilder& build,
           CompileTimes& times);
  ~ModuleIr();
  ModuleIr(const ModuleIr&) = delete;
  ModuleIr& operator=(const ModuleIr&) = delete;

  /// Modules of one name and key have equal machine code.
  const std::string& key() const { return key_; }
  /// Machine code; once. Several modules may compile at the same time. Shared functions that are
  /// not in the process are compiled, and stay as long as code that calls them.
  CodeHandle compile(CompileTimes& times);

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::string key_;
};

/// Writes and compiles one module for `target`. Thread-safe.
CodeHandle compile_module(const Target& target, std::string_view name, const SharingBuilder& build,
                          CompileTimes* times = nullptr);
CodeHandle compile_module(const Target& target, std::string_view name, const ModuleBuilder& build,
                          CompileTimes* times = nullptr);

/// The two halves of compile_module: relocatable object bytes, for keeping on disk, and loading
/// them. `called`: code that has what they call.
std::string compile_to_object(const Target& target, std::string_view name,
                              const ModuleBuilder& build, CompileTimes* times = nullptr);
CodeHandle load_object(std::string_view object, std::string_view name,
                       CompileTimes* times = nullptr, std::vector<CodeHandle> called = {});

/// The module's assembly in place of code: for tests and for looking at.
std::string compile_to_assembly(const Target& target, std::string_view name,
                                const ModuleBuilder& build);

}  // namespace coregrad
