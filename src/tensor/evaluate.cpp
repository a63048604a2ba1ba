#include "tensor/evaluate.h"

#include "base/flags.h"
#include "compile/compiler.h"
#include "interp/interpreter.h"
#include "runtime/executor.h"

#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>

namespace coregrad {
namespace {

/// Structures kept ready; the least recently used one goes first. A training loop needs a handful.
constexpr size_t kMaxCached = 512;

class CompiledStructure : public Executable {
 public:
  explicit CompiledStructure(const Structure& structure) {
    const StandaloneGraph standalone = rebuild_structure(structure.key);
    std::vector<OutputSpec> outputs;
    for (NodeId root : standalone.roots) outputs.push_back({.node = root, .strides = {}});
    plan_ = compile(standalone.graph, outputs, static_cast<int64_t>(structure.inputs.size()),
                    {.externals = {}, .name = "tensors"})
                .plan;
  }

  void run(std::span<const void* const> inputs, std::span<void* const> outputs) const override {
    coregrad::run(*plan_, inputs, outputs);
  }

 private:
  std::shared_ptr<const Plan> plan_;
};

/// The slow reference, for debugging (COREGRAD_EXECUTOR=interpreter).
class InterpretedStructure : public Executable {
 public:
  explicit InterpretedStructure(const Structure& structure)
      : standalone_(rebuild_structure(structure.key)) {}

  void run(std::span<const void* const> inputs, std::span<void* const> outputs) const override {
    std::vector<InputView> views;
    for (const void* data : inputs) views.push_back({data});
    const std::vector<Array> values = interpret(standalone_.graph, standalone_.roots, views);
    for (size_t i = 0; i < outputs.size(); ++i)
      std::memcpy(outputs[i], values[i].data.data(), values[i].data.size());
  }

 private:
  StandaloneGraph standalone_;
};

std::shared_ptr<const Executable> make_executable(const Structure& structure) {
  if (flags().interpret) return std::make_shared<InterpretedStructure>(structure);
  return std::make_shared<CompiledStructure>(structure);
}

struct CacheEntry {
  std::vector<int64_t> key;
  std::shared_ptr<const Executable> executable;
  int64_t last_use = 0;
};

struct Cache {
  std::mutex mutex;
  std::unordered_multimap<uint64_t, CacheEntry> entries;
  int64_t clock = 0;
  EvaluationStats stats;

  CacheEntry* find(uint64_t hash, const std::vector<int64_t>& key) {
    const auto [first, last] = entries.equal_range(hash);
    for (auto at = first; at != last; ++at)
      if (at->second.key == key) return &at->second;
    return nullptr;
  }

  void evict_oldest() {
    auto oldest = entries.begin();
    for (auto at = entries.begin(); at != entries.end(); ++at)
      if (at->second.last_use < oldest->second.last_use) oldest = at;
    entries.erase(oldest);
  }
};

Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

}  // namespace

std::shared_ptr<const Executable> executable_for(const Structure& structure) {
  const uint64_t hash = structure.hash();
  Cache& c = cache();
  {
    const std::lock_guard lock(c.mutex);
    if (CacheEntry* entry = c.find(hash, structure.key)) {
      ++c.stats.hits;
      entry->last_use = ++c.clock;
      return entry->executable;
    }
  }
  // Two threads may compile the same structure at once; the second result is dropped.
  std::shared_ptr<const Executable> made = make_executable(structure);
  const std::lock_guard lock(c.mutex);
  ++c.stats.compiled;
  if (CacheEntry* entry = c.find(hash, structure.key)) return entry->executable;
  if (c.entries.size() >= kMaxCached) c.evict_oldest();
  c.entries.emplace(hash, CacheEntry{structure.key, made, ++c.clock});
  return made;
}

EvaluationStats evaluation_stats() {
  const std::lock_guard lock(cache().mutex);
  return cache().stats;
}

void count_run() {
  const std::lock_guard lock(cache().mutex);
  ++cache().stats.runs;
}

}  // namespace coregrad
