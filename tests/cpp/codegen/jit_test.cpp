#include "codegen/jit/jit.h"

#include "base/error.h"
#include "codegen/ir/llvm_util.h"
#include "codegen/ir/shared_functions.h"
#include "codegen/jit/host_target.h"

#include <gtest/gtest.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <thread>

namespace coregrad {
namespace {

using MapFunction = void(const float* x, float* y, int64_t n);

/// y[i] = x[i] * x[i] + addend for whole vectors of `width`.
void build_map(llvm::Module& module, const std::string& symbol, int width, double addend) {
  llvm::LLVMContext& context = module.getContext();
  llvm::IRBuilder<> b(context);
  auto* const type =
      llvm::FunctionType::get(b.getVoidTy(), {b.getPtrTy(), b.getPtrTy(), b.getInt64Ty()}, false);
  auto* const function =
      llvm::Function::Create(type, llvm::Function::ExternalLinkage, symbol, module);
  auto* const entry = llvm::BasicBlock::Create(context, "entry", function);
  auto* const loop = llvm::BasicBlock::Create(context, "loop", function);
  auto* const exit = llvm::BasicBlock::Create(context, "exit", function);
  b.SetInsertPoint(entry);
  b.CreateBr(loop);
  b.SetInsertPoint(loop);
  auto* const i = b.CreatePHI(b.getInt64Ty(), 2);
  i->addIncoming(b.getInt64(0), entry);
  auto* const vector = llvm::FixedVectorType::get(b.getFloatTy(), static_cast<unsigned>(width));
  llvm::Value* const x = b.CreateAlignedLoad(
      vector, b.CreateGEP(b.getFloatTy(), function->getArg(0), i), llvm::Align(4));
  b.CreateAlignedStore(emit_fma(b, x, x, llvm::ConstantFP::get(vector, addend)),
                       b.CreateGEP(b.getFloatTy(), function->getArg(1), i), llvm::Align(4));
  llvm::Value* const next = b.CreateAdd(i, b.getInt64(static_cast<uint64_t>(width)));
  i->addIncoming(next, loop);
  b.CreateCondBr(b.CreateICmpSLT(next, function->getArg(2)), loop, exit);
  b.SetInsertPoint(exit);
  b.CreateRetVoid();
}

/// double f(double x) { return name(x); }
void build_call(llvm::Module& module, const char* name) {
  llvm::IRBuilder<> b(module.getContext());
  auto* const type = llvm::FunctionType::get(b.getDoubleTy(), {b.getDoubleTy()}, false);
  auto* const function = llvm::Function::Create(type, llvm::Function::ExternalLinkage, "f", module);
  b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  b.CreateRet(b.CreateCall(module.getOrInsertFunction(name, type), {function->getArg(0)}));
}

/// double name(double x) { return (shared(shared(x)) + x) * factor; } with shared(x) = inner(x) + 1
/// and inner(x) = x * x, both shared.
void build_sharing(llvm::Module& module, SharedFunctions& shared, const std::string& name,
                   double factor) {
  llvm::IRBuilder<> b(module.getContext());
  auto* const type = llvm::FunctionType::get(b.getDoubleTy(), {b.getDoubleTy()}, false);
  const auto make = [&](llvm::Module& in, const std::string& symbol, auto&& value) {
    auto* const function =
        llvm::Function::Create(type, llvm::Function::ExternalLinkage, symbol, in);
    llvm::IRBuilder<> body(llvm::BasicBlock::Create(in.getContext(), "entry", function));
    body.CreateRet(value(body, function->getArg(0)));
    return function;
  };
  const auto number = [&](double x) { return llvm::ConstantFP::get(b.getDoubleTy(), x); };
  llvm::Function* const outer = shared.add(module, [&](llvm::Module& own) {
    llvm::Function* const inner = shared.add(own, [&](llvm::Module& innermost) {
      return make(innermost, "inner",
                  [](llvm::IRBuilder<>& c, llvm::Value* x) { return c.CreateFMul(x, x); });
    });
    return make(own, "outer", [&](llvm::IRBuilder<>& c, llvm::Value* x) {
      return c.CreateFAdd(c.CreateCall(inner, {x}), number(1));
    });
  });
  make(module, name, [&](llvm::IRBuilder<>& c, llvm::Value* x) {
    llvm::Value* const twice = c.CreateCall(outer, {c.CreateCall(outer, {x})});
    return c.CreateFMul(c.CreateFAdd(twice, x), number(factor));
  });
}

std::vector<Target> host_targets() {
  std::vector<Target> targets;
  for (const Isa isa : {Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512})
    if (host_supports(isa)) targets.push_back(target_for(isa));
  return targets;
}

void expect_squares(const CodeHandle& code, const std::string& symbol, double addend) {
  std::vector<float> x(64), y(64);
  for (int i = 0; i < 64; ++i) x[i] = static_cast<float>(i);
  reinterpret_cast<MapFunction*>(code->address(symbol))(x.data(), y.data(), 64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(y[i], static_cast<float>(i * i + addend));
}

TEST(Jit, RunsAVectorLoopOnEveryIsaOfTheHost) {
  for (const Target& target : host_targets()) {
    CompileTimes times;
    const CodeHandle code = compile_module(
        target, "map",
        [&](llvm::Module& module) { build_map(module, "map", target.lanes(4), 1.0); }, &times);
    expect_squares(code, "map", 1.0);
    EXPECT_GT(times.codegen_ms, 0.0);
  }
}

TEST(Jit, ModulesMayUseTheSameSymbolNames) {
  const auto compile = [](double addend) {
    return compile_module(host_target(), "same",
                          [&](llvm::Module& module) { build_map(module, "map", 4, addend); });
  };
  const CodeHandle first = compile(1.0), second = compile(2.0);
  expect_squares(first, "map", 1.0);
  expect_squares(second, "map", 2.0);
}

TEST(Jit, CompilesOnSeveralThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::vector<CodeHandle> codes(8);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int k = t; k < 8; k += 4)
        codes[k] = compile_module(host_target(), "parallel",
                                  [&](llvm::Module& module) { build_map(module, "map", 8, k); });
    });
  for (std::thread& thread : threads) thread.join();
  for (int k = 0; k < 8; ++k) expect_squares(codes[k], "map", k);
}

