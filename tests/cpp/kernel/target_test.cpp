#include "base/error.h"
#include "base/flags.h"
#include "codegen/jit/host_target.h"

#include <gtest/gtest.h>

namespace coregrad {
namespace {

TEST(Target, GenericAlwaysExistsWithSixteenByteVectors) {
  const Target target = target_for(Isa::Generic);
  EXPECT_EQ(target.vector_bytes, 16);
  EXPECT_EQ(target.lanes(4), 4);
}

TEST(Target, Avx2LeavesOutEveryAvx512Feature) {
  if (!host_supports(Isa::Avx2)) GTEST_SKIP() << "this machine has no AVX2";
  const Target target = target_for(Isa::Avx2);
  EXPECT_EQ(target.vector_bytes, 32);
  EXPECT_EQ(target.features.find("+avx512"), std::string::npos);
  EXPECT_EQ(target.features.find("+evex512"), std::string::npos);
  EXPECT_NE(target.features.find("+fma"), std::string::npos);
}

TEST(Target, Avx512AsksForFullWidthVectors) {
  if (!host_supports(Isa::Avx512)) GTEST_SKIP() << "this machine has no AVX-512";
  const Target target = target_for(Isa::Avx512);
  EXPECT_EQ(target.vector_bytes, 64);
  EXPECT_NE(target.features.find("-prefer-256-bit"), std::string::npos);
}

TEST(Target, OnlyAmxHasTileFeatures) {
  if (!host_supports(Isa::Amx)) GTEST_SKIP() << "this machine has no AMX";
  EXPECT_TRUE(target_for(Isa::Amx).has_amx);
  EXPECT_NE(target_for(Isa::Amx).features.find("+amx-bf16"), std::string::npos);
  for (const Isa isa : {Isa::Avx512, Isa::Avx2}) {
    EXPECT_FALSE(target_for(isa).has_amx);
    EXPECT_EQ(target_for(isa).features.find("+amx"), std::string::npos);
  }
}

TEST(Target, CacheSizesGrowWithTheLevel) {
  const Target& target = host_target();
  EXPECT_GE(target.l1_bytes, 8 * 1024);
  EXPECT_GT(target.l2_bytes, target.l1_bytes);
  EXPECT_GT(target.l3_bytes, 0);
}

TEST(Target, TheIsaFlagNarrowsTheHostAndRejectsUnknownNames) {
  Flags changed = flags();
  changed.isa = "generic";
  const Flags before = set_flags_for_test(changed);
  EXPECT_EQ(host_target().isa, Isa::Generic);
  changed.isa = "mmx";
  set_flags_for_test(changed);
  EXPECT_THROW(host_target(), ValueError);
  changed.isa = host_supports(Isa::Neon) ? "avx2" : "neon";
  set_flags_for_test(changed);
  EXPECT_THROW(host_target(), ValueError);
  set_flags_for_test(before);
}

TEST(Target, TheMachineFlagMakesCachesAndThresholdsSmall) {
  Flags changed = flags();
  changed.machine = "tiny,l2=8192,threads=7";
  const Flags before = set_flags_for_test(changed);
  const Target target = host_target();
  EXPECT_EQ(target.l1_bytes, 1024);
  EXPECT_EQ(target.l2_bytes, 8192);
  EXPECT_EQ(target.threads, 7);
  EXPECT_EQ(target.thresholds.stream_bytes, 256);
  EXPECT_EQ(target_for(Isa::Generic).l1_bytes, 1024);
  set_flags_for_test(before);
  EXPECT_GT(host_target().l1_bytes, 1024);
}

TEST(Target, EachThresholdHasASettingByWhichTinyIsSmaller) {
  const Target host = with_machine(target_for(Isa::Generic), ""), tiny = with_machine(host, "tiny");
  const auto *of_host = reinterpret_cast<const int64_t*>(&host.thresholds),
             *of_tiny = reinterpret_cast<const int64_t*>(&tiny.thresholds);
  static_assert(sizeof(Thresholds) % sizeof(int64_t) == 0);
  for (size_t i = 0; i < sizeof(Thresholds) / sizeof(int64_t); ++i)
    EXPECT_LT(of_tiny[i], of_host[i]) << "field " << i;
}

TEST(Target, AMachineSettingThatDoesNotExistIsRefused) {
  const Target host = target_for(Isa::Generic);
  EXPECT_THROW(with_machine(host, "l4=3"), ValueError);
  EXPECT_THROW(with_machine(host, "l2"), ValueError);
  EXPECT_THROW(with_machine(host, "l2=-3"), ValueError);
  EXPECT_THROW(with_machine(host, "l2=3k"), ValueError);
}

}  // namespace
}  // namespace coregrad
