#include "codegen/jit/host_target.h"

#include "base/error.h"
#include "base/flags.h"
#include "runtime/cpu_count.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/Triple.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <mutex>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace coregrad {
namespace {

// Sorted, so that feature strings (which enter cache keys) do not depend on hashing.
using FeatureMap = std::map<std::string, bool>;

bool has(const FeatureMap& features, const char* name) {
  const auto it = features.find(name);
  return it != features.end() && it->second;
}

std::string join(const FeatureMap& features) {
  std::string text;
  for (const auto& [name, present] : features) {
    if (!text.empty()) text += ',';
    text += present ? '+' : '-';
    text += name;
  }
  return text;
}

/// Size of the data or unified cache of a level as the kernel reports it; 0 if it does not.
int64_t sysfs_cache_bytes(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    std::ifstream level_file(folder + "level"), type_file(folder + "type"),
        size_file(folder + "size");
    int this_level = 0;
    std::string type;
    int64_t size = 0;
    char unit = 0;
    if (!(level_file >> this_level) || !(type_file >> type) || !(size_file >> size)) continue;
    if (this_level != level || type == "Instruction") continue;
    size_file >> unit;
    return unit == 'K' ? size << 10 : unit == 'M' ? size << 20 : size;
  }
  return 0;
}

// The kernel goes first: on some AMD machines sysconf adds up the L3 slices of the whole socket.
int64_t cache_bytes(int sysconf_name, int level, int64_t fallback) {
  const int64_t from_kernel = sysfs_cache_bytes(level);
  if (from_kernel > 0) return from_kernel;
  const long reported = sysconf(sysconf_name);
  return reported > 0 ? reported : fallback;
}

/// AVX-512 and everything that brings its registers along.
bool needs_avx512(const std::string& feature) {
  return feature.starts_with("avx512") || feature.starts_with("avx10") || feature == "evex512";
}

/// Whether Linux lets this process use tile registers: it must be asked, once, since their state
/// makes the frames of signal handlers larger.
bool may_use_amx() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

struct Host {
  std::string cpu;
  FeatureMap features;
  bool is_x86 = false, is_aarch64 = false, has_amx = false;
  int64_t l1, l2, l3;

  Host() {
    const llvm::Triple triple(llvm::sys::getProcessTriple());
    is_x86 = triple.getArch() == llvm::Triple::x86_64;
    is_aarch64 = triple.isAArch64();
    cpu = llvm::sys::getHostCPUName().str();
    for (const auto& entry : llvm::sys::getHostCPUFeatures())
      features[entry.getKey().str()] = entry.getValue();
    has_amx = has(features, "amx-tile") && has(features, "amx-bf16") && may_use_amx();
    const Target defaults;
    l1 = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 1, defaults.l1_bytes);
    l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 2, defaults.l2_bytes);
    l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE, 3, defaults.l3_bytes);
  }

  bool supports(Isa isa) const {
    switch (isa) {
      case Isa::Generic:
        return true;
      case Isa::Neon:
        return is_aarch64;
      case Isa::Avx2:
        return is_x86 && has(features, "avx2") && has(features, "fma");
      case Isa::Avx512:
        return supports(Isa::Avx2) && has(features, "avx512f") && has(features, "avx512bw") &&
               has(features, "avx512dq") && has(features, "avx512vl") && has(features, "avx512cd");
      case Isa::Amx:
        return supports(Isa::Avx512) && has_amx;
    }
    COREGRAD_UNREACHABLE("unknown ISA");
  }

  Target describe(Isa isa) const {
    Target target;
    target.isa = isa;
    target.l1_bytes = l1;
    target.l2_bytes = l2;
    target.l3_bytes = l3;
    target.thresholds.stream_bytes = l3;
    target.threads = flags().num_threads > 0 ? flags().num_threads : usable_cpus();
    target.cpu = cpu;
    target.has_float16 = is_aarch64 || (isa != Isa::Generic && has(features, "f16c"));
    FeatureMap chosen = features;
    if (isa != Isa::Amx)
      for (auto& [name, present] : chosen)
        if (name.starts_with("amx")) present = false;
    switch (isa) {
      case Isa::Generic:
        target.has_fma = is_aarch64;
        if (is_aarch64) target.num_registers = 32;
        // SSE4 has rounding and blends as instructions; machines without it get the baseline.
        if (is_x86) target.cpu = has(features, "sse4.2") ? "x86-64-v2" : "x86-64";
        if (is_x86) chosen.clear();
        break;
      case Isa::Neon:
        target.has_fma = true;
        target.num_registers = 32;
        break;
      case Isa::Avx2:
        target.has_fma = true;
        target.vector_bytes = 32;
        for (auto& [name, present] : chosen)
          if (needs_avx512(name)) present = false;
        break;
      case Isa::Amx:
        target.has_amx = true;
        [[fallthrough]];
      case Isa::Avx512:
        target.has_avx512 = true;
        target.has_fma = true;
        target.vector_bytes = 64;
        target.num_registers = 32;
        target.has_masks = true;
        // Several CPU models ask LLVM to split 512-bit vectors; the generators decide widths here.
        chosen["prefer-256-bit"] = false;
        break;
    }
    target.features = join(chosen);
    return target;
  }
};

const Host& host() {
  static const Host* const instance = new Host();
  return *instance;
}

constexpr std::array kIsas = {Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Amx};

/// The description of an ISA that the host has, as the flags have it now. Made once each.
const Target& described(Isa isa) {
  static std::mutex mutex;
  static auto* const made = new std::map<std::pair<Isa, std::string>, Target>();
  const std::lock_guard lock(mutex);
  const std::string& machine = flags().machine;
  const auto at = made->find({isa, machine});
  if (at != made->end()) return at->second;
  Target target = with_machine(host().describe(isa), machine);
  return made->emplace(std::pair{isa, machine}, std::move(target)).first->second;
}

}  // namespace

bool host_supports(Isa isa) { return host().supports(isa); }

const Target& host_target() {
  const std::string& asked = flags().isa;
  if (asked.empty()) {
    for (const Isa best : {Isa::Amx, Isa::Avx512, Isa::Avx2, Isa::Neon})
      if (host_supports(best)) return described(best);
    return described(Isa::Generic);
  }
  for (const Isa isa : kIsas) {
    if (asked != name_of(isa)) continue;
    if (!host_supports(isa))
      raise<ValueError>("COREGRAD_ISA: this machine ({}) has no {}", host().cpu, asked);
    return described(isa);
  }
  raise<ValueError>("COREGRAD_ISA: expected amx, avx512, avx2, neon or generic, got '{}'", asked);
}

Target target_for(Isa isa) {
  if (!host_supports(isa))
    raise<ValueError>("target_for: this machine ({}) has no {}", host().cpu, name_of(isa));
  return described(isa);
}

}  // namespace coregrad
