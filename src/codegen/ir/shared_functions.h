#pragma once
// Functions that several kernels call, each in a module of its own: where their IR is equal, there
// is one of them in the process. They may call others.
//
// What differs between kernels reaches such a function as arguments and parameters (StepParams).

#include "kernel/target.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llvm {
class Function;
class Module;
}  // namespace llvm

namespace coregrad {

/// The shared functions that a module calls.
class SharedFunctions {
 public:
  /// Named by what it does, so that equal names mean equal code.
  struct Entry {
    std::string name;
    std::unique_ptr<llvm::Module> module;  ///< in the context of the caller's
  };

  explicit SharedFunctions(Target target);
  SharedFunctions(const SharedFunctions&) = delete;
  SharedFunctions& operator=(const SharedFunctions&) = delete;
  ~SharedFunctions();

  /// Declares in `caller` the function that `write` adds to the module it is given.
  llvm::Function* add(llvm::Module& caller,
                      const std::function<llvm::Function*(llvm::Module&)>& write);

  /// Each once, behind those that it calls.
  const std::vector<Entry>& entries() const { return entries_; }
  bool contains(std::string_view name) const;

 private:
  Target target_;
  std::vector<Entry> entries_;
};

/// A name for a module's text: 128 bits of its hash and its length.
std::string name_of_text(const llvm::Module& module);

}  // namespace coregrad
