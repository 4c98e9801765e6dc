// The index of a sharded safetensors set: JSON that names the file of every tensor.
#include <utility>

#include "base/error.h"
#include "tensor/files/json_events.h"
#include "tensor/files/safetensors.h"

namespace quire {
namespace {

constexpr size_t kMaxTensors = 1 << 20;

// {"metadata": {...}, "weight_map": {"tensor": "file"}}; anything outside weight_map is skipped.
class IndexEvents : public JsonEvents {
 public:
  explicit IndexEvents(std::string_view index_name) : index_(index_name) {}

  std::map<std::string, std::string, std::less<>> take() {
    if (!found_map_) fail(ErrorCode::kCorrupt, "{}: \"weight_map\" is missing", index_);
    return std::move(map_);
  }

  void begin_object() override {
    if (in_map()) unexpected("an object");
    ++depth_;
    if (in_map() && std::exchange(found_map_, true))
      fail(ErrorCode::kCorrupt, "{}: \"weight_map\" occurs twice", index_);
  }
  void end_object() override { --depth_; }
  void begin_array() override {
    if (in_map() || depth_ == 0 || is_map_value()) unexpected("an array");
    ++depth_;
  }
  void end_array() override { --depth_; }
  void key(std::string key) override {
    if (depth_ == 1) section_ = key;
    key_ = std::move(key);
  }
  void string(std::string file) override {
    if (!in_map()) return skip("a string");
    check_shard_name(file);
    if (map_.size() >= kMaxTensors) fail(ErrorCode::kLimit, "{} names more than {} tensors", index_, kMaxTensors);
    const auto [entry, is_new] = map_.emplace(std::move(key_), std::move(file));
    if (!is_new) fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" occurs twice", index_, printable(entry->first));
  }
  void integer(int64_t) override { skip("a number"); }
  void other(const char* kind) override { skip(kind); }

 protected:
  [[noreturn]] void unexpected(const char* found) override {
    fail(ErrorCode::kCorrupt, "{}: found {}; expected \"weight_map\" with the file's name for every tensor", index_,
         found);
  }

 private:
  bool in_map() const { return depth_ == 2 && section_ == "weight_map"; }

  bool is_map_value() const { return depth_ == 1 && section_ == "weight_map"; }

  void skip(const char* found) {
    if (in_map() || depth_ == 0 || is_map_value()) unexpected(found);
  }

  // A shard lies beside its index: a path could lead anywhere on this machine.
  void check_shard_name(std::string_view file) const {
    const bool is_plain = file.find('/') == file.npos && file.find('\\') == file.npos && file.find('\0') == file.npos;
    if (!is_plain || !file.ends_with(".safetensors") || file.starts_with('.') || file.size() > 255) {
      fail(ErrorCode::kCorrupt,
           "{}: tensor \"{}\" is said to be in \"{}\"; expected the plain name of a .safetensors file beside the index",
           index_, printable(key_), printable(file));
    }
  }

  std::string_view index_;
  std::map<std::string, std::string, std::less<>> map_;
  int depth_ = 0;
  bool found_map_ = false;
  std::string section_;  // the current top-level key
  std::string key_;
};

}  // namespace

std::map<std::string, std::string, std::less<>> parse_safetensors_index(std::string_view text, std::string_view name) {
  IndexEvents events(name);
  walk_json(text, name, 32, events);
  return events.take();
}

}  // namespace quire
