#include "base/error.h"
#include "codegen/jit/host_target.h"
#include "kernel/contract_kernel.h"
#include "schedule/contract/plan.h"

#include <gtest/gtest.h>

#include "compiled_contract.h"
#include "contract_reference.h"
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <tuple>
#include <type_traits>

namespace coregrad {
namespace {

template <class F>
void with_memory_type(DType memory, F&& f) {
  switch (memory) {
    case DType::Bool:
    case DType::UInt8:
      return f(std::type_identity<uint8_t>());
    case DType::Int8:
      return f(std::type_identity<int8_t>());
    case DType::Int16:
      return f(std::type_identity<int16_t>());
    case DType::UInt16:
      return f(std::type_identity<uint16_t>());
    case DType::UInt32:
      return f(std::type_identity<uint32_t>());
    case DType::Int32:
      return f(std::type_identity<int32_t>());
    case DType::Int64:
      return f(std::type_identity<int64_t>());
    case DType::Float16:
      return f(std::type_identity<Float16>());
    case DType::BFloat16:
      return f(std::type_identity<BFloat16>());
    case DType::Float32:
      return f(std::type_identity<float>());
    case DType::Float64:
      return f(std::type_identity<double>());
  }
}

/// The operand's values as its memory holds them.
template <class T>
GuardedBuffer in_memory(const ContractOperand& operand, const std::vector<T>& values, bool behind) {
  const int64_t size = operand.memory ? size_of(*operand.memory) : int64_t{sizeof(T)};
  GuardedBuffer buffer(static_cast<int64_t>(values.size()) * size, behind);
  const auto store = [&]<class Memory>(std::type_identity<Memory>) {
    for (size_t i = 0; i < values.size(); ++i) {
      if constexpr (std::is_arithmetic_v<Memory>)
        buffer.as<Memory>()[i] = static_cast<Memory>(values[i]);
      else
        buffer.as<Memory>()[i] = Memory(static_cast<float>(values[i]));
    }
  };
  if (!operand.memory)
    store(std::type_identity<T>());
  else
    with_memory_type(*operand.memory, store);
  return buffer;
}

/// Values that `memory` can hold.
template <class T>
void fit(std::vector<T>& values, std::optional<DType> memory) {
  for (T& value : values) {
    if (memory == DType::Bool) value = value != T{0};
    if (memory && is_unsigned(*memory)) value = static_cast<T>(std::abs(value));
  }
}

/// Runs the kernel and compares every element with the reference, exactly.
template <class T>
void expect_exact(const ContractKernel& kernel, const Target& target, std::mt19937& random,
                  const std::string& what) {
  const bool behind = random() % 2 == 0;
  const auto lhs_span = static_cast<size_t>(span_of(kernel.lhs)),
             rhs_span = static_cast<size_t>(span_of(kernel.rhs));
  std::vector<T> lhs_values(lhs_span), rhs_values(rhs_span);
  fill_small(lhs_values.data(), span_of(kernel.lhs), random);
  fill_small(rhs_values.data(), span_of(kernel.rhs), random);
  fit(lhs_values, kernel.lhs.memory);
  fit(rhs_values, kernel.rhs.memory);
  const GuardedBuffer lhs = in_memory(kernel.lhs, lhs_values, behind),
                      rhs = in_memory(kernel.rhs, rhs_values, behind);
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
  const std::vector<Sum> expected =
      reference_contract<T, Sum>(kernel, lhs_values.data(), rhs_values.data());
  const auto count = static_cast<int64_t>(expected.size());
  const GuardedBuffer out(count * static_cast<int64_t>(sizeof(T)), behind);
  std::fill_n(out.as<T>(), count, T{77});
  const CompiledContract compiled(kernel, target);
  const GuardedBuffer scratch(round_up(compiled.step.scratch_bytes, 64), true);
  std::memset(scratch.as<void>(), 0xff, static_cast<size_t>(compiled.step.scratch_bytes));
  compiled.run({lhs.as<void>(), rhs.as<void>(), out.as<void>()}, random() % 2 == 0 ? 1 : INT64_MAX,
               scratch.as<void>());
  // The index is that of the output dimensions in order; `store` may put them elsewhere.
  LoopKernel epilogue = kernel.epilogue;
  int64_t wrong = 0;
  std::vector<int64_t> shape, strides;
  for (size_t axis = 0; axis < epilogue.axes.size(); ++axis) {
    SymInt factor = 0;
    ASSERT_TRUE(
        epilogue.context.affine_in(epilogue.stores[0].index, static_cast<int>(axis), &factor));
    shape.push_back(epilogue.axes[axis].extent);
    strides.push_back(factor);
  }
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, offset = 0;
    for (size_t axis = shape.size(); axis-- > 0; rest /= shape[axis])
      offset += rest % shape[axis] * strides[axis];
    if (static_cast<Sum>(out.as<T>()[offset]) == expected[static_cast<size_t>(i)]) continue;
    if (++wrong > 3) break;
    ADD_FAILURE() << what << ": element " << i << " is " << out.as<T>()[offset] << ", expected "
                  << expected[static_cast<size_t>(i)] << "\n"
                  << kernel.structure_key() << plan_contract(kernel, target).to_text();
  }
}

/// With code for this size alone, or with code that sizes share.
void expect_exact(ContractKernel kernel, const Target& target, std::mt19937& random,
                  const std::string& what) {
  kernel.any_size = random() % 2 == 0;
  // The same with operands that are cast as they are read.
  ContractKernel cast = kernel;
  for (ContractOperand* operand : {&cast.lhs, &cast.rhs}) {
    const auto memory = static_cast<DType>(random() % kNumDTypes);
    if (target.only_tiles)
      operand->memory = DType::BFloat16;
    else if (memory != kernel.dtype && can_be_memory(memory, kernel.dtype))
      operand->memory = memory;
  }
  const auto check = [&]<class T>(std::type_identity<T>) {
    if (!target.only_tiles) expect_exact<T>(kernel, target, random, what);
    if (!target.only_tiles || kernel.dtype == DType::Float32)
      expect_exact<T>(cast, target, random, what + ", cast");
    else
      expect_exact<T>(kernel, target, random, what);
  };
  switch (kernel.dtype) {
    case DType::Float32:
      return check(std::type_identity<float>());
    case DType::Float64:
      return check(std::type_identity<double>());
    case DType::Int32:
      return check(std::type_identity<int32_t>());
    case DType::Int64:
      return check(std::type_identity<int64_t>());
    case DType::Bool:
    case DType::Float16:
    case DType::BFloat16:
    case DType::Int8:
    case DType::UInt8:
    case DType::Int16:
      break;
  }
  COREGRAD_UNREACHABLE("dtype");
}

class ContractOn : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!host_supports(GetParam())) GTEST_SKIP() << "this machine has no " << name_of(GetParam());
  }
  /// With the caches and threads of a machine drawn at random, also of one so small that little
  /// products fall into blocks of every direction. With tile registers, whose machines have much
  /// the same caches, they are used for every product that they can do: other tests have the rest.
  Target target() {
    constexpr int64_t kKiB = 1024;
    Target target = target_for(GetParam());
    target.only_tiles = target.has_amx;
    if (target.has_amx) return target;
    if (random_() % 4 == 0) return with_machine(target, "tiny,threads=9");
    const std::tuple<int64_t, int64_t, int> machines[] = {
        {target.l1_bytes, target.l2_bytes, target.threads},
        {32 * kKiB, 512 * kKiB, 1},
        {48 * kKiB, 2048 * kKiB, 64},
        {8 * kKiB, 64 * kKiB, 3},
        {1 * kKiB, 8 * kKiB, 7}};
    std::tie(target.l1_bytes, target.l2_bytes, target.threads) =
        machines[random_() % std::size(machines)];
    return target;
  }
  std::mt19937 random_{20240607};
};

