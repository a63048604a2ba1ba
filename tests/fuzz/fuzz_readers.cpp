// Feeds made-up files to what reads files: the first byte of an input chooses the reader.
// CheckpointError is an answer; every other way out is a fault.

#include "base/hash.h"
#include "coregrad/coregrad.h"

#include "checkpoint/safetensors.h"
#include <cstring>
#include <vector>

using namespace coregrad;

namespace {

/// The header's hash made right, so that what lies behind it is reached.
void mend_hash(std::vector<std::byte>& file) {
  uint64_t metadata_bytes = 0;
  if (file.size() < 48) return;
  std::memcpy(&metadata_bytes, file.data() + 16, sizeof metadata_bytes);
  if (metadata_bytes > file.size() - 48) return;
  const uint64_t file_bytes = file.size();
  std::memcpy(file.data() + 24, &file_bytes, sizeof file_bytes);
  std::vector<std::byte> hashed(file.begin(), file.begin() + 32);
  hashed.insert(hashed.end(), file.begin() + 48,
                file.begin() + 48 + static_cast<std::ptrdiff_t>(metadata_bytes));
  const XXH128_hash_t hash = XXH3_128bits(hashed.data(), hashed.size());
  std::memcpy(file.data() + 32, &hash.low64, 8);
  std::memcpy(file.data() + 40, &hash.high64, 8);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto* const begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> file(begin + 1, begin + size);
  try {
    if (data[0] % 3 == 0) {
      parse_safetensors({file, nullptr}, "input");
    } else {
      if (data[0] % 3 == 1) mend_hash(file);
      checkpoint_from_bytes(file);
    }
  } catch (const CheckpointError&) {
  }
  return 0;
}
