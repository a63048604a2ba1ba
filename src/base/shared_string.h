#pragma once
// Text that copies share.

#include <fmt/core.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace coregrad {

class SharedString {
 public:
  SharedString() = default;
  SharedString(std::string text)  // NOLINT: meant to convert
      : text_(std::make_shared<const std::string>(std::move(text))) {}
  SharedString(const char* text) : SharedString(std::string(text)) {}  // NOLINT: meant to convert
  operator const std::string&() const { return text(); }               // NOLINT: meant to convert
  const std::string& text() const {
    static const std::string empty;
    return text_ ? *text_ : empty;
  }

 private:
  std::shared_ptr<const std::string> text_;
};

}  // namespace coregrad

template <>
struct fmt::formatter<coregrad::SharedString> : fmt::formatter<std::string_view> {
  auto format(const coregrad::SharedString& string, format_context& context) const {
    return fmt::formatter<std::string_view>::format(string.text(), context);
  }
};