INSTANTIATE_TEST_SUITE_P(EachIsa, ContractOn,
                         testing::Values(Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Amx),
                         [](const auto& info) { return std::string(name_of(info.param)); });

constexpr DType kDTypes[] = {DType::Float32, DType::Float64, DType::Int32, DType::Int64};

TEST_P(ContractOn, MatrixProductsOfSizesAroundTileEdges) {
  const int64_t sizes[] = {1, 2, 3, 7, 8, 9, 13, 15, 16, 17, 31, 33, 47, 49, 64, 65, 100};
  for (int i = 0; i < 48; ++i) {
    const auto pick = [&] { return sizes[random_() % std::size(sizes)]; };
    const int64_t m = pick(), k = pick(), n = pick();
    const bool ta = random_() % 2, tb = random_() % 2;
    const ContractKernel kernel =
        matmul_kernel(kDTypes[i % 4], 1 + static_cast<int64_t>(random_() % 3), m, k, n, ta, tb);
    expect_exact(kernel, target(), random_, fmt::format("{}x{}x{} {}{}", m, k, n, ta, tb));
  }
}

/// bfloat16 on machines with tile registers, whose instructions take 16 rows and lanes x 32 steps
/// of k; elsewhere the same products without them.
TEST_P(ContractOn, BFloat16ProductsOfEveryLengthUpToSeventy) {
  for (int64_t k = 1; k <= 70; ++k) {
    const int64_t m = 1 + static_cast<int64_t>(random_() % 70),
                  n = 1 + static_cast<int64_t>(random_() % 70);
    const bool ta = random_() % 2, tb = random_() % 2;
    ContractKernel kernel = matmul_kernel(DType::Float32, 1 + k % 2, m, k, n, ta, tb);
    kernel.lhs.memory = kernel.rhs.memory = DType::BFloat16;
    kernel.any_size = random_() % 2;
    if (target().has_amx) EXPECT_NE(plan_contract(kernel, target()).matrix(), nullptr);
    expect_exact<float>(kernel, target(), random_, fmt::format("{}x{}x{} {}{}", m, k, n, ta, tb));
  }
}

