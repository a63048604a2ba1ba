// compile(): the stages from a graph to a plan. Start reading at kStages.

#include "compile/compiler.h"

#include "base/flags.h"
#include "base/log.h"
#include "codegen/jit/host_target.h"
#include "codegen/jit/kernel_cache.h"
#include "compile/assemble_plan.h"
#include "compile/draft.h"
#include "compile/dump.h"
#include "compile/fusion.h"
#include "compile/memory_map.h"
#include "compile/pipeline.h"
#include "ir/print.h"
#include "runtime/profiler.h"
#include "schedule/contract/plan.h"

#include <algorithm>
#include <chrono>
#include <optional>

namespace coregrad {
namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// What the stages make, one after the other.
class Compilation {
 public:
  Compilation(const Graph& source, std::span<const OutputSpec> outputs, int64_t num_inputs,
              const CompileOptions& options)
      : source_(source),
        outputs_(outputs.begin(), outputs.end()),
        num_inputs_(num_inputs),
        options_(options) {
    result_.report.nodes_in = source.size();
  }

  CompiledPlan run();

 private:
  struct Stage {
    const char* name;
    void (Compilation::*run)();
    double CompileReport::* ms;  ///< what the report counts it as
  };
  static const Stage kStages[];

  void rewrite();
  void fuse();
  void place();
  void draft();
  void schedule_steps();
  void share();
  void generate();
  void assemble();
  void verify_runs();
  void describe();
  std::vector<NodeId> output_nodes() const;

