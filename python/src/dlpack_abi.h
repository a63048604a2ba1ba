#pragma once
// The part of DLPack 1.x's C ABI that tensors cross by: layouts are fixed by the standard.

#include <cstdint>

namespace coregrad::dlpack {

struct Version {
  uint32_t major, minor;
};

struct Device {
  int32_t type;  ///< 1 is the CPU
  int32_t id;
};
inline constexpr int32_t kCpu = 1;

struct DataType {
  uint8_t code;  ///< 0 signed integer, 2 IEEE float, 6 bool
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  ///< in elements; null when the producer predates 1.2 and means contiguous
  uint64_t byte_offset;
};

struct ManagedTensor {
  Version version;
  void* manager;
  void (*deleter)(ManagedTensor*);
  uint64_t flags;
  Tensor tensor;
};

/// The table behind the capsule `dlpack_exchange_api`. Functions return 0, or -1 with a Python
/// error.
struct ExchangeApi {
  Version version;
  void* previous;
  int (*allocate)(Tensor* prototype, ManagedTensor** out, void* context,
                  void (*set_error)(void* context, const char* kind, const char* message));
  int (*managed_from_object)(void* object, ManagedTensor** out);
  int (*managed_to_object)(ManagedTensor* tensor, void** object);
  int (*borrow_from_object)(void* object, Tensor* out);
  int (*current_stream)(int32_t device_type, int32_t device_id, void** stream);
};

}  // namespace coregrad::dlpack
