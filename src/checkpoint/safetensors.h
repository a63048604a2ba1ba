#pragma once
// The safetensors format as it lies in memory.

#include "coregrad/checkpoint.h"

#include "checkpoint/file.h"
#include <string>

namespace coregrad {

/// CheckpointError, which begins with `path`, for anything but a whole file of the format.
SafeTensors parse_safetensors(const FileBytes& file, const std::string& path);

}  // namespace coregrad