TEST(Jit, SharedFunctionsStayAsLongAsSomethingCallsThem) {
  using Function = double (*)(double);
  const auto compile = [](double factor) {
    return compile_module(
        host_target(), "sharing", [&](llvm::Module& module, SharedFunctions& shared) {
          build_sharing(module, shared, "f", factor);
          // Each once, what is called first.
          EXPECT_EQ(shared.entries().size(), 2u);
          EXPECT_TRUE(shared.entries()[1].module->getFunction(shared.entries()[0].name));
        });
  };
  const auto call = [](const CodeHandle& code) {
    return reinterpret_cast<Function>(code->address("f"))(2.0);
  };
  CodeHandle first = compile(1);
  CodeHandle second = compile(3);
  EXPECT_EQ(call(first), 28.0);
  first.reset();
  EXPECT_EQ(call(second), 84.0);
  second.reset();
  EXPECT_EQ(call(compile(10)), 280.0);
  std::vector<std::thread> threads;
  std::vector<double> results(8);
  for (size_t t = 0; t < results.size(); ++t)
    threads.emplace_back([&, t] { results[t] = call(compile(static_cast<double>(t))); });
  for (std::thread& thread : threads) thread.join();
  for (size_t t = 0; t < results.size(); ++t) EXPECT_EQ(results[t], 28.0 * static_cast<double>(t));
}