  const Graph& source_;
  std::vector<OutputSpec> outputs_;  ///< after `rewrite`, their nodes are those of graph_
  int64_t num_inputs_;
  const CompileOptions& options_;
  Graph graph_;
  FusionPlan fusion_;
  OutputPlaces places_;
  std::optional<MemoryMap> memory_;
  Draft draft_;
  TakenOver taken_over_;
  std::vector<std::shared_ptr<const CompiledKernel>> kernels_;
  std::shared_ptr<Plan> plan_;
  CompiledPlan result_;
};

constexpr auto kPasses = &CompileReport::passes_ms;
constexpr auto kLowering = &CompileReport::lowering_ms;
constexpr auto kMachineCode = &CompileReport::llvm_ms;

const Compilation::Stage Compilation::kStages[] = {
    {"rewrite", &Compilation::rewrite, kPasses},            // the passes of pipeline.cpp
    {"fuse", &Compilation::fuse, kLowering},                // which nodes share a kernel
    {"place outputs", &Compilation::place, kLowering},      // which results need no copy
    {"draft", &Compilation::draft, kLowering},              // kernels and arguments of the steps
    {"schedule", &Compilation::schedule_steps, kLowering},  // lanes, blocks and costs of loops
    {"share memory", &Compilation::share, kLowering},       // updates in place
    {"generate", &Compilation::generate, kMachineCode},
    {"assemble", &Compilation::assemble, kLowering},
    {"verify", &Compilation::verify_runs, kLowering},  // COREGRAD_VALIDATE: each step of each run
    {"describe", &Compilation::describe, kLowering},   // for pictures of the graph
};

std::vector<NodeId> Compilation::output_nodes() const {
  std::vector<NodeId> nodes;
  for (const OutputSpec& o : outputs_) nodes.push_back(o.node);
  return nodes;
}

void Compilation::rewrite() {
  GraphWithOutputs rewritten = run_passes(source_, output_nodes(), options_.optimize);
  graph_ = std::move(rewritten.graph);
  for (size_t k = 0; k < outputs_.size(); ++k) outputs_[k].node = rewritten.outputs[k];
  result_.report.nodes_optimized = graph_.size();
}

void Compilation::fuse() {
  // A reshaped output is the memory of what is reshaped, which the step that makes it can write
  // itself.
  for (OutputSpec& spec : outputs_) {
    const bool is_dense = spec.strides.empty() ||
                          are_equal(spec.strides, contiguous_strides(graph_.shape(spec.node)));
    if (!is_dense || spec.aliases_input >= 0) continue;
    while (graph_[spec.node].op == Op::Reshape &&
           graph_[graph_.operand(spec.node, 0)].op != Op::Input) {
      spec.node = graph_.operand(spec.node, 0);
      spec.strides.clear();
    }
  }
  fusion_ = plan_fusion(graph_, output_nodes(), {.merge = options_.optimize});
}

void Compilation::place() {
  places_ = place_outputs(graph_, fusion_, outputs_, num_inputs_);
  memory_.emplace(graph_, fusion_, outputs_, places_);
}

void Compilation::draft() {
  draft_ = draft_units(graph_, fusion_, *memory_, options_);
  draft_copies(draft_, graph_, *memory_, outputs_, places_.copied, num_inputs_);
}

void Compilation::schedule_steps() { schedule(draft_, options_, host_target()); }

void Compilation::share() {
  if (options_.optimize && !flags().validate) taken_over_ = share_memory(draft_, graph_);
  start_at_first_access(draft_);
}

void Compilation::generate() {
  KernelCacheStats stats;
  // Some contracts of symbols are planned for the numbers of a call.
  const auto waits = [](const KernelSource& source) {
    const auto* contract = std::get_if<ContractKernel>(&source);
    return contract != nullptr && contract->has_symbols() &&
           !has_common_plan(*contract, host_target());
  };
  if (std::ranges::none_of(draft_.sources, waits)) {
    kernels_ = compile_kernels(draft_.sources, host_target(), &stats, options_.max_threads);
  } else {
    std::vector<KernelSource> ready;
    for (const KernelSource& source : draft_.sources)
      if (!waits(source)) ready.push_back(source);
    auto made = compile_kernels(ready, host_target(), &stats, options_.max_threads);
    auto next = made.begin();
    for (const KernelSource& source : draft_.sources)
      kernels_.push_back(waits(source) ? nullptr : *next++);
  }
  result_.report.kernels = static_cast<int64_t>(draft_.sources.size());
  result_.report.kernels_compiled = stats.misses;
  result_.report.kernel_cache_hits = stats.hits;
}

void Compilation::assemble() {
  auto made = std::make_shared<PlanTemplate>(
      assemble_plan({graph_, *memory_, outputs_, num_inputs_, draft_, taken_over_, kernels_,
                     host_target(), options_.env}));
  result_.report.steps = static_cast<int64_t>(made->steps.size());
  if (options_.env) {
    result_.sizes = made;
    return;
  }
  plan_ = made->bind({});
  result_.report.temporary_bytes = plan_->temporary_bytes;
}

void Compilation::verify_runs() {
  const bool has_iterations = std::ranges::any_of(
      draft_.steps, [](const DraftStep& s) { return s.library && s.library->iterated; });
  if (flags().validate && plan_ && !has_iterations)
    plan_->observer = make_validator(graph_, *memory_, draft_);
}

void Compilation::describe() {
  constexpr uint32_t kMostNodes = 20000;
  if (graph_.size() > kMostNodes) return;
  result_.graph_dot = kernels_to_dot(graph_, output_nodes(), fusion_);
}

CompiledPlan Compilation::run() {
  const auto start = Clock::now();
  CompileReport& report = result_.report;
  std::string graph_text;
  for (const Stage& stage : kStages) {
    const auto before = Clock::now();
    {
      const TraceScope trace(stage.name);
      (this->*stage.run)();
    }
    const double ms = ms_since(before);
    report.*stage.ms += ms;
    if (flags().debug >= 1) log().debug("stage {}: {:.2f} ms", stage.name, ms);
    if (stage.run != &Compilation::rewrite) continue;
    if (flags().debug < 3 && flags().dump_dir.empty()) continue;
    graph_text = to_text(graph_, output_nodes());
    if (flags().debug >= 3) log().debug("{}:\n{}", options_.name, graph_text);
  }
  result_.plan = plan_;
  report.total_ms = ms_since(start);
  if (flags().debug >= 1)
    log().debug(
        "compiled {}: {} nodes, {} steps, {} kernels ({} new) in {:.1f} ms (passes {:.1f}, "
        "lowering {:.1f}, machine code {:.1f})",
        options_.name, report.nodes_in, report.steps, report.kernels, report.kernels_compiled,
        report.total_ms, report.passes_ms, report.lowering_ms, report.llvm_ms);
  if (flags().debug >= 2 && plan_) log().debug("{}", to_text(*plan_));
  if (!flags().dump_dir.empty())
    dump_compiled(flags().dump_dir, options_.name, graph_text, result_);
  return std::move(result_);
}

}  // namespace

CompiledPlan compile(const Graph& graph, std::span<const OutputSpec> outputs, int64_t num_inputs,
                     const CompileOptions& options) {
  return Compilation(graph, outputs, num_inputs, options).run();
}

}  // namespace coregrad
