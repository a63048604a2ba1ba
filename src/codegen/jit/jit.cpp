// Modules to object code. Start reading at `generate`; jit_link.cpp loads the objects.
//
// A Compiler holds everything LLVM needs that does not depend on the module (target machine, pass
// pipeline, analysis managers). Compilers are kept in a pool: a thread takes one for the duration
// of a module, so threads share nothing while they compile.

#include "codegen/jit/jit.h"

#include "base/error.h"
#include "base/flags.h"
#include "codegen/ir/access_check.h"
#include "codegen/ir/llvm_util.h"

#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/Analysis/LoopAnalysisManager.h>
#include <llvm/IR/DiagnosticInfo.h>
#include <llvm/IR/DiagnosticPrinter.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/GVN.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <vector>

namespace coregrad {
namespace {

#ifdef NDEBUG
constexpr bool kCheckAlignments = false;
#else
constexpr bool kCheckAlignments = true;
#endif

class Stopwatch {
 public:
  /// Milliseconds since construction or the last lap.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - start_).count();
    start_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::unique_ptr<llvm::TargetMachine> make_target_machine(const Target& target) {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
  const std::string triple = llvm::sys::getProcessTriple();
  std::string problem;
  const llvm::Target* const backend = llvm::TargetRegistry::lookupTarget(triple, problem);
  if (!backend) raise<InternalError>("jit: no code generator for {}: {}", triple, problem);
  llvm::TargetOptions options;
  options.EnableFastISel = false;
  std::unique_ptr<llvm::TargetMachine> machine(backend->createTargetMachine(
      triple, target.cpu, target.features, options, llvm::Reloc::PIC_, llvm::CodeModel::Small,
      llvm::CodeGenOptLevel::Default, /*JIT=*/true));
  if (!machine) raise<InternalError>("jit: no target machine for cpu {}", target.cpu);
  return machine;
}

class Compiler {
 public:
  explicit Compiler(const Target& target)
      : machine_(make_target_machine(target)), pass_builder_(machine_.get()) {
    pass_builder_.registerModuleAnalyses(module_analyses_);
    pass_builder_.registerCGSCCAnalyses(call_graph_analyses_);
    pass_builder_.registerFunctionAnalyses(function_analyses_);
    pass_builder_.registerLoopAnalyses(loop_analyses_);
    pass_builder_.crossRegisterProxies(loop_analyses_, function_analyses_, call_graph_analyses_,
                                       module_analyses_);
    // The generators write the vectors and the unrolling themselves. What is left for LLVM: equal
    // address arithmetic, identities, and whatever does not change in an inner loop.
    llvm::FunctionPassManager once;
    once.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/false));
    once.addPass(llvm::InstCombinePass());
    once.addPass(llvm::SimplifyCFGPass());
    once.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()),
                                                       /*UseMemorySSA=*/true));
    once.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/true));
    pipeline_ = std::move(once);
  }

  llvm::TargetMachine& machine() { return *machine_; }

  void optimize(llvm::Module& module) {
    for (llvm::Function& function : module)
      if (!function.isDeclaration()) pipeline_.run(function, function_analyses_);
    // Results are keyed by the address of functions and loops that are about to go away.
    loop_analyses_.clear();
    function_analyses_.clear();
    call_graph_analyses_.clear();
    module_analyses_.clear();
  }

  llvm::SmallVector<char, 0> emit(llvm::Module& module, llvm::CodeGenFileType type) {
    llvm::SmallVector<char, 0> bytes;
    llvm::raw_svector_ostream stream(bytes);
    llvm::legacy::PassManager passes;
    if (machine_->addPassesToEmitFile(passes, stream, nullptr, type, /*DisableVerify=*/true))
      raise<InternalError>("jit: the target cannot emit this kind of file");
    passes.run(module);
    return bytes;
  }

 private:
  std::unique_ptr<llvm::TargetMachine> machine_;
  llvm::PassBuilder pass_builder_;
  llvm::LoopAnalysisManager loop_analyses_;
  llvm::FunctionAnalysisManager function_analyses_;
  llvm::CGSCCAnalysisManager call_graph_analyses_;
  llvm::ModuleAnalysisManager module_analyses_;
  llvm::FunctionPassManager pipeline_;
};

/// Idle compilers by CPU and features.
class CompilerPool {
 public:
  std::unique_ptr<Compiler> take(const Target& target) {
    {
      const std::lock_guard lock(mutex_);
      auto& idle = idle_[key(target)];
      if (!idle.empty()) {
        std::unique_ptr<Compiler> compiler = std::move(idle.back());
        idle.pop_back();
        return compiler;
      }
    }
    return std::make_unique<Compiler>(target);
  }

  void give_back(const Target& target, std::unique_ptr<Compiler> compiler) {
    const std::lock_guard lock(mutex_);
    idle_[key(target)].push_back(std::move(compiler));
  }

 private:
  static std::string key(const Target& target) { return target.cpu + ';' + target.features; }

