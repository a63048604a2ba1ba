// What large tensors once met, on a machine so small that little ones meet it; and that the checks
// of memory and of alignment notice what they are there for.

#include "codegen/ir/access_check.h"
#include "codegen/jit/host_target.h"
#include "codegen/jit/jit.h"
#include "codegen/jit/kernel_cache.h"
#include "ops/primitives.h"
#include "runtime/allocator.h"

#include <gtest/gtest.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include "compile_check.h"
#include "machine_scope.h"
#include <optional>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;

class OnTinyMachine : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!host_supports(GetParam())) GTEST_SKIP() << "this machine has no " << name_of(GetParam());
    scope_.emplace(test::Machine{GetParam(), "tiny"});
  }
  std::optional<test::MachineScope> scope_;
};

INSTANTIATE_TEST_SUITE_P(EachIsa, OnTinyMachine,
                         testing::Values(Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512),
                         [](const auto& info) { return std::string(name_of(info.param)); });

// Sums of columns lie in rows of results, one row a chunk, which need not be multiples of a vector.
TEST_P(OnTinyMachine, SumsOfColumnsWhoseRowsEndAnywhere) {
  for (const DType dtype : {DType::Float32, DType::Float64, DType::Int32, DType::Bool}) {
    for (const int64_t columns : {31, 33, 36, 44, 100, 101, 1000, 1001}) {
      Graph g;
      const NodeId x = ops::input(g, 0, dtype, Dims{64, columns});
      const Op op = dtype == DType::Bool ? Op::ReduceMax : Op::Sum;
      const NodeId outputs[] = {ops::reduce(g, op, x, Dims{0})};
      test::expect_compiled_matches(g, outputs, static_cast<uint64_t>(columns));
    }
  }
}

TEST_P(OnTinyMachine, AResultBesideItsSumOverAMiddleAxis) {
  for (const int64_t columns : {40, 44, 52, 132, 133}) {
    Graph g;
    const NodeId x = ops::input(g, 0, DType::Float32, Dims{20, 21, columns});
    const NodeId y = ops::add(g, ops::mul(g, x, x), x);
    const NodeId outputs[] = {y, ops::reduce(g, Op::Sum, y, Dims{1})};
    test::expect_compiled_matches(g, outputs, static_cast<uint64_t>(columns));
  }
}

TEST_P(OnTinyMachine, ASumOfOneOperandThatIsBroadcastBesideTheResult) {
  for (const int64_t columns : {31, 52, 64, 133}) {
    Graph g;
    const NodeId x = ops::input(g, 0, DType::Float32, Dims{50, columns}),
                 b = ops::input(g, 1, DType::Float32, Dims{columns});
    const NodeId y = ops::mul(g, x, ops::broadcast_to(g, b, Dims{50, columns}));
    const NodeId outputs[] = {y, ops::reduce(g, Op::Sum, ops::mul(g, y, x), Dims{0})};
    test::expect_compiled_matches(g, outputs, static_cast<uint64_t>(columns));
  }
}

class ChecksOfMemory : public testing::Test {
 protected:
  ChecksOfMemory() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
  static void write_behind(bool aligned_block) {
    const test::MachineScope scope({Isa::Generic, ""});
    for (int i = 0; i < 2; ++i) {
      const Block block = allocate_block(100);
      const bool is_aligned = reinterpret_cast<uintptr_t>(block.get()) % 64 == 0;
      if (is_aligned == aligned_block) static_cast<volatile char*>(block.get())[100] = 1;
    }
  }
};

TEST_F(ChecksOfMemory, EndTheProcessAtAWriteBehindABlock) {
  EXPECT_DEATH(write_behind(false), "");
  EXPECT_DEATH(write_behind(true), "written behind its end");
}

TEST_F(ChecksOfMemory, LeaveBlocksOfAnySizeUsable) {
  const test::MachineScope scope({Isa::Generic, ""});
  for (const int64_t bytes : {0, 1, 63, 64, 65, 4095, 4096, 4097, 3 << 20}) {
    const Block block = allocate_block(bytes);
    std::memset(block.get(), 7, static_cast<size_t>(bytes));
  }
}

/// Stores a vector that is said to be 16-byte aligned to element `offset` of a block.
void store_at(int64_t offset) {
  const test::MachineScope scope({Isa::Generic, ""});
  const CodeHandle code = compile_module(host_target(), "claim", [](llvm::Module& module) {
    llvm::LLVMContext& context = module.getContext();
    auto* const type = llvm::FunctionType::get(llvm::Type::getVoidTy(context),
                                               {llvm::PointerType::get(context, 0)}, false);
    llvm::Function* const function =
        llvm::Function::Create(type, llvm::Function::ExternalLinkage, "store", module);
    llvm::IRBuilder<> b(llvm::BasicBlock::Create(context, "entry", function));
    b.CreateAlignedStore(
        llvm::Constant::getNullValue(llvm::FixedVectorType::get(b.getFloatTy(), 4)),
        function->getArg(0), llvm::Align(16));
    b.CreateRetVoid();
  });
  alignas(16) float block[8] = {};
  reinterpret_cast<void (*)(float*)>(code->address("store"))(block + offset);
}

TEST_F(ChecksOfMemory, EndTheProcessAtAnAlignmentThatDoesNotHold) {
  store_at(0);
  store_at(4);
  EXPECT_DEATH(store_at(1), "store: access at .* is not a multiple of 16 bytes");
}

}  // namespace
}  // namespace coregrad