TEST(Jit, ManyThreadsMakeAndDropCode) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([t] {
      std::vector<CodeHandle> kept(5);
      for (int i = 0; i < 60; ++i) {
        const double addend = 100 * t + i;
        CodeHandle& code = kept[static_cast<size_t>(i * 7 % 5)];
        code = compile_module(host_target(), "many",
                              [&](llvm::Module& module) { build_map(module, "map", 8, addend); });
        expect_squares(code, "map", addend);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

// A process may have some 65,000 of them.
TEST(Jit, CodeTakesFewMappings) {
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  const auto before = mappings();
  std::vector<CodeHandle> codes;
  for (int i = 0; i < 100; ++i)
    codes.push_back(compile_module(
        host_target(), "few", [&](llvm::Module& module) { build_map(module, "map", 8, i + 0.5); }));
  EXPECT_LT(mappings() - before, 40);
}

TEST(Jit, NoPageIsWritableAndExecutable) {
  const CodeHandle code = compile_module(
      host_target(), "pages", [](llvm::Module& module) { build_map(module, "map", 4, 0.5); });
  std::ifstream maps("/proc/self/maps");
  const auto wanted = reinterpret_cast<uint64_t>(code->address("map"));
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    EXPECT_EQ(line.find("rwx"), std::string::npos) << line;
    uint64_t begin = 0, end = 0;
    char mode[8] = {};
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx-%lx %7s", &begin, &end, mode), 3);
    if (begin > wanted || wanted >= end) continue;
    found = true;
    EXPECT_EQ(std::string(mode).substr(0, 3), "r-x");
  }
  EXPECT_TRUE(found);
}

TEST(Jit, FreesTheMemoryOfDroppedCode) {
  CodeHandle code = compile_module(host_target(), "dropped",
                                   [](llvm::Module& module) { build_map(module, "map", 4, 0.5); });
  const auto address = reinterpret_cast<uint64_t>(code->address("map"));
  code.reset();
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uint64_t begin = 0, end = 0;
    char mode[8] = {};
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx-%lx %7s", &begin, &end, mode), 3);
    if (begin <= address && address < end) EXPECT_EQ(mode[2], '-') << line;
  }
}

TEST(Jit, AnUnknownSymbolIsAnInternalErrorThatNamesTheModule) {
  const CodeHandle code = compile_module(
      host_target(), "lonely", [](llvm::Module& module) { build_map(module, "map", 4, 0.5); });
  try {
    code->address("other");
    FAIL() << "no error";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("lonely"), std::string::npos);
  }
}

TEST(Jit, RefusesCallsOfFunctionsOutsideTheShortList) {
  const auto compile = [](const char* callee) {
    return compile_module(host_target(), "caller",
                          [&](llvm::Module& module) { build_call(module, callee); });
  };
  EXPECT_THROW(compile("cbrt"), InternalError);
  const CodeHandle code = compile("floor");
  EXPECT_EQ(reinterpret_cast<double (*)(double)>(code->address("f"))(2.75), 2.0);
}

TEST(Jit, AnErrorOfTheBuilderComesThroughAndLeavesTheEngineUsable) {
  EXPECT_THROW(compile_module(host_target(), "broken",
                              [](llvm::Module&) { raise<ValueError>("no such kernel"); }),
               ValueError);
  const CodeHandle code = compile_module(
      host_target(), "after", [](llvm::Module& module) { build_map(module, "map", 4, 3.0); });
  expect_squares(code, "map", 3.0);
}

TEST(Jit, AnObjectCanBeKeptAndLoadedAgain) {
  const std::string object = compile_to_object(
      host_target(), "kept", [](llvm::Module& module) { build_map(module, "map", 4, 4.0); });
  expect_squares(load_object(object, "kept"), "map", 4.0);
  EXPECT_THROW(load_object(object.substr(0, 100), "cut"), InternalError);
}

TEST(Jit, Avx2CodeUsesNoAvx512Register) {
  if (!host_supports(Isa::Avx2)) GTEST_SKIP() << "this machine has no AVX2";
  const std::string text =
      compile_to_assembly(target_for(Isa::Avx2), "narrow",
                          [](llvm::Module& module) { build_map(module, "map", 64, 1.0); });
  EXPECT_EQ(text.find("zmm"), std::string::npos);
  EXPECT_EQ(text.find("%ymm16"), std::string::npos);
  EXPECT_EQ(text.find("%k1"), std::string::npos);
  EXPECT_NE(text.find("vfmadd"), std::string::npos);
}

TEST(Jit, GenericCodeMultipliesAndAddsWithoutACall) {
  if (target_for(Isa::Generic).has_fma) GTEST_SKIP() << "every machine of this kind has FMA";
  const std::string text =
      compile_to_assembly(target_for(Isa::Generic), "plain",
                          [](llvm::Module& module) { build_map(module, "map", 4, 1.0); });
  EXPECT_NE(text.find("mulps"), std::string::npos);
  EXPECT_EQ(text.find("call"), std::string::npos);
}

}  // namespace
}  // namespace coregrad
