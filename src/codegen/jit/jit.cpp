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
#include "codegen/ir/shared_functions.h"

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
#include <llvm/Support/CommandLine.h>
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
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
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

/// What LLVM has no other way to be told. Its loop strength reduction takes a fifth of the time
/// and, where strides are parameters, up to half; loops here advance their own pointers and run as
/// fast without it.
void set_options() {
  const char* const options[] = {"coregrad", "-disable-lsr"};
  std::string problem;
  llvm::raw_string_ostream stream(problem);
  if (!llvm::cl::ParseCommandLineOptions(static_cast<int>(std::size(options)), options, "",
                                         &stream))
    raise<InternalError>("jit: LLVM does not take its options: {}", problem);
}

std::unique_ptr<llvm::TargetMachine> make_target_machine(const Target& target) {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    set_options();
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

/// In one piece: other threads show modules too.
void show(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

/// Shared functions that some code in the process calls, by target and name.
class SharedCode {
 public:
  /// What is there, or what `make` gives; threads that ask for one that is being made wait.
  CodeHandle get(const std::string& key, const std::function<CodeHandle()>& make) {
    std::unique_lock lock(mutex_);
    for (;;) {
      Entry& entry = entries_[key];
      if (CodeHandle code = entry.code.lock()) return code;
      if (!entry.is_being_made) break;
      made_.wait(lock);
    }
    if (entries_.size() > 2 * live_at_last_sweep_ + 1000) sweep();
    entries_[key].is_being_made = true;
    lock.unlock();
    const auto finish = [&](const CodeHandle& code) {
      lock.lock();
      entries_[key] = {code, false};
      made_.notify_all();
    };
    CodeHandle code;
    try {
      code = make();
    } catch (...) {
      finish(nullptr);
      throw;
    }
    finish(code);
    return code;
  }

 private:
  struct Entry {
    std::weak_ptr<const LoadedCode> code;
    bool is_being_made = false;
  };

  void sweep() {
    std::erase_if(entries_, [](const auto& item) {
      return item.second.code.expired() && !item.second.is_being_made;
    });
    live_at_last_sweep_ = entries_.size();
  }

  std::mutex mutex_;
  std::condition_variable made_;
  std::unordered_map<std::string, Entry> entries_;
  size_t live_at_last_sweep_ = 0;
};

SharedCode& shared_code() {
  static SharedCode* const instance = new SharedCode();  // never destroyed, like the compilers
  return *instance;
}

/// A compiler that goes back to the pool, unless it failed.
class Borrowed {
 public:
  explicit Borrowed(const Target& target) : target_(target), compiler_(pool().take(target)) {}
  ~Borrowed() {
    if (std::uncaught_exceptions() == exceptions_) pool().give_back(target_, std::move(compiler_));
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Compiler* operator->() { return compiler_.get(); }

 private:
  const Target& target_;
  std::unique_ptr<Compiler> compiler_;
  int exceptions_ = std::uncaught_exceptions();
};

/// Optimises a module and makes machine code of it.
llvm::SmallVector<char, 0> generate(const Target& target, std::string_view name,
                                    llvm::Module& module, llvm::CodeGenFileType type,
                                    const std::string& errors, CompileTimes& times) {
  Stopwatch watch;
  const int debug = flags().debug;
  set_attributes(module, target);
  if (kCheckAlignments || flags().check_memory) check_alignments(module);
  verify(module, name);
  times.build_ms += watch.lap();

  Borrowed compiler(target);
  compiler->optimize(module);
  times.optimize_ms += watch.lap();
  if (debug >= 4) show(text_of(module));
  if (debug >= 5) {
    // Emitting rewrites the module, so the listing comes from a copy.
    const std::unique_ptr<llvm::Module> copy = llvm::CloneModule(module);
    const auto listing = compiler->emit(*copy, llvm::CodeGenFileType::AssemblyFile);
    show({listing.data(), listing.size()});
  }

  watch.lap();
  auto bytes = compiler->emit(module, type);
  times.codegen_ms += watch.lap();
  if (!errors.empty()) raise<InternalError>("jit: module {}: {}", name, errors);
  return bytes;
}

/// A module and what has to live as long.
struct WrittenModule {
  WrittenModule(const Target& machine, std::string_view of)
      : target(machine), name(of), module(name, context), shared(machine) {
    context.setDiscardValueNames(flags().debug < 4);
    context.setDiagnosticHandler(std::make_unique<ErrorCollector>(errors));
    Borrowed compiler(target);
    module.setTargetTriple(compiler->machine().getTargetTriple().str());
    module.setDataLayout(compiler->machine().createDataLayout());
    describe_target(module, target);
  }

  Target target;
  std::string name, errors;
  llvm::LLVMContext context;
  llvm::Module module;
  SharedFunctions shared;
};

std::string key_of(const Target& target) { return target.cpu + '|' + target.features; }

}  // namespace

struct ModuleIr::State : WrittenModule {
  using WrittenModule::WrittenModule;
};

ModuleIr::ModuleIr(const Target& target, std::string_view name, const SharingBuilder& build,
                   CompileTimes& times) {
  Stopwatch watch;
  state_ = std::make_unique<State>(target, name);
  build(state_->module, state_->shared);
  key_ = key_of(target) + '|' + name_of_text(state_->module);
  times.build_ms += watch.lap();
}

ModuleIr::~ModuleIr() = default;

CodeHandle ModuleIr::compile(CompileTimes& times) {
  State& s = *state_;
  const auto object_of = [&](const std::string& name, llvm::Module& module) {
    return generate(s.target, name, module, llvm::CodeGenFileType::ObjectFile, s.errors, times);
  };
  std::map<std::string, CodeHandle> shared;
  const auto callees = [&](const llvm::Module& module) {
    std::vector<std::string> names;
    for (const llvm::Function& function : module)
      if (function.isDeclaration() && s.shared.contains(function.getName().str()))
        names.push_back(function.getName().str());
    return names;
  };
  const auto load = [&](const std::string& name, const llvm::SmallVector<char, 0>& object,
                        const std::vector<std::string>& called) {
    std::vector<CodeHandle> codes;
    for (const std::string& function : called) codes.push_back(shared.at(function));
    return load_object({object.data(), object.size()}, name, &times, std::move(codes));
  };
  // Shared functions last: another thread may have compiled them by then.
  const auto called = callees(s.module);
  const auto object = object_of(s.name, s.module);
  for (const auto& [name, module] : s.shared.entries())
    shared[name] = shared_code().get(key_of(s.target) + '|' + name, [&] {
      const auto called_by_it = callees(*module);
      return load(name, object_of(name, *module), called_by_it);
    });
  return load(s.name, object, called);
}

CodeHandle compile_module(const Target& target, std::string_view name, const SharingBuilder& build,
                          CompileTimes* times) {
  CompileTimes measured;
  CodeHandle code = ModuleIr(target, name, build, measured).compile(measured);
  if (times) *times = measured;
  return code;
}

CodeHandle compile_module(const Target& target, std::string_view name, const ModuleBuilder& build,
                          CompileTimes* times) {
  return compile_module(
      target, name, [&](llvm::Module& module, SharedFunctions&) { build(module); }, times);
}

namespace {

std::string compile_alone(const Target& target, std::string_view name, const ModuleBuilder& build,
                          llvm::CodeGenFileType type, CompileTimes& times) {
  WrittenModule written(target, name);
  build(written.module);
  const auto bytes = generate(target, name, written.module, type, written.errors, times);
  return std::string(bytes.data(), bytes.size());
}

}  // namespace

std::string compile_to_object(const Target& target, std::string_view name,
                              const ModuleBuilder& build, CompileTimes* times) {
  CompileTimes measured;
  std::string object =
      compile_alone(target, name, build, llvm::CodeGenFileType::ObjectFile, measured);
  if (times) *times = measured;
  return object;
}

std::string compile_to_assembly(const Target& target, std::string_view name,
                                const ModuleBuilder& build) {
  CompileTimes ignored;
  return compile_alone(target, name, build, llvm::CodeGenFileType::AssemblyFile, ignored);
}

}  // namespace coregrad