TEST_P(ContractOn, LargeMatrixProductsSplitIntoBlocksOfEveryDirection) {
  const auto check = [&](DType dtype, int64_t m, int64_t k, int64_t n, bool ta, bool tb) {
    expect_exact(matmul_kernel(dtype, 1, m, k, n, ta, tb), target(), random_,
                 fmt::format("{}x{}x{} {}{}", m, k, n, ta, tb));
  };
  check(DType::Float32, 270, 330, 265, false, true);
  check(DType::Float32, 37, 1500, 260, true, false);
  check(DType::Float32, 300, 129, 35, false, false);
  check(DType::Float64, 140, 600, 133, true, true);
  if (target().has_amx) check(DType::Float32, 300, 2500, 90, true, true);
}

TEST_P(ContractOn, NarrowProductsAlongContiguousRows) {
  for (const auto& [m, k, n] :
       {std::tuple{1, 300, 70}, std::tuple{4, 129, 33}, std::tuple{3, 77, 1},
        std::tuple{1, 1000, 1}, std::tuple{2, 64, 19}})
    for (const DType dtype : kDTypes)
      for (const bool tb : {false, true})
        expect_exact(matmul_kernel(dtype, 2, m, k, n, false, tb), target(), random_,
                     fmt::format("{}x{}x{} {}", m, k, n, tb));
}

/// Tiles of a dot product have fewer lanes than a vector, so a block may end inside of one.
TEST_P(ContractOn, ProductsWithAVectorInBlocksOfEveryLength) {
  for (int64_t n = 1024; n < 5000; n += 112)
    for (const DType dtype : {DType::Float32, DType::Float64})
      expect_exact(matmul_kernel(dtype, 1, 1, 33, n, false, true), target(), random_,
                   fmt::format("1x33x{}", n));
}

TEST_P(ContractOn, ManySmallProducts) {
  for (const int64_t size : {2, 5, 8, 12})
    expect_exact(matmul_kernel(DType::Float32, 100, size, size, size), target(), random_,
                 fmt::format("batch of {}", size));
  expect_exact(matmul_kernel(DType::Float32, 700, 20, 18, 17, false, true), target(), random_,
               "batch of 20x18x17");
}

TEST_P(ContractOn, ConvolutionsAndTheirGradients) {
  for (int i = 0; i < 12; ++i) {
    ConvCase c;
    c.groups = std::array<int64_t, 4>{1, 1, 2, 3}[random_() % 4];
    c.n = 1 + static_cast<int64_t>(random_() % 3);
    c.ci = c.groups * (1 + static_cast<int64_t>(random_() % 5));
    c.co = c.groups * (1 + static_cast<int64_t>(random_() % 20));
    c.kernel = 1 + static_cast<int64_t>(random_() % 4);
    c.stride = 1 + static_cast<int64_t>(random_() % 3);
    c.dilation = 1 + static_cast<int64_t>(random_() % 2);
    c.pad = static_cast<int64_t>(random_() % 3);
    c.h = 8 + static_cast<int64_t>(random_() % 8);
    c.w = 8 + static_cast<int64_t>(random_() % 20);
    const DType dtype = kDTypes[i % 4];
    const std::string what =
        fmt::format("n{} c{} {}x{} ->{} k{} s{} d{} p{} g{} {}", c.n, c.ci, c.h, c.w, c.co,
                    c.kernel, c.stride, c.dilation, c.pad, c.groups, name_of(dtype));
    expect_exact(conv_forward_kernel(dtype, c), target(), random_, "forward " + what);
    expect_exact(conv_input_gradient_kernel(dtype, c), target(), random_, "input gradient " + what);
    expect_exact(conv_weight_gradient_kernel(dtype, c), target(), random_,
                 "weight gradient " + what);
  }
}

