#include "tensor/evaluate.h"

#include "base/flags.h"
#include "compile/compiler.h"
#include "interp/interpreter.h"
#include "runtime/executor.h"
#include "tensor/kept_values.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>

namespace coregrad {
namespace {

/// Structures kept ready; the least recently used one goes first. A training loop needs a handful.
constexpr size_t kMaxCached = 512;

/// The roots and the values to keep, which are listed in `kept`.
std::vector<NodeId> results_of(StandaloneGraph& standalone, std::vector<KeptValue>& kept) {
  std::vector<NodeId> results = standalone.roots;
  for (int64_t number : values_to_keep(standalone)) {
    const NodeId node = standalone.nodes[number];
    const Shape shape = standalone.graph.shape(node);
    kept.push_back({number, standalone.graph.dtype(node), {shape.begin(), shape.end()}});
    results.push_back(node);
  }
  return results;
}

class CompiledStructure : public Executable {
 public:
  explicit CompiledStructure(const Structure& structure) {
    StandaloneGraph standalone = rebuild_structure(structure.key);
    std::vector<OutputSpec> outputs;
    for (NodeId root : results_of(standalone, kept_))
      outputs.push_back({.node = root, .strides = {}});
    plan_ =
        compile(
            standalone.graph, outputs, static_cast<int64_t>(structure.inputs.size()),
            {.externals = {}, .optimize = flags().executor != Executor::Unfused, .name = "tensors"})
            .plan;
  }

  void run(std::span<const void* const> inputs, std::span<void* const> outputs) const override {
    coregrad::run(*plan_, inputs, outputs);
  }
  int64_t num_steps() const override { return static_cast<int64_t>(plan_->steps.size()); }
  int64_t num_products() const override {
    return std::ranges::count(plan_->steps, StepKind::Contract, &Step::kind);
  }

 private:
  std::shared_ptr<const Plan> plan_;
};

/// The slow reference, for debugging (COREGRAD_EXECUTOR=interpreter).
class InterpretedStructure : public Executable {
 public:
  explicit InterpretedStructure(const Structure& structure)
      : standalone_(rebuild_structure(structure.key)), results_(results_of(standalone_, kept_)) {}

  void run(std::span<const void* const> inputs, std::span<void* const> outputs) const override {
    std::vector<InputView> views;
    for (const void* data : inputs) views.push_back({data});
    const std::vector<Array> values = interpret(standalone_.graph, results_, views);
    for (size_t i = 0; i < outputs.size(); ++i)
      std::memcpy(outputs[i], values[i].data.data(), values[i].data.size());
  }
  int64_t num_steps() const override {
    return std::ranges::count(mark_live(standalone_.graph, results_), true);
  }
  int64_t num_products() const override {
    const std::vector<bool> live = mark_live(standalone_.graph, results_);
    int64_t count = 0;
    for (uint32_t i = 0; i < standalone_.graph.size(); ++i)
      count += live[i] && standalone_.graph[{i}].op == Op::Contract;
    return count;
  }

 private:
  StandaloneGraph standalone_;
  std::vector<NodeId> results_;
};

std::shared_ptr<const Executable> make_executable(const Structure& structure) {
  if (flags().executor == Executor::Interpreter)
    return std::make_shared<InterpretedStructure>(structure);
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

void count_run(const Executable& executable) {
  const int64_t steps = executable.num_steps(), products = executable.num_products();
  const std::lock_guard lock(cache().mutex);
  EvaluationStats& stats = cache().stats;
  ++stats.runs;
  stats.steps += steps;
  stats.products += products;
}

}  // namespace coregrad
