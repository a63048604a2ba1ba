#include "codegen/target.h"

#include "base/error.h"
#include "base/flags.h"

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
  EXPECT_TRUE(target_for(Isa::Amx).has_tiles);
  EXPECT_NE(target_for(Isa::Amx).features.find("+amx-bf16"), std::string::npos);
  for (const Isa isa : {Isa::Avx512, Isa::Avx2}) {
    EXPECT_FALSE(target_for(isa).has_tiles);
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

}  // namespace
}  // namespace coregrad
