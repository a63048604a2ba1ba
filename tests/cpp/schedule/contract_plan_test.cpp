// Plans of contractions for every machine, made without one line of machine code.

#include "base/checked.h"
#include "schedule/contract/plan.h"

#include <gtest/gtest.h>

#include "contract_cases.h"
#include "described_targets.h"
#include <string>
#include <utility>
#include <vector>

namespace coregrad {
namespace {

std::vector<std::pair<std::string, ContractKernel>> kernels() {
  std::vector<std::pair<std::string, ContractKernel>> all;
  for (const DType dtype : {DType::Float32, DType::Float64, DType::Int32, DType::Int64})
    for (const auto& [m, k, n] : {std::tuple{1, 1, 1},
                                  {1, 300, 40},
                                  {64, 64, 64},
                                  {33, 1, 17},
                                  {7, 1000, 3},
                                  {513, 129, 257},
                                  {2000, 16, 1},
                                  {3, 0, 5}})
      for (const bool transposed : {false, true})
        all.emplace_back(
            "product " + std::to_string(m) + " " + std::to_string(k) + " " + std::to_string(n),
            matmul_kernel(dtype, 2, m, k, n, transposed, !transposed));
  const ConvCase cases[] = {
      {2, 3, 12, 12, 8, 3, 1, 1},     {1, 16, 9, 11, 4, 3, 2, 1},       {4, 1, 28, 28, 6, 5},
      {2, 8, 7, 7, 8, 3, 1, 1, 1, 8}, {1, 4, 20, 20, 4, 3, 1, 2, 2, 2}, {1, 2, 16, 16, 1, 4, 4, 0}};
  for (const ConvCase& c : cases) {
    all.emplace_back("convolution", conv_forward_kernel(DType::Float32, c));
    all.emplace_back("input gradient", conv_input_gradient_kernel(DType::Float32, c));
    all.emplace_back("weight gradient", conv_weight_gradient_kernel(DType::Float32, c));
  }
  return all;
}

/// Calls check(plan, kernel, target) for every kernel and machine.
template <class Check>
void for_each_plan(Check check) {
  for (const Target& target : described_targets())
    for (const auto& [name, kernel] : kernels()) {
      const ContractPlan plan = plan_contract(kernel, target);
      SCOPED_TRACE(name + " on " + std::string(name_of(target.isa)) + " " + target.machine + "\n" +
                   plan.to_text());
      check(plan, kernel, target);
    }
}

TEST(ContractPlan, RolesTakeEveryLabelOnce) {
  for_each_plan([](const ContractPlan& plan, const ContractKernel& kernel, const Target&) {
    int64_t all = 1;
    const int64_t elements = plan.p.extent * plan.m.extent * plan.n.extent * plan.k.extent;
    for (const int64_t extent : kernel.spec.extents) all *= extent;
    EXPECT_EQ(elements, all);
  });
}

TEST(ContractPlan, PanelsAndBlocksCoverRowsLanesAndStepsOnce) {
  for_each_plan([](const ContractPlan& plan, const ContractKernel&, const Target&) {
    if (plan.k.extent == 0) return;
    const int64_t low = plan.num_row_panels - plan.num_tall_panels;
    ASSERT_GE(low, 0);
    EXPECT_GE(plan.num_tall_panels * plan.tile_rows + low * (plan.tile_rows - 1), plan.m.extent);
    EXPECT_LT((plan.num_row_panels - 1) * plan.tile_rows - low, plan.m.extent);
    EXPECT_EQ(plan.num_lane_panels, ceil_div(plan.num_lanes, plan.tile_lanes));
    EXPECT_GE(plan.num_lanes, plan.n.extent);
    // Blocks share panels evenly: none is without one.
    EXPECT_LE(plan.num_row_blocks, plan.num_row_panels);
    EXPECT_EQ(plan.panels_per_row_block, ceil_div(plan.num_row_panels, plan.num_row_blocks));
    EXPECT_LE(plan.num_lane_blocks, plan.num_lane_panels);
    EXPECT_EQ(plan.panels_per_lane_block, ceil_div(plan.num_lane_panels, plan.num_lane_blocks));
    EXPECT_GE(plan.k_block * plan.num_k_blocks, plan.k.extent);
    EXPECT_GE(plan.p_per_unit * plan.num_p_groups, plan.p.extent);
    EXPECT_LT(plan.p_per_unit * (plan.num_p_groups - 1), plan.p.extent);
  });
}

TEST(ContractPlan, SumsOfATileFitTheRegisters) {
  for_each_plan([](const ContractPlan& plan, const ContractKernel&, const Target& target) {
    if (!plan.is_outer()) return;
    const int64_t vectors = plan.tile_rows * ceil_div(plan.tile_lanes, plan.width);
    EXPECT_LT(vectors, target.num_registers);
    EXPECT_EQ(plan.width, std::max(1, target.lanes(size_of(plan.dtype))));
  });
}

TEST(ContractPlan, PackedBlocksLieInTheSecondCache) {
  for_each_plan([](const ContractPlan& plan, const ContractKernel&, const Target& target) {
    if (target.machine == "tiny") return;  // a single panel is larger
    const int64_t elements = plan.lane_pack_elements + plan.row_pack_elements;
    EXPECT_LE(elements * size_of(plan.dtype), target.l2_bytes);
    EXPECT_GE(plan.scratch_elements(), elements);
  });
}

TEST(ContractPlan, IsTheSameForTheSameQuestion) {
  for_each_plan([](const ContractPlan& plan, const ContractKernel& kernel, const Target& target) {
    EXPECT_EQ(plan.to_text(), plan_contract(kernel, target).to_text());
  });
}

TEST(ContractPlan, OnlyProductsOfBFloat16MemoryAreMadeInTileRegisters) {
  for (const Target& target : described_targets()) {
    ContractKernel kernel = matmul_kernel(DType::Float32, 1, 512, 512, 512);
    EXPECT_EQ(plan_contract(kernel, target).matrix(), nullptr);
    kernel.lhs.memory = DType::BFloat16;
    EXPECT_EQ(plan_contract(kernel, target).matrix(), nullptr);
    kernel.rhs.memory = DType::BFloat16;
    EXPECT_EQ(plan_contract(kernel, target).matrix() != nullptr, target.has_amx);
  }
}

TEST(ContractPlan, OneColumnAlongContiguousRowsIsADotProduct) {
  for (const Target& target : described_targets())
    EXPECT_TRUE(plan_contract(matmul_kernel(DType::Float32, 1, 64, 1024, 1), target).is_dot())
        << name_of(target.isa) << " " << target.machine;
}

TEST(ContractPlan, LargeProductsOnTinyMachinesComeInBlocksOfEveryDirection) {
  for (const Target& target : described_targets()) {
    if (target.machine != "tiny") continue;
    const ContractPlan plan =
        plan_contract(matmul_kernel(DType::Float32, 1, 200, 200, 200), target);
    EXPECT_GT(plan.num_row_blocks, 1) << plan.to_text();
    EXPECT_GT(plan.num_lane_blocks, 1) << plan.to_text();
    EXPECT_GT(plan.num_k_blocks, 1) << plan.to_text();
  }
}

}  // namespace
}  // namespace coregrad
