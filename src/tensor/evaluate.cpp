#include "tensor/evaluate.h"

#include "base/flags.h"
#include "base/hash.h"
#include "base/log.h"
#include "compile/compiler.h"
#include "interp/interpreter.h"
#include "runtime/executor.h"
#include "tensor/kept_values.h"
#include "tensor/structure_family.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <ranges>
#include <unordered_map>

namespace coregrad {
namespace {

/// Structures kept ready; the least recently used one goes first. A training loop needs a handful.
constexpr size_t kMaxCached = 512;

/// Structures of a family that its templates are made from.
constexpr size_t kMaxMembers = 4;

class PlannedStructure : public Executable {
 public:
  PlannedStructure(std::shared_ptr<const Plan> plan, std::vector<KeptValue> kept,
                   std::vector<uint64_t> literals)
      : plan_(std::move(plan)), literals_(std::move(literals)) {
    kept_ = std::move(kept);
  }

  void run(std::span<const void* const> inputs, std::span<void* const> outputs) const override {
    std::vector<const void*> all(inputs.begin(), inputs.end());
    for (const uint64_t& bits : literals_) all.push_back(&bits);
    coregrad::run(*plan_, all, outputs);
  }
  int64_t num_steps() const override { return static_cast<int64_t>(plan_->steps.size()); }
  int64_t num_products() const override {
    return std::ranges::count(plan_->steps, StepKind::Contract, &Step::kind);
  }

 private:
  std::shared_ptr<const Plan> plan_;
  std::vector<uint64_t> literals_;
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

std::shared_ptr<const Executable> executable_of(const Structure& structure) {
  if (flags().executor == Executor::Interpreter)
    return std::make_shared<InterpretedStructure>(structure);
  StandaloneGraph standalone = rebuild_structure(structure.key);
  std::vector<KeptValue> kept;
  std::vector<OutputSpec> outputs;
  for (NodeId root : results_of(standalone, kept)) outputs.push_back({.node = root, .strides = {}});
  CompiledPlan compiled = compile(
      standalone.graph, outputs, static_cast<int64_t>(structure.inputs.size()),
      {.externals = {}, .optimize = flags().executor != Executor::Unfused, .name = "tensors"});
  return make_executable(std::move(compiled.plan), std::move(kept));
}

struct CacheEntry {
  std::vector<int64_t> key;
  std::shared_ptr<const Executable> executable;
  int64_t last_use = 0;
};

/// Structures with one skeleton: the first ones that were met, and what was made for all.
struct Family {
  std::vector<int64_t> key;  ///< SplitKey::skeleton
  std::vector<OwnValues> members = {};
  std::vector<std::shared_ptr<const StructureTemplate>> templates = {};
  int64_t last_use = 0;
};

/// The entries by hash; the least recently used one goes when there are too many.
template <class Entry>
class Table {
 public:
  Entry* find(uint64_t hash, const std::vector<int64_t>& key) {
    const auto [first, last] = entries_.equal_range(hash);
    for (auto at = first; at != last; ++at)
      if (at->second.key == key) {
        at->second.last_use = ++clock_;
        return &at->second;
      }
    return nullptr;
  }
  Entry& add(uint64_t hash, Entry entry) {
    if (entries_.size() >= kMaxCached)
      entries_.erase(
          std::ranges::min_element(entries_, {}, [](const auto& e) { return e.second.last_use; }));
    entry.last_use = ++clock_;
    return entries_.emplace(hash, std::move(entry))->second;
  }

 private:
  std::unordered_multimap<uint64_t, Entry> entries_;
  int64_t clock_ = 0;
};

struct Cache {
  std::mutex mutex;
  Table<CacheEntry> entries;
  Table<Family> families;
  EvaluationStats stats;
};

Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

/// One that serves others too: an older template, or a new one where structures of this family
/// were met before. Null where there is none; the structure is noted then.
std::shared_ptr<const Executable> shared_executable(const Structure& structure) {
  const SplitKey split(structure.key);
  const uint64_t hash = hash_ints(split.skeleton);
  Cache& c = cache();
  Family family;
  {
    const std::lock_guard lock(c.mutex);
    Family* found = c.families.find(hash, split.skeleton);
    if (!found) {
      c.families.add(hash, {split.skeleton, {split.values}});
      return nullptr;
    }
    family = *found;
  }
  // The newest one was made from the most structures.
  for (const auto& made : std::views::reverse(family.templates))
    if (std::shared_ptr<const Executable> executable = made->executable_for(split.values)) {
      const std::lock_guard lock(c.mutex);
      ++c.stats.hits;
      return executable;
    }
  if (family.members.size() >= kMaxMembers) return nullptr;
  family.members.push_back(split.values);
  std::shared_ptr<const StructureTemplate> made;
  std::shared_ptr<const Executable> executable;
  try {
    made = std::make_shared<const StructureTemplate>(
        structure, split, generalize(structure.key, split, family.members));
    executable = made->executable_for(split.values);
  } catch (const Error& error) {  // what has a plan for numbers alone gets that
    log().debug("tensors: no plan for all sizes: {}", error.what());
  }
  const std::lock_guard lock(c.mutex);
  Family* found = c.families.find(hash, split.skeleton);
  if (!found) return executable;
  found->members.push_back(split.values);
  if (executable) {
    ++c.stats.compiled;
    found->templates.push_back(std::move(made));
  }
  return executable;
}

}  // namespace

std::vector<NodeId> results_of(StandaloneGraph& standalone, std::vector<KeptValue>& kept) {
  std::vector<NodeId> results = standalone.roots;
  for (const int64_t number : values_to_keep(standalone)) {
    const NodeId node = standalone.nodes[static_cast<size_t>(number)];
    std::vector<int64_t> shape;
    for (const SymInt extent : standalone.graph.shape(node)) shape.push_back(extent.hint());
    kept.push_back({number, standalone.graph.dtype(node), std::move(shape)});
    results.push_back(node);
  }
  return results;
}

std::shared_ptr<const Executable> make_executable(std::shared_ptr<const Plan> plan,
                                                  std::vector<KeptValue> kept,
                                                  std::vector<uint64_t> literals) {
  return std::make_shared<PlannedStructure>(std::move(plan), std::move(kept), std::move(literals));
}

std::shared_ptr<const Executable> executable_for(const Structure& structure, bool any_sizes) {
  const uint64_t hash = structure.hash();
  Cache& c = cache();
  {
    const std::lock_guard lock(c.mutex);
    if (CacheEntry* entry = c.entries.find(hash, structure.key)) {
      ++c.stats.hits;
      return entry->executable;
    }
  }
  if (any_sizes && flags().executor == Executor::Plan)
    if (std::shared_ptr<const Executable> shared = shared_executable(structure)) return shared;
  // Two threads may compile the same structure at once; the second result is dropped.
  std::shared_ptr<const Executable> made = executable_of(structure);
  const std::lock_guard lock(c.mutex);
  ++c.stats.compiled;
  if (CacheEntry* entry = c.entries.find(hash, structure.key)) return entry->executable;
  c.entries.add(hash, {structure.key, made});
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
