#include "codegen/jit/kernel_cache.h"

#include "base/flags.h"
#include "base/log.h"
#include "codegen/contract/step.h"
#include "codegen/loops/loop_emitter.h"

#include <algorithm>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>

namespace coregrad {
namespace {

constexpr size_t kMaxKernels = 8192;
constexpr int kMaxThreads = 16;

/// Keeps what was used last. Thread-safe.
template <class Value>
class Cache {
 public:
  std::optional<Value> find(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto at = entries_.find(key);
    if (at == entries_.end()) return {};
    order_.splice(order_.end(), order_, at->second.place);
    return at->second.value;
  }

  void insert(const std::string& key, Value value) {
    const std::lock_guard lock(mutex_);
    if (entries_.contains(key)) return;
    if (entries_.size() >= kMaxKernels) {
      entries_.erase(order_.front());
      order_.pop_front();
    }
    order_.push_back(key);
    entries_.emplace(key, Entry{std::move(value), std::prev(order_.end())});
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    entries_.clear();
    order_.clear();
  }

 private:
  struct Entry {
    Value value;
    std::list<std::string>::iterator place;
  };
  std::mutex mutex_;
  std::list<std::string> order_;  // least recently used first
  std::unordered_map<std::string, Entry> entries_;
};

struct Code {
  CodeHandle handle;
  StepFunction function = nullptr;
};

struct Caches {
  Cache<std::shared_ptr<const CompiledKernel>> kernels;  // by structure
  Cache<Code> codes;                                     // by LLVM IR
};

Caches& caches() {
  static Caches* const instance =
      new Caches;  // never destroyed: plans may outlive static destructors
  return *instance;
}

std::string key_of(const KernelSource& source, const Target& target) {
  const std::string body = std::visit([](const auto& k) { return k.structure_key(); }, source);
  return fmt::format("{}|{}|{}|{}|{}", target.cpu, target.features, target.machine, source.index(),
                     body);
}

bool has_symbols(const KernelSource& source) {
  return std::visit([](const auto& k) { return k.has_symbols(); }, source);
}

/// A kernel that is not there yet.
struct Missing {
  std::string key;
  const KernelSource* source;
  std::shared_ptr<CompiledKernel> kernel = std::make_shared<CompiledKernel>();
  const Missing* same = nullptr;  ///< another one of this call that has the same IR

  /// About how long its code takes to make.
  size_t weight() const { return key.size() + (source->index() == 1 ? 4000 : 500); }
};

constexpr const char* kSymbol = "kernel";

void emit(llvm::Module& module, SharedFunctions& shared, const KernelSource& source,
          const Target& target, CompiledKernel& k) {
  if (const auto* loops = std::get_if<LoopKernel>(&source)) {
    k.params = emit_loop_kernel(module, kSymbol, *loops, target);
    k.range = loops->range();
    k.chunk = loops->chunk;
    k.scratch_bytes = scratch_bytes(*loops, target);
    return;
  }
  ContractStep step =
      emit_contract_kernel(module, shared, kSymbol, std::get<ContractKernel>(source), target);
  k.params = std::move(step.params);
  k.range = step.range;
  k.chunk = step.chunk;
  k.scratch_bytes = step.scratch_bytes;
  k.symbolic = std::move(step.symbolic);
}

/// Kernels are made one by one, by as many threads as there are; the largest first, so that none is
/// waited for at the end.
class KernelMaker {
 public:
  KernelMaker(std::list<Missing>& missing, const Target& target, int max_threads)
      : target_(target), max_threads_(max_threads) {
    for (Missing& m : missing) order_.push_back(&m);
    std::ranges::stable_sort(order_, std::greater(), &Missing::weight);
  }

  void run() {
    // Not on the caller's thread, whose stack may be too small for a code generator.
    const int most = std::clamp(max_threads_, 1, kMaxThreads);
    const size_t count = std::clamp<size_t>(std::thread::hardware_concurrency(), 1,
                                            std::min(order_.size(), static_cast<size_t>(most)));
    std::vector<std::thread> threads;
    for (size_t i = 0; i < count; ++i) threads.emplace_back([this] { work(); });
    for (std::thread& t : threads) t.join();
    if (failure_) std::rethrow_exception(failure_);
  }

