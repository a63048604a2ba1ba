#include "codegen/kernel_cache.h"

#include "base/checked.h"
#include "codegen/loop_emitter.h"

#include <algorithm>
#include <exception>
#include <list>
#include <mutex>
#include <thread>
#include <unordered_map>

namespace coregrad {
namespace {

constexpr size_t kMaxKernels = 8192;

struct Cache {
  std::mutex mutex;
  std::list<std::string> order;  // least recently used first
  struct Entry {
    std::shared_ptr<const CompiledKernel> kernel;
    std::list<std::string>::iterator place;
  };
  std::unordered_map<std::string, Entry> entries;

  std::shared_ptr<const CompiledKernel> find(const std::string& key) {
    const std::lock_guard lock(mutex);
    const auto at = entries.find(key);
    if (at == entries.end()) return nullptr;
    order.splice(order.end(), order, at->second.place);
    return at->second.kernel;
  }

  void insert(const std::string& key, std::shared_ptr<const CompiledKernel> kernel) {
    const std::lock_guard lock(mutex);
    if (entries.contains(key)) return;
    if (entries.size() >= kMaxKernels) {
      entries.erase(order.front());
      order.pop_front();
    }
    order.push_back(key);
    entries.emplace(key, Entry{std::move(kernel), std::prev(order.end())});
  }
};

Cache& cache() {
  static Cache* const instance =
      new Cache;  // never destroyed: plans may outlive static destructors
  return *instance;
}

std::string key_of(const KernelSource& source, const Target& target) {
  const std::string body = std::visit([](const auto& k) { return k.structure_key(); }, source);
  return fmt::format("{}|{}|{}|{}", target.cpu, target.features, source.index(), body);
}

/// What a kernel needs besides its code.
struct Unlinked {
  std::string symbol;
  std::shared_ptr<CompiledKernel> kernel;
  std::string key;
  const KernelSource* source;
};

void compile_group(std::vector<Unlinked*>& group, const Target& target, CompileTimes& times) {
  const CodeHandle code = compile_module(
      target, "kernels",
      [&](llvm::Module& module) {
        for (Unlinked* u : group) {
          CompiledKernel& k = *u->kernel;
          if (const auto* loops = std::get_if<LoopKernel>(u->source)) {
            emit_loop_kernel(module, u->symbol, *loops, target);
            k.range = loops->range();
            k.chunk = loops->chunk;
            k.scratch_bytes = scratch_bytes(*loops, target);
          } else {
            const ContractStep step = emit_contract_kernel(
                module, u->symbol, std::get<ContractKernel>(*u->source), target);
            k.range = step.range;
            k.chunk = step.chunk;
            k.scratch_bytes = step.scratch_bytes;
          }
        }
      },
      &times);
  for (Unlinked* u : group) {
    u->kernel->code = code;
    u->kernel->function = reinterpret_cast<StepFunction>(code->address(u->symbol));
  }
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
    result[i] = cache().find(keys[i]);
    if (result[i] || by_key.contains(keys[i])) {
      ++local.hits;
      continue;
    }
    ++local.misses;
    missing.push_back({fmt::format("coregrad_kernel_{}", missing.size()),
                       std::make_shared<CompiledKernel>(), keys[i], &sources[i]});
    by_key.emplace(keys[i], &missing.back());
  }

  if (!missing.empty()) {
    // One module a thread: the largest sources are dealt out first so that the shares come out
    // even.
    const size_t threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1,
                                              std::min<size_t>(missing.size(), 16));
    std::vector<Unlinked*> all;
    for (Unlinked& u : missing) all.push_back(&u);
    std::sort(all.begin(), all.end(), [](const Unlinked* a, const Unlinked* b) {
      return std::pair(b->key.size(), a->symbol) < std::pair(a->key.size(), b->symbol);
    });
    std::vector<std::vector<Unlinked*>> groups(threads);
    std::vector<size_t> load(threads, 0);
    for (Unlinked* u : all) {
      const auto lightest =
          static_cast<size_t>(std::min_element(load.begin(), load.end()) - load.begin());
      groups[lightest].push_back(u);
      load[lightest] += u->key.size() + (u->source->index() == 1 ? 4000 : 500);
    }
    std::vector<CompileTimes> times(threads);
    std::vector<std::exception_ptr> failures(threads);
    const auto work = [&](size_t g) {
      try {
        compile_group(groups[g], target, times[g]);
      } catch (...) {
        failures[g] = std::current_exception();
      }
    };
    // Not on the caller's thread, whose stack may be too small for a code generator.
    std::vector<std::thread> helpers;
    for (size_t g = 0; g < threads; ++g) helpers.emplace_back(work, g);
    for (std::thread& t : helpers) t.join();
    for (const std::exception_ptr& f : failures)
      if (f) std::rethrow_exception(f);
    for (Unlinked& u : missing) cache().insert(u.key, u.kernel);
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
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  c.entries.clear();
  c.order.clear();
}

}  // namespace coregrad