TEST_P(ContractOn, InputGradientsOfStridedConvolutionsComeApartIntoPhases) {
  for (const ConvCase& c :
       {ConvCase{2, 16, 30, 29, 24, 3, 2, 1}, ConvCase{1, 64, 31, 30, 80, 1, 2, 0},
        ConvCase{2, 12, 33, 34, 20, 4, 3, 2}, ConvCase{1, 20, 36, 36, 40, 3, 2, 2, 2}})
    expect_exact(conv_input_gradient_kernel(DType::Float32, c), target(), random_,
                 fmt::format("k{} s{} p{} d{}", c.kernel, c.stride, c.pad, c.dilation));
}

/// Stores whose places are no multiples of the lane's number, run by run, and phases of few lanes.
TEST_P(ContractOn, FewChannelsOfSmallImagesInEveryDirection) {
  for (const auto& [ci, co] : {std::pair{1, 1}, {1, 16}, {16, 1}, {2, 24}, {24, 3}, {4, 4}})
    for (const int64_t stride : {1, 2, 3})
      for (const int64_t size : {8, 17, 32}) {
        const ConvCase c{2, ci, size, size + stride, co, 3, stride, 1};
        const std::string what = fmt::format("{} to {} stride {} size {}", ci, co, stride, size);
        expect_exact(conv_forward_kernel(DType::Float32, c), target(), random_, what);
        expect_exact(conv_input_gradient_kernel(DType::Float32, c), target(), random_, what);
        expect_exact(conv_weight_gradient_kernel(DType::Float32, c), target(), random_, what);
      }
}

/// More phases than come apart: some dimensions keep their divisions.
TEST_P(ContractOn, InputGradientsOfWideStridesComeApartAsFarAsTheyMay) {
  for (const ConvCase& c :
       {ConvCase{1, 6, 40, 41, 8, 8, 8, 0}, ConvCase{1, 3, 45, 44, 16, 10, 5, 2}})
    expect_exact(conv_input_gradient_kernel(DType::Float32, c), target(), random_,
                 fmt::format("k{} s{}", c.kernel, c.stride));
}

/// Windows of stride 1 whose lanes are packed once for several steps of the kernel's window.
TEST_P(ContractOn, StepsOfAWindowReadTheSamePackedLanes) {
  for (const ConvCase& c :
       {ConvCase{2, 5, 20, 30, 9, 3, 1, 1}, ConvCase{1, 170, 18, 20, 14, 3, 1, 1},
        ConvCase{2, 60, 21, 19, 17, 5, 1, 2}, ConvCase{1, 3, 37, 24, 40, 3, 1, 2, 2},
        ConvCase{3, 6, 17, 33, 8, 3, 1, 0, 1, 3}, ConvCase{1, 4, 70, 66, 5, 7, 1, 3}})
    for (const DType dtype : {DType::Float32, DType::Float64}) {
      const std::string what = fmt::format("n{} c{} {}x{} ->{} k{} p{} d{} {}", c.n, c.ci, c.h, c.w,
                                           c.co, c.kernel, c.pad, c.dilation, name_of(dtype));
      expect_exact(conv_forward_kernel(dtype, c), target(), random_, "forward " + what);
      expect_exact(conv_input_gradient_kernel(dtype, c), target(), random_,
                   "input gradient " + what);
      expect_exact(conv_weight_gradient_kernel(dtype, c), target(), random_,
                   "weight gradient " + what);
    }
}

/// Sums over more steps than one block of packed rows takes: images are cut within.
TEST_P(ContractOn, WeightGradientsWhoseImagesAreCutIntoBlocks) {
  for (const DType dtype : {DType::Float32, DType::Float64}) {
    // The channels of two images look like windows of one over the images.
    for (const ConvCase& c :
         {ConvCase{2, 2, 36, 37, 3, 3, 1, 1}, ConvCase{3, 5, 43, 44, 4, 3, 1, 0},
          ConvCase{2, 3, 4, 1500, 3, 3, 1, 1}, ConvCase{2, 2, 75, 77, 4, 5, 2, 2}})
      expect_exact(conv_weight_gradient_kernel(dtype, c), target(), random_,
                   fmt::format("{}x{}x{}x{}", c.n, c.ci, c.h, c.w));
    // Volumes: labels outside of the cut have windows too.
    ContractSpec spec;
    spec.extents = {4, 2, 3, 3, 3, 2, 6, 40, 41};  // co, ci, kernel, n, volume
    spec.out = {0, 1, 2, 3, 4};
    spec.lhs = {DimMap::label(5), DimMap::label(1)};
    for (int64_t d = 0; d < 3; ++d) spec.lhs.push_back({6 + d, 2 + d, 1, 1, -1, 1});
    spec.rhs = {DimMap::label(5), DimMap::label(0), DimMap::label(6), DimMap::label(7),
                DimMap::label(8)};
    expect_exact(plain_contract(dtype, spec, dense({2, 2, 6, 40, 41}), dense({2, 4, 6, 40, 41})),
                 target(), random_, "volume");
  }
}