  int64_t misses() const { return misses_; }
  const CompileTimes& times() const { return times_; }

 private:
  void work() {
    CompileTimes times;
    try {
      while (Missing* const next = take()) make(*next, times);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    times_.build_ms += times.build_ms;
    times_.optimize_ms += times.optimize_ms;
    times_.codegen_ms += times.codegen_ms;
    times_.link_ms += times.link_ms;
  }

  /// The next kernel, or none once there is nothing left or something failed.
  Missing* take() {
    const std::lock_guard lock(mutex_);
    return failure_ || next_ == order_.size() ? nullptr : order_[next_++];
  }

  void make(Missing& m, CompileTimes& times) {
    ModuleIr ir(
        target_, kSymbol,
        [&](llvm::Module& module, SharedFunctions& shared) {
          emit(module, shared, *m.source, target_, *m.kernel);
        },
        times);
    std::optional<Code> code = caches().codes.find(ir.key());
    if (!code) {
      {
        const std::lock_guard lock(mutex_);
        const auto [at, is_new] = first_.try_emplace(ir.key(), &m);
        if (!is_new) {
          m.same = at->second;
          return;
        }
        ++misses_;
      }
      const CodeHandle handle = ir.compile(times);
      code = Code{handle, reinterpret_cast<StepFunction>(handle->address(kSymbol))};
      caches().codes.insert(ir.key(), *code);
    }
    m.kernel->code = std::move(code->handle);
    m.kernel->function = code->function;
  }

  const Target& target_;
  int max_threads_;
  std::vector<Missing*> order_;
  std::mutex mutex_;
  size_t next_ = 0;
  std::unordered_map<std::string, const Missing*> first_;  ///< of each IR that is being compiled
  std::exception_ptr failure_;
  CompileTimes times_;
  int64_t misses_ = 0;
};

}  // namespace

std::vector<std::shared_ptr<const CompiledKernel>> compile_kernels(
    const std::vector<KernelSource>& sources, const Target& target, KernelCacheStats* stats,
    int max_threads) {
  std::vector<std::shared_ptr<const CompiledKernel>> result(sources.size());
  std::vector<std::string> keys(sources.size());
  std::list<Missing> missing;
  std::unordered_map<std::string, const Missing*> by_key;
  for (size_t i = 0; i < sources.size(); ++i) {
    keys[i] = key_of(sources[i], target);
    result[i] = caches().kernels.find(keys[i]).value_or(nullptr);
    if (result[i] || by_key.contains(keys[i])) continue;
    missing.push_back({keys[i], &sources[i]});
    by_key.emplace(keys[i], &missing.back());
  }
  int64_t misses = 0;
  if (!missing.empty()) {
    KernelMaker maker(missing, target, max_threads);
    maker.run();
    misses = maker.misses();
    const CompileTimes& times = maker.times();
    for (const Missing& m : missing) {
      if (m.same) {
        m.kernel->code = m.same->kernel->code;
        m.kernel->function = m.same->kernel->function;
      }
      // Symbols belong to one compilation; what they stand for is in the IR.
      if (!has_symbols(*m.source)) caches().kernels.insert(m.key, m.kernel);
    }
    for (size_t i = 0; i < sources.size(); ++i)
      if (!result[i]) result[i] = by_key.at(keys[i])->kernel;
    if (flags().debug >= 1)
      log().debug(
          "machine code of {} kernels: writing {:.1f} ms, optimising {:.1f}, "
          "instructions {:.1f}, linking {:.1f}, over all threads",
          misses, times.build_ms, times.optimize_ms, times.codegen_ms, times.link_ms);
  }
  if (stats) {
    stats->hits += static_cast<int64_t>(sources.size()) - misses;
    stats->misses += misses;
  }
  return result;
}

void clear_kernel_cache() {
  caches().kernels.clear();
  caches().codes.clear();
}

}  // namespace coregrad
