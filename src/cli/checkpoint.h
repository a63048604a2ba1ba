#pragma once
// `coregrad ckpt`: looking at saved files.

#include <string>
#include <vector>

namespace coregrad::cli {

/// Prints what is in a file.
int inspect_checkpoint(const std::string& path, bool json);
/// Prints whether files are whole; 1 if one is not.
int verify_checkpoints(const std::vector<std::string>& paths);
/// Prints where two files differ; 1 if they do. Values may differ by `tolerance`.
int diff_checkpoints(const std::string& a, const std::string& b, double tolerance, bool json);
/// Writes a file in the format that the other one's name says.
int convert_checkpoint(const std::string& from, const std::string& to);

}  // namespace coregrad::cli