  std::mutex mutex_;
  std::map<std::string, std::vector<std::unique_ptr<Compiler>>> idle_;
};

CompilerPool& pool() {
  // Never destroyed: other threads may still compile while the process exits.
  static CompilerPool* const instance = new CompilerPool();
  return *instance;
}

/// LLVM reports some errors to the context, whose own handler would end the process.
struct ErrorCollector final : llvm::DiagnosticHandler {
  explicit ErrorCollector(std::string& text) : text_(text) {}
  bool handleDiagnostics(const llvm::DiagnosticInfo& info) override {
    if (info.getSeverity() != llvm::DS_Error) return true;
    llvm::raw_string_ostream stream(text_);
    llvm::DiagnosticPrinterRawOStream printer(stream);
    info.print(printer);
    stream << '\n';
    return true;
  }
  std::string& text_;
};

void set_attributes(llvm::Module& module, const Target& target) {
  const std::string width = std::to_string(target.vector_bytes * 8);
  for (llvm::Function& function : module) {
    if (function.isDeclaration()) continue;
    function.addFnAttr("target-cpu", target.cpu);
    function.addFnAttr("target-features", target.features);
    function.addFnAttr("prefer-vector-width", width);
    function.addFnAttr("frame-pointer", "none");
    function.addFnAttr("no-trapping-math", "true");
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
}

/// Costs a thirtieth of the compile time; machine code from invalid IR would be silently wrong.
void verify(const llvm::Module& module, std::string_view name) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (llvm::verifyModule(module, &stream)) {
    module.print(stream, nullptr);
    raise<InternalError>("jit: module {}: invalid LLVM IR: {}", name, text);
  }
}

std::string text_of(const llvm::Module& module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream, nullptr);
  return text;
}

/// In one piece: other threads show modules too.
void show(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

/// Builds, optimises and emits one module.
llvm::SmallVector<char, 0> generate(const Target& target, std::string_view name,
                                    const ModuleBuilder& build, llvm::CodeGenFileType type,
                                    CompileTimes& times) {
  Stopwatch watch;
  const int debug = flags().debug;
  std::string errors;
  llvm::LLVMContext context;
  context.setDiscardValueNames(debug < 4);
  context.setDiagnosticHandler(std::make_unique<ErrorCollector>(errors));
  std::unique_ptr<Compiler> compiler = pool().take(target);

  llvm::Module module(llvm::StringRef(name.data(), name.size()), context);
  module.setTargetTriple(compiler->machine().getTargetTriple().str());
  module.setDataLayout(compiler->machine().createDataLayout());
  describe_target(module, target);
  build(module);
  set_attributes(module, target);
  if (kCheckAlignments || flags().check_memory) check_alignments(module);
  verify(module, name);
  times.build_ms = watch.lap();

  compiler->optimize(module);
  times.optimize_ms = watch.lap();
  if (debug >= 4) show(text_of(module));
  if (debug >= 5) {
    // Emitting rewrites the module, so the listing comes from a copy.
    const std::unique_ptr<llvm::Module> copy = llvm::CloneModule(module);
    const auto listing = compiler->emit(*copy, llvm::CodeGenFileType::AssemblyFile);
    show({listing.data(), listing.size()});
  }

  watch.lap();
  auto bytes = compiler->emit(module, type);
  times.codegen_ms = watch.lap();
  pool().give_back(target, std::move(compiler));
  if (!errors.empty()) raise<InternalError>("jit: module {}: {}", name, errors);
  return bytes;
}

}  // namespace

std::string compile_to_object(const Target& target, std::string_view name,
                              const ModuleBuilder& build, CompileTimes* times) {
  CompileTimes ignored;
  const auto bytes =
      generate(target, name, build, llvm::CodeGenFileType::ObjectFile, times ? *times : ignored);
  return std::string(bytes.data(), bytes.size());
}

std::string compile_to_assembly(const Target& target, std::string_view name,
                                const ModuleBuilder& build) {
  CompileTimes ignored;
  const auto bytes = generate(target, name, build, llvm::CodeGenFileType::AssemblyFile, ignored);
  return std::string(bytes.data(), bytes.size());
}

std::string print_module(const Target& target, const ModuleBuilder& build) {
  llvm::LLVMContext context;
  context.setDiscardValueNames(true);
  llvm::Module module("module", context);
  std::unique_ptr<Compiler> compiler = pool().take(target);
  module.setDataLayout(compiler->machine().createDataLayout());
  pool().give_back(target, std::move(compiler));
  describe_target(module, target);
  build(module);
  return text_of(module);
}

CodeHandle compile_module(const Target& target, std::string_view name, const ModuleBuilder& build,
                          CompileTimes* times) {
  CompileTimes measured;
  const auto object = generate(target, name, build, llvm::CodeGenFileType::ObjectFile, measured);
  CodeHandle code = load_object({object.data(), object.size()}, name, &measured);
  if (times) *times = measured;
  return code;
}

}  // namespace coregrad
