#include "codegen/jit/kernel_cache.h"

#include "base/checked.h"
#include "codegen/contract/step.h"
#include "codegen/loops/loop_emitter.h"

#include <llvm/Support/xxhash.h>

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

/// What a kernel needs besides its code.
struct Unlinked {
  std::string symbol;
  std::shared_ptr<CompiledKernel> kernel;
  std::string key;
  const KernelSource* source;
  std::string ir_key = {};
  const Unlinked* same = nullptr;  ///< another one of this call that has the same IR
};

void emit(llvm::Module& module, const std::string& symbol, const KernelSource& source,
          const Target& target, CompiledKernel& k) {
  if (const auto* loops = std::get_if<LoopKernel>(&source)) {
    k.params = emit_loop_kernel(module, symbol, *loops, target);
    k.range = loops->range();
    k.chunk = loops->chunk;
    k.scratch_bytes = scratch_bytes(*loops, target);
    return;
  }
  ContractStep step =
      emit_contract_kernel(module, symbol, std::get<ContractKernel>(source), target);
  k.params = std::move(step.params);
  k.range = step.range;
  k.chunk = step.chunk;
  k.scratch_bytes = step.scratch_bytes;
  k.symbolic = std::move(step.symbolic);
}

/// Fills in everything but the code, and gives the kernel's IR a name.
std::string name_ir(const KernelSource& source, const Target& target, CompiledKernel& kernel) {
  const std::string ir = print_module(
      target, [&](llvm::Module& module) { emit(module, "kernel", source, target, kernel); });
  const llvm::XXH128_hash_t hash =
      llvm::xxh3_128bits({reinterpret_cast<const uint8_t*>(ir.data()), ir.size()});
  return fmt::format("{}|{}|{}|{:x}{:016x}", target.cpu, target.features, ir.size(), hash.high64,
                     hash.low64);
}

void compile_group(std::vector<Unlinked*>& group, const Target& target, CompileTimes& times) {
  const CodeHandle code = compile_module(
      target, "kernels",
      [&](llvm::Module& module) {
        for (Unlinked* u : group) emit(module, u->symbol, *u->source, target, *u->kernel);
      },
      &times);
  for (Unlinked* u : group) {
    u->kernel->code = code;
    u->kernel->function = reinterpret_cast<StepFunction>(code->address(u->symbol));
  }
}

/// f(0) .. f(count - 1), each on a thread of its own; throws what the first of them threw.
template <class F>
void run_apart(size_t count, F&& f) {
  std::vector<std::exception_ptr> failures(count);
  std::vector<std::thread> helpers;
  for (size_t i = 0; i < count; ++i)
    helpers.emplace_back([&, i] {
      try {
        f(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  for (std::thread& t : helpers) t.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

/// Takes the code of kernels whose IR was compiled before; gives those that are left, each IR once.
std::vector<Unlinked*> share_code(std::list<Unlinked>& missing, const Target& target) {
  std::vector<Unlinked*> all, left;
  for (Unlinked& u : missing) all.push_back(&u);
  std::unordered_map<std::string, const Unlinked*> first;
  for (Unlinked* u : all) {
    u->ir_key = name_ir(*u->source, target, *u->kernel);
    if (std::optional<Code> code = caches().codes.find(u->ir_key)) {
      u->kernel->code = std::move(code->handle);
      u->kernel->function = code->function;
    } else if (const auto [at, is_new] = first.try_emplace(u->ir_key, u); is_new) {
      left.push_back(u);
    } else {
      u->same = at->second;
    }
  }
  return left;
}

}  // namespace

std::vector<std::shared_ptr<const CompiledKernel>> compile_kernels(
    const std::vector<KernelSource>& sources, const Target& target, KernelCacheStats* stats) {
  std::vector<std::shared_ptr<const CompiledKernel>> result(sources.size());
  std::vector<std::string> keys(sources.size());
  std::list<Unlinked> missing;
  std::unordered_map<std::string, Unlinked*> by_key;
  KernelCacheStats local;
  for (size_t i = 0; i < sources.size(); ++i) {
    keys[i] = key_of(sources[i], target);
    result[i] = caches().kernels.find(keys[i]).value_or(nullptr);
    if (result[i] || by_key.contains(keys[i])) {
      ++local.hits;
      continue;
    }
    missing.push_back({fmt::format("coregrad_kernel_{}", missing.size()),
                       std::make_shared<CompiledKernel>(), keys[i], &sources[i]});
    by_key.emplace(keys[i], &missing.back());
  }

  if (!missing.empty()) {
    // Not on the caller's thread, whose stack may be too small for a code generator.
    std::vector<Unlinked*> all;
    run_apart(1, [&](size_t) { all = share_code(missing, target); });
    local.hits += static_cast<int64_t>(missing.size() - all.size());
    local.misses += static_cast<int64_t>(all.size());
    // One module a thread: the largest sources are dealt out first so that the shares come out
    // even.
    std::sort(all.begin(), all.end(), [](const Unlinked* a, const Unlinked* b) {
      return std::pair(b->key.size(), a->symbol) < std::pair(a->key.size(), b->symbol);
    });
    const size_t threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1,
                                              std::clamp<size_t>(all.size(), 1, 16));
    std::vector<std::vector<Unlinked*>> groups(threads);
    std::vector<size_t> load(threads, 0);
    for (Unlinked* u : all) {
      const auto lightest =
          static_cast<size_t>(std::min_element(load.begin(), load.end()) - load.begin());
      groups[lightest].push_back(u);
      load[lightest] += u->key.size() + (u->source->index() == 1 ? 4000 : 500);
    }
    std::vector<CompileTimes> times(threads);
    if (!all.empty())
      run_apart(threads, [&](size_t g) { compile_group(groups[g], target, times[g]); });
    for (const Unlinked* u : all)
      caches().codes.insert(u->ir_key, {u->kernel->code, u->kernel->function});
    for (Unlinked& u : missing) {
      if (u.same) {
        u.kernel->code = u.same->kernel->code;
        u.kernel->function = u.same->kernel->function;
      }
      // Symbols belong to one compilation; what they stand for is in the IR.
      if (!has_symbols(*u.source)) caches().kernels.insert(u.key, u.kernel);
    }
    for (size_t i = 0; i < sources.size(); ++i)
      if (!result[i]) result[i] = by_key.at(keys[i])->kernel;
    for (const CompileTimes& t : times) {
      local.times.build_ms += t.build_ms;
      local.times.optimize_ms += t.optimize_ms;
      local.times.codegen_ms += t.codegen_ms;
      local.times.link_ms += t.link_ms;
    }
  }
  if (stats) {
    stats->hits += local.hits;
    stats->misses += local.misses;
    stats->times.build_ms += local.times.build_ms;
    stats->times.optimize_ms += local.times.optimize_ms;
    stats->times.codegen_ms += local.times.codegen_ms;
    stats->times.link_ms += local.times.link_ms;
  }
  return result;
}

void clear_kernel_cache() {
  caches().kernels.clear();
  caches().codes.clear();
}

}  // namespace coregrad
