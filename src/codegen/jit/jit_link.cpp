// Object code to callable memory, with JITLink alone: no session, no symbol tables shared by
// modules.
//
// Pages are written first, then made executable (never both), and used again when the LoadedCode is
// gone.

#include "base/error.h"
#include "codegen/jit/jit.h"
#include "codegen/math/vector_math_rare.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/ExecutionEngine/JITLink/JITLink.h>
#include <llvm/ExecutionEngine/JITLink/JITLinkMemoryManager.h>
#include <llvm/ExecutionEngine/Orc/MapperJITLinkMemoryManager.h>
#include <llvm/ExecutionEngine/Orc/MemoryMapper.h>
#include <llvm/Support/Process.h>

#include <chrono>
#include <cmath>
#include <cstring>

namespace coregrad {
namespace {

LLVM_ENABLE_BITMASK_ENUMS_IN_NAMESPACE();

namespace jitlink = llvm::jitlink;
using llvm::orc::ExecutorAddr;
using Allocation = jitlink::JITLinkMemoryManager::FinalizedAlloc;

/// The only functions that machine code may call: LLVM makes block copies and fills of them, and,
/// on machines without SSE4 or FMA, rounding and fused multiply-add.
ExecutorAddr process_symbol(llvm::StringRef name) {
  using UnaryF = float (*)(float);
  using UnaryD = double (*)(double);
  struct Entry {
    const char* name;
    ExecutorAddr address;
  };
  static const Entry entries[] = {
      {"memcpy", ExecutorAddr::fromPtr(&std::memcpy)},
      {"memmove", ExecutorAddr::fromPtr(&std::memmove)},
      {"memset", ExecutorAddr::fromPtr(&std::memset)},
      {"floorf", ExecutorAddr::fromPtr(static_cast<UnaryF>(&::floorf))},
      {"floor", ExecutorAddr::fromPtr(static_cast<UnaryD>(&::floor))},
      {"ceilf", ExecutorAddr::fromPtr(static_cast<UnaryF>(&::ceilf))},
      {"ceil", ExecutorAddr::fromPtr(static_cast<UnaryD>(&::ceil))},
      {"truncf", ExecutorAddr::fromPtr(static_cast<UnaryF>(&::truncf))},
      {"trunc", ExecutorAddr::fromPtr(static_cast<UnaryD>(&::trunc))},
      {"rintf", ExecutorAddr::fromPtr(static_cast<UnaryF>(&::rintf))},
      {"rint", ExecutorAddr::fromPtr(static_cast<UnaryD>(&::rint))},
      {"nearbyintf", ExecutorAddr::fromPtr(static_cast<UnaryF>(&::nearbyintf))},
      {"nearbyint", ExecutorAddr::fromPtr(static_cast<UnaryD>(&::nearbyint))},
      {"roundevenf", ExecutorAddr::fromPtr(static_cast<UnaryF>(&::rintf))},
      {"roundeven", ExecutorAddr::fromPtr(static_cast<UnaryD>(&::rint))},
      // LLVM makes these of choices between float16 scalars.
      {"fminf", ExecutorAddr::fromPtr(static_cast<float (*)(float, float)>(&::fminf))},
      {"fmin", ExecutorAddr::fromPtr(static_cast<double (*)(double, double)>(&::fmin))},
      {"fmaxf", ExecutorAddr::fromPtr(static_cast<float (*)(float, float)>(&::fmaxf))},
      {"fmax", ExecutorAddr::fromPtr(static_cast<double (*)(double, double)>(&::fmax))},
      {"fmaf", ExecutorAddr::fromPtr(static_cast<float (*)(float, float, float)>(&::fmaf))},
      {"fma", ExecutorAddr::fromPtr(static_cast<double (*)(double, double, double)>(&::fma))},
      {vector_math::kReduceHugeF32, ExecutorAddr::fromPtr(&vector_math::reduce_huge_f32)},
      {vector_math::kReduceHugeF64, ExecutorAddr::fromPtr(&vector_math::reduce_huge_f64)},
      {vector_math::kFmodExact, ExecutorAddr::fromPtr(&vector_math::fmod_exact)},
  };
  for (const Entry& entry : entries)
    if (name == entry.name) return entry.address;
  return ExecutorAddr();
}

/// Hands out pieces of slabs. A kernel is a few pages, and Linux gives a process some 65,000
/// mappings: neighbours with the same access are one.
jitlink::JITLinkMemoryManager& memory_manager() {
  constexpr size_t kSlabBytes = 1 << 20;
  // Never destroyed: code may be freed by static destructors.
  static auto* const instance = new llvm::orc::MapperJITLinkMemoryManager(
      kSlabBytes, std::make_unique<llvm::orc::InProcessMemoryMapper>(
                      llvm::sys::Process::getPageSizeEstimate()));
  return *instance;
}

/// Constants may be executed, so that an object is one range of pages.
llvm::Error join_with_code(jitlink::LinkGraph& graph) {
  using llvm::orc::MemProt;
  for (jitlink::Section& section : graph.sections())
    if (section.getMemProt() == MemProt::Read) section.setMemProt(MemProt::Read | MemProt::Exec);
  return llvm::Error::success();
}

class LinkedCode final : public LoadedCode {
 public:
  LinkedCode(std::string_view name, std::vector<CodeHandle> called)
      : name_(name), called_(std::move(called)) {}
  ~LinkedCode() override {
    if (!allocation_) return;
    // Giving back a block that we took does not fail, and a destructor has nobody to tell.
    if (llvm::Error failure = memory_manager().deallocate(std::move(allocation_)))
      llvm::consumeError(std::move(failure));
  }

