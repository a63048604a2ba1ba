#include "executable.h"

#include "base/checked.h"
#include "base/error.h"
#include "interp/interpreter.h"
#include "ir/print.h"
#include "ops/primitives.h"
#include "runtime/executor.h"

#include <atomic>
#include <cstring>
#include <exception>
#include <map>

namespace coregrad::python {
namespace {

constexpr double kShortNs = 20000;

std::atomic<HostParallelFor> host_parallel_for{nullptr};

class PlanExecutable final : public Executable {
 public:
  PlanExecutable(std::shared_ptr<const Plan> plan, int max_threads)
      : plan_(std::move(plan)), max_threads_(max_threads) {
    const PlanTotals totals = total_up(*plan_);
    is_short_ = totals.cost_ns < kShortNs && !totals.has_external &&
                (totals.parallel_steps == 0 || max_threads == 1);
  }
  void run(std::span<const void* const> inputs, std::span<void* const> outputs) const override {
    coregrad::run(*plan_, inputs, outputs, nullptr, {max_threads_, host_parallel_for});
  }
  bool is_short() const override { return is_short_; }
  std::string to_text() const override { return coregrad::to_text(*plan_); }
  int64_t bytes() const override { return bytes_of(*plan_); }

 private:
  std::shared_ptr<const Plan> plan_;
  int max_threads_;
  bool is_short_;
};

/// Interprets a copy of the graph in which every external result is one more input, in stages: the
/// operands of one external call, the call, and so on, then the outputs.
class OracleExecutable final : public Executable {
 public:
  OracleExecutable(const Graph& graph, std::span<const OutputSpec> outputs, int64_t num_inputs,
                   std::vector<ExternalStep> externals,
                   std::vector<std::vector<ExternalResult>> results)
      : externals_(std::move(externals)), results_(std::move(results)) {
    int64_t next = num_inputs;
    for (const auto& r : results_) {
      first_result_.push_back(next);
      next += static_cast<int64_t>(r.size());
    }
    total_inputs_ = next;
    copy(graph, outputs);
  }

  void run(std::span<const void* const> inputs, std::span<void* const> outputs) const override {
    std::vector<InputView> views(static_cast<size_t>(total_inputs_));
    for (size_t i = 0; i < inputs.size(); ++i) views[i].data = inputs[i];
    std::vector<std::vector<std::byte>> memory;
    RunStatus status;
    for (const Stage& stage : stages_) {
      std::vector<Array> operands = interpret(graph_, stage.operands, views);
      std::vector<void*> buffers;
      for (Array& a : operands) buffers.push_back(a.data.data());
      std::vector<int64_t> places;  // every result is wanted
      for (size_t k = 0; k < results_[stage.external].size(); ++k) {
        const ExternalResult& r = results_[stage.external][k];
        memory.emplace_back(static_cast<size_t>(
            checked_mul(checked_numel(r.shape, "external"), size_of(r.dtype), "external")));
        places.push_back(static_cast<int64_t>(buffers.size()));
        buffers.push_back(memory.back().data());
        views[static_cast<size_t>(first_result_[stage.external]) + k].data = memory.back().data();
      }
      const ExternalStep& step = externals_[stage.external];
      const StepArgs args{buffers.data(), places.data(), nullptr, &status, step.context};
      step.function(&args, 0, 1, 0);
      if (status.error != nullptr) std::rethrow_exception(status.error);
    }
    const std::vector<Array> values = interpret(graph_, roots_, views);
    for (size_t i = 0; i < values.size(); ++i) store(values[i], strides_[i], outputs[i]);
  }

  bool is_short() const override { return false; }
  std::string to_text() const override { return coregrad::to_text(graph_, roots_); }
  int64_t bytes() const override { return static_cast<int64_t>(graph_.size() * sizeof(Node)); }

 private:
  struct Stage {
    size_t external;
    std::vector<NodeId> operands;
  };

  void copy(const Graph& graph, std::span<const OutputSpec> outputs) {
    std::vector<NodeId> wanted;
    for (const OutputSpec& o : outputs) wanted.push_back(o.node);
    const std::vector<bool> live = mark_live(graph, wanted);
    std::vector<NodeId> moved(graph.size());
    std::vector<bool> called(externals_.size(), false);
    for (uint32_t i = 0; i < graph.size(); ++i) {
      if (!live[i]) continue;
      std::vector<NodeId> operands;
      for (NodeId o : graph.operands({i})) operands.push_back(moved[o.value]);
      if (graph[{i}].op != Op::External) {
        moved[i] = ops::rebuild(graph_, graph, {i}, operands);
        continue;
      }
      const auto id = static_cast<size_t>(graph.attr({i}, 0));
      COREGRAD_CHECK(id < externals_.size());
      moved[i] = ops::input(graph_, first_result_[id] + graph.attr({i}, 1), graph.dtype({i}),
                            graph.shape({i}));
      if (called[id]) continue;
      called[id] = true;
      stages_.push_back({id, std::move(operands)});
    }
    for (const OutputSpec& o : outputs) {
      roots_.push_back(moved[o.node.value]);
      strides_.push_back(specialized(o.strides));
    }
  }

  static void store(const Array& value, const std::vector<int64_t>& strides, void* to) {
    if (value.data.empty()) return;
    if (strides.empty()) {
      std::memcpy(to, value.data.data(), value.data.size());
      return;
    }
    const auto size = static_cast<size_t>(size_of(value.dtype));
    std::vector<int64_t> at(value.shape.size(), 0);
    const int64_t numel = value.numel();
    for (int64_t i = 0; i < numel; ++i) {
      int64_t target = 0;
      for (size_t d = 0; d < at.size(); ++d) target += at[d] * strides[d];
      std::memcpy(static_cast<std::byte*>(to) + target * static_cast<int64_t>(size),
                  value.data.data() + i * static_cast<int64_t>(size), size);
      for (size_t d = at.size(); d-- > 0;) {
        if (++at[d] < value.shape[d]) break;
        at[d] = 0;
      }
    }
  }

  int64_t total_inputs_ = 0;
  std::vector<ExternalStep> externals_;
  std::vector<std::vector<ExternalResult>> results_;
  std::vector<int64_t> first_result_;
  Graph graph_;
  std::vector<Stage> stages_;
  std::vector<NodeId> roots_;
  std::vector<std::vector<int64_t>> strides_;
};

}  // namespace

void attach_host_threads(HostParallelFor parallel_for) { host_parallel_for = parallel_for; }

std::unique_ptr<Executable> make_plan_executable(std::shared_ptr<const Plan> plan,
                                                 int max_threads) {
  return std::make_unique<PlanExecutable>(std::move(plan), max_threads);
}

std::unique_ptr<Executable> make_oracle_executable(
    const Graph& graph, std::span<const OutputSpec> outputs, int64_t num_inputs,
    std::vector<ExternalStep> externals, std::vector<std::vector<ExternalResult>> results) {
  return std::make_unique<OracleExecutable>(graph, outputs, num_inputs, std::move(externals),
                                            std::move(results));
}

}  // namespace coregrad::python
