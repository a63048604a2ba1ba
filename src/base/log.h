#pragma once
// The library's log: spdlog to standard error under the name "coregrad".

#include <spdlog/spdlog.h>

namespace coregrad {

/// The shared logger. Level is debug when COREGRAD_DEBUG > 0, warnings otherwise.
spdlog::logger& log();

}  // namespace coregrad