/// A contract of random labels, windows, layouts and output order.
ContractKernel random_contract(std::mt19937& random, DType dtype) {
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  };
  ContractSpec spec;
  std::vector<int64_t> shape[2];
  std::vector<DimMap>* maps[2] = {&spec.lhs, &spec.rhs};
  const int64_t extents[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 19, 33};
  int64_t work = 1;
  const auto label = [&](int64_t most, bool is_output) {
    int64_t extent = std::min(most, extents[below(std::size(extents))]);
    if (work * extent > 60000) extent = 1;
    work *= extent;
    spec.extents.push_back(extent);
    const auto id = static_cast<int64_t>(spec.extents.size()) - 1;
    if (is_output) spec.out.push_back(id);
    return id;
  };
  const auto put = [&](int side, DimMap map, int64_t extent) {
    const auto place =
        static_cast<std::ptrdiff_t>(below(static_cast<int64_t>(maps[side]->size()) + 1));
    maps[side]->insert(maps[side]->begin() + place, map);
    shape[side].insert(shape[side].begin() + place, extent);
  };
  const auto plain = [&](int side, int64_t id) {
    put(side, DimMap::label(id), spec.extents[static_cast<size_t>(id)]);
  };
  for (int64_t i = below(3); i > 0; --i) {
    const int64_t id = label(40, true);
    plain(0, id), plain(1, id);
  }
  for (int side = 0; side < 2; ++side)
    for (int64_t i = below(3); i > 0; --i) plain(side, label(40, true));
  for (int64_t i = below(3); i > 0; --i) {
    const int64_t id = label(40, false);
    plain(0, id);
    if (below(6) != 0) plain(1, id);
  }
  for (int64_t i = below(3); i > 0; --i) {
    // A window over one operand; one of its labels also belongs to the other operand.
    const int side = static_cast<int>(below(2));
    const bool u_is_output = below(3) != 0;
    const int64_t u = label(20, u_is_output), v = label(5, !u_is_output);
    DimMap map{u, v, 1 + below(3), 1 + below(2), -below(3), 1};
    if (below(3) == 0) map.b = -map.b, map.c = below(4);
    if (below(4) == 0) map.s = 1 + below(3);
    const auto [low, high] = index_range(map, spec.extents);
    put(side, map, std::max<int64_t>(1, high / map.s - below(3)));
    plain(1 - side, u_is_output ? v : u);
  }
  std::shuffle(spec.out.begin(), spec.out.end(), random);
  ContractOperand operands[2];
  for (int side = 0; side < 2; ++side) {
    // Storage in a random order of dimensions, with gaps; now and then a dimension is broadcast.
    const auto rank = shape[side].size();
    std::vector<size_t> order(rank);
    std::iota(order.begin(), order.end(), size_t{0});
    if (below(2) == 0) std::shuffle(order.begin(), order.end(), random);
    std::vector<int64_t> strides(rank, 0);
    int64_t reach = below(5) == 0 ? 2 : 1;
    for (size_t i = rank; i-- > 0;) {
      if (below(12) == 0) continue;
      strides[order[i]] = reach;
      reach *= shape[side][order[i]] + (below(6) == 0 ? 3 : 0);
    }
    operands[side].shape.assign(shape[side].begin(), shape[side].end());
    operands[side].strides.assign(strides.begin(), strides.end());
    operands[side].offset = below(3) * 5;
  }
  ContractKernel kernel = plain_contract(dtype, spec, operands[0], operands[1]);
  if (below(3) == 0 && spec.out.size() > 1) {
    // The result stored in another order of dimensions.
    std::vector<size_t> order(spec.out.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), random);
    IndexContext& context = kernel.epilogue.context;
    std::vector<IndexExpr> index;
    std::vector<int64_t> result_shape;
    for (const size_t axis : order) {
      index.push_back(context.axis(static_cast<int>(axis), kernel.epilogue.axes[axis].extent));
      result_shape.push_back(kernel.epilogue.axes[axis].extent);
    }
    kernel.epilogue.stores[0].index = linearize(context, index, contiguous_strides(result_shape));
  }
  return kernel;
}

TEST_P(ContractOn, RandomLabelsWindowsLayoutsAndOutputOrders) {
  for (int i = 0; i < 80; ++i)
    expect_exact(random_contract(random_, target().only_tiles ? DType::Float32 : kDTypes[i % 4]),
                 target(), random_, fmt::format("case {}", i));
}