  bool has(const std::string& symbol) const override { return symbols_.contains(symbol); }

  void* address(const std::string& symbol) const override {
    const auto it = symbols_.find(symbol);
    if (it == symbols_.end())
      raise<InternalError>("jit: module {} has no function {}", name_, symbol);
    return it->second.toPtr<void*>();
  }

  std::string name_;
  std::vector<CodeHandle> called_;  ///< whose functions it calls
  llvm::StringMap<ExecutorAddr> symbols_;
  Allocation allocation_;
  std::string failure_;
};

/// JITLink's callbacks. With memory in this process they all run before link() returns.
class LinkContext final : public jitlink::JITLinkContext {
 public:
  explicit LinkContext(LinkedCode& code) : JITLinkContext(nullptr), code_(code) {}

  jitlink::JITLinkMemoryManager& getMemoryManager() override { return memory_manager(); }

  void notifyFailed(llvm::Error failure) override {
    code_.failure_ = llvm::toString(std::move(failure));
  }

  void lookup(const LookupMap& names,
              std::unique_ptr<jitlink::JITLinkAsyncLookupContinuation> resume) override {
    jitlink::AsyncLookupResult found;
    for (const auto& [name, flags] : names)
      found[name] = {find(name), llvm::JITSymbolFlags::Exported};
    resume->run(std::move(found));
  }

  llvm::Error modifyPassConfig(jitlink::LinkGraph&, jitlink::PassConfiguration& passes) override {
    passes.PostPrunePasses.push_back(join_with_code);
    passes.PostPrunePasses.push_back([this](jitlink::LinkGraph& graph) { return check(graph); });
    return llvm::Error::success();
  }

  llvm::Error notifyResolved(jitlink::LinkGraph& graph) override {
    for (const jitlink::Symbol* symbol : graph.defined_symbols())
      if (symbol->hasName() && symbol->getScope() != jitlink::Scope::Local)
        code_.symbols_[symbol->getName()] = symbol->getAddress();
    return llvm::Error::success();
  }

  void notifyFinalized(Allocation allocation) override {
    code_.allocation_ = std::move(allocation);
  }

 private:
  /// Before there is memory: LLVM 19 does not give back a piece of a slab that was not finished.
  llvm::Error check(jitlink::LinkGraph& graph) const {
    for (const jitlink::Symbol* symbol : graph.external_symbols())
      if (!find(symbol->getName()))
        return llvm::make_error<llvm::StringError>(
            "code calls " + symbol->getName() + ", which is no function it may call",
            llvm::inconvertibleErrorCode());
    return llvm::Error::success();
  }

  ExecutorAddr find(llvm::StringRef name) const {
    for (const CodeHandle& called : code_.called_)
      if (called->has(name.str())) return ExecutorAddr::fromPtr(called->address(name.str()));
    return process_symbol(name);
  }

  LinkedCode& code_;
};

}  // namespace

CodeHandle load_object(std::string_view object, std::string_view name, CompileTimes* times,
                       std::vector<CodeHandle> called) {
  const auto start = std::chrono::steady_clock::now();
  const std::string title(name);
  const llvm::MemoryBufferRef bytes(llvm::StringRef(object.data(), object.size()), title);
  auto graph = jitlink::createLinkGraphFromObject(bytes);
  if (!graph) raise<InternalError>("jit: module {}: {}", name, llvm::toString(graph.takeError()));
  auto code = std::make_shared<LinkedCode>(name, std::move(called));
  jitlink::link(std::move(*graph), std::make_unique<LinkContext>(*code));
  if (!code->failure_.empty()) raise<InternalError>("jit: module {}: {}", name, code->failure_);
  COREGRAD_CHECK(code->allocation_);
  if (times)
    times->link_ms +=
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return code;
}

}  // namespace coregrad
