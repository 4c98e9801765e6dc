#include "tensor/files/safetensors_header.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/files/json_events.h"

namespace quire {
namespace {

constexpr size_t kMaxNameBytes = 64 << 10;
constexpr size_t kMaxTensors = 1 << 20;
constexpr size_t kMaxMetadataKeys = 1 << 16;

// The types a header may name, under the names it has for them.
constexpr Format kDtypes[] = {Format::kF32,     Format::kF16,     Format::kBF16,    Format::kF64,
                              Format::kF8_E4M3, Format::kF8_E5M2, Format::kF8_E8M0, Format::kI8,
                              Format::kI16,     Format::kI32,     Format::kI64,     Format::kU8,
                              Format::kU16,     Format::kU32,     Format::kU64,     Format::kBool};

std::optional<Format> format_of_dtype(std::string_view dtype) {
  for (const Format format : kDtypes) {
    if (dtype == weight_format(format).name) return format;
  }
  return std::nullopt;
}

std::string readable_dtypes() {
  std::string names;
  for (const Format format : kDtypes) names += (names.empty() ? "" : ", ") + std::string(weight_format(format).name);
  return names;
}

// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"key": "text"}}
class HeaderEvents : public JsonEvents {
 public:
  explicit HeaderEvents(const std::string& file_name) : file_(file_name) {}

  SafetensorsHeader take() { return std::move(header_); }

  void begin_object() override {
    if (in_list_ || depth_ == 2 || (depth_ == 1 && member_.empty() && name_.empty())) unexpected("an object");
    ++depth_;
    if (depth_ == 2) members_.clear();
  }

  void end_object() override {
    if (depth_ == 2 && !is_metadata()) finish_entry();
    --depth_;
    member_.clear();
  }

  void key(std::string key) override {
    if (depth_ == 1) {
      begin_entry(std::move(key));
    } else {
      member_ = std::move(key);
      if (!members_.insert(member_).second) {
        fail(ErrorCode::kCorrupt, "{}: \"{}\" has \"{}\" twice", file_, printable(name_), printable(member_));
      }
    }
  }

  void string(std::string text) override {
    if (depth_ != 2 || in_list_) unexpected("a string");
    if (is_metadata()) {
      if (header_.metadata.size() >= kMaxMetadataKeys) {
        fail(ErrorCode::kLimit, "{}: __metadata__ has more than {} keys", file_, kMaxMetadataKeys);
      }
      header_.metadata.emplace(member_, std::move(text));
      return;
    }
    if (member_ != "dtype") unexpected("a string");
    const auto format = format_of_dtype(text);
    if (!format) {
      fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" has the dtype \"{}\"; this build reads {}", file_,
           printable(name_), printable(text), readable_dtypes());
    }
    view_.format = *format;
  }

  void begin_array() override {
    if (depth_ != 2 || in_list_ || is_metadata() || (member_ != "shape" && member_ != "data_offsets")) {
      unexpected("an array");
    }
    in_list_ = true;
  }

  void end_array() override {
    in_list_ = false;
    if (member_ == "data_offsets" && num_offsets_ != 2) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has {} data_offsets; expected begin and end", file_,
           printable(name_), num_offsets_);
    }
  }

  void integer(int64_t value) override {
    if (!in_list_) unexpected("a number");
    if (value < 0) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has {} in \"{}\"; expected no negative numbers", file_,
           printable(name_), value, member_);
    }
    if (member_ == "shape") {
      if (view_.rank == kMaxRank) {
        fail(ErrorCode::kLimit, "{}: tensor \"{}\" has more than {} dimensions", file_, printable(name_), kMaxRank);
      }
      view_.shape[static_cast<size_t>(view_.rank++)] = value;
      return;
    }
    if (num_offsets_ < 2) (num_offsets_ == 0 ? begin_ : end_) = static_cast<uint64_t>(value);
    ++num_offsets_;
  }

  void other(const char* kind) override {
    // Writers without metadata may write null.
    if (depth_ == 1 && is_metadata() && std::string_view(kind) == "null") return;
    unexpected(kind);
  }

 protected:
  [[noreturn]] void unexpected(const char* found) override {
    fail(ErrorCode::kCorrupt,
         "{}: found {} at {}; expected {{\"dtype\": text, \"shape\": [sizes], \"data_offsets\": [begin, end]}} for "
         "every "
         "tensor and only text in __metadata__",
         file_, found, name_.empty() ? "the top of the header" : "\"" + printable(name_) + "\"");
  }

 private:
  bool is_metadata() const { return name_ == "__metadata__"; }

  void begin_entry(std::string name) {
    if (name.empty() || name.size() > kMaxNameBytes) {
      fail(ErrorCode::kCorrupt, "{}: a tensor's name has {} bytes; expected 1 to {}", file_, name.size(),
           kMaxNameBytes);
    }
    name_ = std::move(name);
    member_.clear();
    view_ = {};
    begin_ = end_ = 0;
    num_offsets_ = 0;
    const bool is_new = is_metadata() ? !std::exchange(has_metadata_, true) : !header_.tensors.contains(name_);
    if (!is_new) fail(ErrorCode::kCorrupt, "{}: \"{}\" occurs twice in the header", file_, printable(name_));
    if (header_.tensors.size() >= kMaxTensors) {
      fail(ErrorCode::kLimit, "{} names more than {} tensors", file_, kMaxTensors);
    }
  }

  void finish_entry() {
    for (const char* member : {"dtype", "shape", "data_offsets"}) {
      if (!members_.contains(member)) {
        fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has no \"{}\"", file_, printable(name_), member);
      }
    }
    const auto count = checked_num_elements(view_.dimensions());
    const auto element_bytes = static_cast<uint64_t>(weight_format(view_.format).block_bytes);
    const auto size = count ? checked_mul(static_cast<uint64_t>(*count), element_bytes) : std::nullopt;
    if (!size || end_ < begin_ || end_ - begin_ != *size) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" {} of {} needs {} bytes, its data_offsets are {} to {}", file_,
           printable(name_), shape_text(view_.dimensions()), weight_format(view_.format).name,
           size ? std::to_string(*size) : "impossibly many", begin_, end_);
    }
    view_.size_bytes = static_cast<size_t>(*size);
    header_.ranges.push_back({header_.tensors.emplace(name_, view_).first, begin_, end_});
  }

  const std::string& file_;
  SafetensorsHeader header_;
  int depth_ = 0;         // 1: the header, 2: a tensor or the metadata
  bool in_list_ = false;  // inside shape or data_offsets
  bool has_metadata_ = false;
  std::string name_;                            // of the current tensor
  std::string member_;                          // "dtype", "shape", ...
  std::set<std::string, std::less<>> members_;  // seen so far
  TensorView view_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  int num_offsets_ = 0;
};

}  // namespace

bool is_safetensors_format(Format format) { return std::ranges::find(kDtypes, format) != std::end(kDtypes); }

SafetensorsHeader parse_safetensors_header(std::string_view json_text, const std::string& file_name) {
  HeaderEvents events(file_name);
  walk_json(json_text, file_name + ": the header", 4, events);
  return events.take();
}

}  // namespace quire
