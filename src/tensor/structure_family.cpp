#include "tensor/structure_family.h"

#include "base/log.h"
#include "compile/compiler.h"
#include "compile/plan_template.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace coregrad {
namespace {

/// What stands in a skeleton for what each member has of its own.
constexpr int64_t kOwn = -1;
/// Sets of sizes that a template has a plan ready for.
constexpr size_t kMaxBound = 64;

uint64_t memory_bits(DType dtype, int64_t literal) {
  Scalar scalar;
  scalar.dtype = dtype;
  scalar.i = literal;
  return scalar.memory_bits();
}

}  // namespace

SplitKey::SplitKey(std::span<const int64_t> key) : skeleton(key.begin(), key.end()) {
  KeyReader reader(key);
  for (int64_t i = 0; i < reader.num_nodes(); ++i) {
    const KeyNode n = reader.next_node();
    if (n.op == Op::Literal) {
      literal_places.push_back(n.literal);
      values.literals.push_back(std::exchange(skeleton[n.literal], kOwn));
    }
    for_each_size(key, n, [&](size_t place) {
      if (key[place] < 2) return;
      size_places.push_back(place);
      values.sizes.push_back(std::exchange(skeleton[place], kOwn));
    });
  }
}

StructureTemplate::StructureTemplate(const Structure& structure, const SplitKey& split,
                                     GeneralSizes general)
    : general_(std::move(general)), literals_(split.values.literals) {
  auto num_inputs = static_cast<int64_t>(structure.inputs.size());
  std::unordered_map<size_t, SymInt> size_at;
  for (size_t i = 0; i < general_.sizes.size(); ++i)
    size_at[split.size_places[i]] = general_.sizes[i];
  std::unordered_map<size_t, int64_t> input_of;
  for (const size_t i : general_.varied_literals) input_of[split.literal_places[i]] = num_inputs++;
  KeyMeaning meaning;
  meaning.size = [&](size_t place) {
    const auto at = size_at.find(place);
    return at == size_at.end() ? SymInt(structure.key[place]) : at->second;
  };
  meaning.literal_input = [&](size_t place) {
    const auto at = input_of.find(place);
    return at == input_of.end() ? std::nullopt : std::optional(at->second);
  };
  StandaloneGraph standalone = rebuild_structure(structure.key, meaning);

  KeyReader reader(structure.key);
  for (int64_t i = 0; i < reader.num_nodes(); ++i)
    if (const KeyNode n = reader.next_node(); input_of.contains(n.literal))
      literal_dtypes_.push_back(n.dtype);

  std::vector<SymInt> sizes = general_.sizes;
  std::vector<OutputSpec> outputs;
  for (const NodeId node : results_of(standalone, kept_))
    outputs.push_back({.node = node, .strides = {}});
  for (size_t i = standalone.roots.size(); i < outputs.size(); ++i)
    for (const SymInt extent : standalone.graph.shape(outputs[i].node)) sizes.push_back(extent);
  sizes_ = SizeProgram(sizes);
  const bool has_symbols = !general_.symbols.empty();
  CompiledPlan compiled =
      compile(standalone.graph, outputs, num_inputs,
              {.externals = {}, .name = "tensors", .env = has_symbols ? general_.env : nullptr});
  general_.env->close();
  plan_ = std::move(compiled.plan);
  template_ = std::move(compiled.sizes);
}

std::shared_ptr<const Executable> StructureTemplate::executable_for(const OwnValues& values) const {
  std::vector<uint64_t> literals;
  auto varied = general_.varied_literals.begin();
  for (size_t i = 0; i < literals_.size(); ++i) {
    if (varied != general_.varied_literals.end() && *varied == i) {
      literals.push_back(memory_bits(literal_dtypes_[literals.size()], values.literals[i]));
      ++varied;
    } else if (values.literals[i] != literals_[i]) {
      return nullptr;
    }
  }
  std::vector<int64_t> symbols;
  for (const size_t place : general_.symbols) symbols.push_back(values.sizes[place]);
  if (!general_.env->admits(symbols)) {
    log().debug("tensors: a plan is not for these sizes: {}", general_.env->refusal(symbols));
    return nullptr;
  }
  std::vector<int64_t> sizes;
  try {
    sizes = sizes_.run(symbols);
  } catch (const ShapeError&) {  // an expression that overflows is not what stands there
    return nullptr;
  }
  const auto [is, was_found] =
      std::ranges::mismatch(values.sizes, std::span(sizes).first(values.sizes.size()));
  if (is != values.sizes.end()) {
    log().debug("tensors: a plan is not for these sizes: {} is {}, not {}",
                general_.sizes[static_cast<size_t>(is - values.sizes.begin())].to_text(), *is,
                *was_found);
    return nullptr;
  }
  Bound bound = bound_for(std::move(symbols), std::span(sizes).subspan(values.sizes.size()));
  return make_executable(std::move(bound.plan), std::move(bound.kept), std::move(literals));
}

StructureTemplate::Bound StructureTemplate::bound_for(std::vector<int64_t> symbols,
                                                      std::span<const int64_t> kept_sizes) const {
  if (plan_) return {{}, plan_, kept_};
  {
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find(bound_, symbols, &Bound::symbols);
    if (at != bound_.end()) {
      std::rotate(at, at + 1, bound_.end());
      return bound_.back();
    }
  }
  std::shared_ptr<const Plan> plan = template_->bind(symbols);
  Bound bound{std::move(symbols), std::move(plan), kept_};
  auto next = kept_sizes.begin();
  for (KeptValue& kept : bound.kept)
    for (int64_t& extent : kept.shape) extent = *next++;
  const std::lock_guard lock(mutex_);
  if (bound_.size() >= kMaxBound) bound_.erase(bound_.begin());
  return bound_.emplace_back(std::move(bound));
}

}  // namespace coregrad