/// Windows along which memory is read backwards, and that stick out at both ends.
TEST_P(ContractOn, WindowsThatReadBackwards) {
  for (const DType dtype : kDTypes)
    for (const int64_t backwards : {1, 2})
      for (const bool is_summed : {false, true}) {
        ContractSpec spec;  // of two labels one is summed, the other in the result; then rows
        spec.extents = {9, 21, 5};
        spec.lhs = {{0, 1, 3, -backwards, 2, 1}};
        spec.rhs = {DimMap::label(is_summed ? 1 : 0), DimMap::label(2)};
        spec.out = {2, is_summed ? 0 : 1};
        expect_exact(plain_contract(dtype, spec, dense({13}), dense({is_summed ? 21 : 9, 5})),
                     target(), random_, fmt::format("{} {}", backwards, is_summed));
      }
}

TEST_P(ContractOn, AnEmptySumIsZeroAndAnEmptyOutputHasNoUnits) {
  expect_exact(matmul_kernel(DType::Float32, 2, 5, 0, 21), target(), random_, "k = 0");
  expect_exact(matmul_kernel(DType::Int64, 2, 1, 0, 1), target(), random_, "k = 0, one element");
  for (const auto& [batch, m, n] : {std::tuple{0, 3, 3}, std::tuple{2, 0, 3}, std::tuple{2, 3, 0}})
    EXPECT_EQ(CompiledContract(matmul_kernel(DType::Float32, batch, m, 4, n), target()).step.range,
              0);
}

/// relu(result + bias[column]) + residual, and the sum before the relu stored transposed.
ContractKernel with_epilogue(ContractKernel kernel, int bias_axis) {
  LoopKernel& e = kernel.epilogue;
  const DType dtype = kernel.dtype;
  const auto add_value = [&](KernelValue v) {
    v.dtype = dtype;
    e.values.push_back(v);
    return static_cast<ValueId>(e.values.size() - 1);
  };
  const auto elementwise = [&](Op op, ValueId a, ValueId b) {
    KernelValue v;
    v.kind = ValueKind::Elementwise;
    v.op = op;
    v.operands[0] = a, v.operands[1] = b;
    return add_value(v);
  };
  const auto load = [&](int buffer, IndexExpr index) {
    KernelValue v;
    v.kind = ValueKind::Load;
    v.buffer = buffer, v.index = std::move(index);
    return add_value(v);
  };
  e.buffers.push_back({dtype, false, false});  // 1: bias
  e.buffers.push_back({dtype, false, false});  // 2: residual
  e.buffers.push_back({dtype, true, false});   // 3: before the relu, dimensions reversed
  const ValueId bias =
      load(1, e.context.axis(bias_axis, e.axes[static_cast<size_t>(bias_axis)].extent));
  const ValueId sum = elementwise(Op::Add, 0, bias);
  KernelValue literal;
  literal.kind = ValueKind::Literal;
  literal.literal = is_float(dtype) ? Scalar::of_float(dtype, 0) : Scalar::of_int(dtype, 0);
  const ValueId relu = elementwise(Op::Max, sum, add_value(literal));
  const ValueId result = elementwise(Op::Add, relu, load(2, e.stores[0].index));
  e.stores[0].value = result;
  KernelStore second;
  second.value = sum, second.buffer = 3;
  std::vector<IndexExpr> index;
  std::vector<int64_t> shape;
  for (size_t axis = e.axes.size(); axis-- > 0;) {
    index.push_back(e.context.axis(static_cast<int>(axis), e.axes[axis].extent));
    shape.push_back(e.axes[axis].extent);
  }
  second.index = linearize(e.context, index, contiguous_strides(shape));
  e.stores.push_back(second);
  return kernel;
}

