#include "base/log.h"

#include "base/flags.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace coregrad {

spdlog::logger& log() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>(
        "coregrad", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("[%n] %v");
    made->set_level(flags().debug > 0 ? spdlog::level::debug : spdlog::level::warn);
    return made;
  }();
  return *logger;
}

}  // namespace coregrad
