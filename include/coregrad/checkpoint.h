#pragma once
// Saving and loading: checkpoints (docs/checkpoint_format.md) and safetensors.

#include "coregrad/tensor.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad {

/// What a checkpoint holds: tensors, numbers and text in lists, tuples and dictionaries.
struct State {
  using List = std::vector<State>;
  struct Tuple {
    List items;
  };
  /// Keys are text or whole numbers, each once; their order is kept.
  struct Dict {
    List keys, values;
  };

  std::variant<std::monostate, bool, int64_t, double, std::string, Tensor, List, Tuple, Dict> value;
};

/// Writes a checkpoint; it is there as a whole or not at all, and on the disk when this returns.
/// ValueError for what can not be saved, IoError where the system refuses; the file that was there
/// before stays then.
void save_checkpoint(const std::string& path, const State& state);

struct LoadOptions {
  /// Map the file instead of reading it: tensors are its pages, which nobody may overwrite in place
  /// while they are used (saving again is no problem: it makes another file).
  bool mmap = false;
  /// Compare the tensors' hashes, which reads all of them.
  bool verify = true;
};
/// CheckpointError for anything but a whole checkpoint, IoError where the system refuses.
State load_checkpoint(const std::string& path, LoadOptions options = {});

/// A checkpoint in memory.
std::vector<std::byte> checkpoint_to_bytes(const State& state);
State checkpoint_from_bytes(std::span<const std::byte> bytes);

/// A checkpoint of named tensors.
void save_state_dict(const std::string& path, const NamedTensors& tensors);
NamedTensors load_state_dict(const std::string& path, LoadOptions options = {});
/// Makes the targets stand for the loaded values of the same names. CheckpointError names what is
/// missing, what nobody asked for, and what has another shape or dtype; nothing is changed then.
void assign_state_dict(const NamedTensors& targets, const NamedTensors& loaded);

/// The safetensors format (https://github.com/huggingface/safetensors).
struct SafeTensors {
  NamedTensors tensors;
  std::map<std::string, std::string> metadata;
};
void save_safetensors(const std::string& path, const SafeTensors& content);
/// `options.verify` means nothing here: the format has no hashes.
SafeTensors load_safetensors(const std::string& path, LoadOptions options = {});

}  // namespace coregrad
#pragma GCC visibility pop