TEST_P(ContractOn, EpiloguesAddBiasRectifyAddAResidualAndStoreTwice) {
  for (const auto& [kernel, bias_axis] :
       {std::pair{with_epilogue(matmul_kernel(DType::Float32, 2, 21, 30, 37), 2), 2},
        std::pair{with_epilogue(matmul_kernel(DType::Float64, 1, 150, 700, 41, false, true), 1), 1},
        std::pair{with_epilogue(conv_forward_kernel(DType::Float32, {3, 4, 11, 9, 20, 3, 2, 1}), 2),
                  2}}) {
    const auto run = [&]<class T>(T) {
      const int64_t lhs_span = span_of(kernel.lhs), rhs_span = span_of(kernel.rhs);
      std::vector<T> lhs(static_cast<size_t>(lhs_span)), rhs(static_cast<size_t>(rhs_span));
      fill_small(lhs.data(), lhs_span, random_);
      fill_small(rhs.data(), rhs_span, random_);
      const std::vector<double> product =
          reference_contract<T, double>(kernel, lhs.data(), rhs.data());
      std::vector<int64_t> shape;
      for (const LoopAxis& axis : kernel.epilogue.axes) shape.push_back(axis.extent);
      const auto count = static_cast<int64_t>(product.size());
      std::vector<T> bias(static_cast<size_t>(shape[static_cast<size_t>(bias_axis)])),
          residual(product.size());
      fill_small(bias.data(), static_cast<int64_t>(bias.size()), random_);
      fill_small(residual.data(), count, random_);
      const GuardedBuffer out(count * static_cast<int64_t>(sizeof(T)), true),
          second(count * static_cast<int64_t>(sizeof(T)), true);
      const CompiledContract compiled(kernel, target());
      compiled.run({lhs.data(), rhs.data(), out.as<void>(), bias.data(), residual.data(),
                    second.as<void>()});
      std::vector<int64_t> reversed(shape.rbegin(), shape.rend());
      const std::vector<int64_t> second_strides = specialized(contiguous_strides(reversed));
      for (int64_t i = 0; i < count; ++i) {
        int64_t rest = i, place = 0, bias_at = 0;
        for (size_t axis = shape.size(); axis-- > 0; rest /= shape[axis]) {
          place += rest % shape[axis] * second_strides[shape.size() - 1 - axis];
          if (static_cast<int>(axis) == bias_axis) bias_at = rest % shape[axis];
        }
        const double sum = product[static_cast<size_t>(i)] +
                           static_cast<double>(bias[static_cast<size_t>(bias_at)]);
        ASSERT_EQ(static_cast<double>(second.as<T>()[place]), sum) << i;
        ASSERT_EQ(static_cast<double>(out.as<T>()[i]),
                  std::max(sum, 0.0) + static_cast<double>(residual[static_cast<size_t>(i)]))
            << i;
      }
    };
    if (kernel.dtype == DType::Float32)
      run(float{});
    else
      run(double{});
  }
}

TEST(Contract, ResultsAreBitwiseTheSameHoweverUnitsAreShared) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const ContractKernel kernel = matmul_kernel(DType::Float32, 1, 300, 1300, 310, false, true);
  std::vector<float> lhs(300 * 1300), rhs(1300 * 310), once(300 * 310), pieces(300 * 310);
  for (float& x : lhs) x = uniform(random);
  for (float& x : rhs) x = uniform(random);
  const CompiledContract compiled(kernel, host_target());
  ASSERT_GT(compiled.step.range, 3);
  compiled.run({lhs.data(), rhs.data(), once.data()});
  for (const int64_t piece : {1, 2, 3}) {
    compiled.run({lhs.data(), rhs.data(), pieces.data()}, piece);
    EXPECT_EQ(std::memcmp(once.data(), pieces.data(), once.size() * sizeof(float)), 0);
  }
}

/// What a machine with tile registers does with bfloat16 products.
class ContractTiles : public testing::Test {
 protected:
  void SetUp() override {
    if (!host_supports(Isa::Amx)) GTEST_SKIP() << "this machine has no AMX";
    target_ = target_for(Isa::Amx);
    target_.only_tiles = true;
  }
  static ContractKernel kernel(int64_t m, int64_t k, int64_t n, bool ta = false, bool tb = false) {
    ContractKernel kernel = matmul_kernel(DType::Float32, 1, m, k, n, ta, tb);
    kernel.lhs.memory = kernel.rhs.memory = DType::BFloat16;
    return kernel;
  }
  std::vector<BFloat16> uniform(int64_t count) {
    std::uniform_real_distribution<float> distribution(-1, 1);
    std::vector<BFloat16> values(static_cast<size_t>(count));
    for (BFloat16& x : values) x = BFloat16(distribution(random_));
    return values;
  }
  std::vector<float> run(const ContractKernel& kernel, std::vector<BFloat16>& lhs,
                         std::vector<BFloat16>& rhs, int64_t piece = INT64_MAX) const {
    std::vector<float> out(static_cast<size_t>(kernel.spec.extents[1] * kernel.spec.extents[2]));
    CompiledContract(kernel, target_).run({lhs.data(), rhs.data(), out.data()}, piece);
    return out;
  }
  Target target_;
  std::mt19937 random_{11};
};

TEST_F(ContractTiles, RoundLikeSumsOfFloat32) {
  for (const auto& [m, k, n] :
       {std::tuple{33, 70, 35}, std::tuple{100, 768, 64}, std::tuple{7, 3000, 130}}) {
    const ContractKernel product = kernel(m, k, n, k % 3 == 0, k % 2 == 0);
    std::vector<BFloat16> lhs = uniform(m * k), rhs = uniform(k * n);
    const std::vector<float> lhs_wide(lhs.begin(), lhs.end()), rhs_wide(rhs.begin(), rhs.end());
    const std::vector<double> expected =
        reference_contract<float, double>(product, lhs_wide.data(), rhs_wide.data());
    const std::vector<float> got = run(product, lhs, rhs);
    for (size_t i = 0; i < got.size(); ++i)
      // Each of k / 2 additions rounds a sum below k by half a unit.
      ASSERT_NEAR(got[i], expected[i], 0.5 * k * std::sqrt(k) * 0x1p-24) << k << ": " << i;
  }
}

TEST_F(ContractTiles, AnInfinityOrNanStaysInItsRow) {
  std::vector<BFloat16> lhs(35 * 37, BFloat16(1.0f)), rhs(37 * 33, BFloat16(0.0f));
  lhs[2 * 37 + 36] = BFloat16(INFINITY);
  lhs[20 * 37] = BFloat16(NAN);
  for (int64_t n = 0; n < 33; ++n) rhs[static_cast<size_t>(36 * 33 + n)] = BFloat16(2.0f);
  const std::vector<float> got = run(kernel(35, 37, 33), lhs, rhs);
  for (int64_t i = 0; i < 35 * 33; ++i) {
    const float x = got[static_cast<size_t>(i)];
    if (i / 33 == 20)
      ASSERT_TRUE(std::isnan(x)) << i;
    else
      ASSERT_EQ(x, i / 33 == 2 ? INFINITY : 2.0f) << i;
  }
}

TEST_F(ContractTiles, SubnormalNumbersCountAsZero) {
  std::vector<BFloat16> lhs(16 * 32, BFloat16(0x1p-130f)), rhs(32 * 16, BFloat16(0x1p100f));
  EXPECT_EQ(run(kernel(16, 32, 16), lhs, rhs)[0], 0.0f);
  std::fill(lhs.begin(), lhs.end(), BFloat16(0x1p-126f));
  EXPECT_EQ(run(kernel(16, 32, 16), lhs, rhs)[0], 0x1p-21f);
}

TEST_F(ContractTiles, ResultsDoNotDependOnThreadsOrHowUnitsAreShared) {
  const ContractKernel product = kernel(300, 2100, 310, false, true);
  std::vector<BFloat16> lhs = uniform(300 * 2100), rhs = uniform(2100 * 310);
  target_.threads = 1;
  const std::vector<float> once = run(product, lhs, rhs);
  for (const int threads : {2, 3, 16}) {
    target_.threads = threads;
    const std::vector<float> shared = run(product, lhs, rhs, threads == 16 ? 1 : INT64_MAX);
    EXPECT_EQ(std::memcmp(once.data(), shared.data(), once.size() * sizeof(float)), 0) << threads;
  }
}

TEST_F(ContractTiles, TinyProductsKeepTheOtherPath) {
  target_.only_tiles = false;
  EXPECT_EQ(plan_contract(kernel(1, 768, 768), target_).matrix(), nullptr);
  EXPECT_EQ(plan_contract(kernel(8, 8, 8), target_).matrix(), nullptr);
  EXPECT_NE(plan_contract(kernel(64, 64, 64), target_).matrix(), nullptr);
  EXPECT_NE(plan_contract(kernel(256, 768, 3072), target_).matrix(), nullptr);
  EXPECT_EQ(plan_contract(kernel(256, 768, 3072), target_for(Isa::Avx512)).matrix(), nullptr);
}

TEST(Contract, KeysTellShapesStridesWindowsAndDTypesApart) {
  const ContractKernel kernel = conv_forward_kernel(DType::Float32, {1, 2, 8, 8, 3, 3, 1, 1});
  EXPECT_EQ(kernel.structure_key(),
            conv_forward_kernel(DType::Float32, {1, 2, 8, 8, 3, 3, 1, 1}).structure_key());
  EXPECT_NE(kernel.structure_key(),
            conv_forward_kernel(DType::Float64, {1, 2, 8, 8, 3, 3, 1, 1}).structure_key());
  EXPECT_NE(kernel.structure_key(),
            conv_forward_kernel(DType::Float32, {1, 2, 8, 8, 3, 3, 1, 0}).structure_key());
  EXPECT_NE(kernel.structure_key(),
            conv_forward_kernel(DType::Float32, {2, 2, 8, 8, 3, 3, 1, 1}).structure_key());
  ContractKernel strided = kernel;
  strided.lhs.strides[0] += 1;
  EXPECT_NE(kernel.structure_key(), strided.structure_key());
}

TEST(Contract, RefusesProductsOfBool) {
  EXPECT_THROW(CompiledContract(matmul_kernel(DType::Bool, 1, 2, 2, 2), host_target()), Error);
}

}  // namespace
}  // namespace coregrad
