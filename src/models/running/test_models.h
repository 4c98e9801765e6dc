// Small models made on the spot for tests: GGUF images through the writer, Hugging Face directories by hand.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "tensor/files/gguf_writer.h"

namespace quire::test {

// What the Error says that `action` throws.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

struct TinyGguf {
  std::string architecture = "llama";
  int64_t vocab = 64, hidden = 64, inner = 96, layers = 2, heads = 4, kv_heads = 2, head_dim = 16;
  int64_t experts = 0, experts_used = 2;
  int64_t context = 256;
  bool qk_norm = false;
  Format format = Format::kF32;
  std::optional<Format> up_format = {};  // of ffn_up, if it is another
  int64_t poisoned_token = -1;           // whose embedding is NaN
  std::string leave_out = {};            // a tensor that is not written
  std::string misshape = {};             // a tensor with one row too many
  std::function<void(GgufWriter&)> more_metadata = [](GgufWriter&) {};
};

class TinyGgufBuilder {
 public:
  explicit TinyGgufBuilder(const TinyGguf& options) : o_(options), random_(7) {}

  std::string build() {
    const std::string& a = o_.architecture;
    writer_.add_string("general.architecture", a);
    writer_.add_uint32(a + ".context_length", static_cast<uint32_t>(o_.context));
    writer_.add_uint32(a + ".embedding_length", static_cast<uint32_t>(o_.hidden));
    writer_.add_uint32(a + ".block_count", static_cast<uint32_t>(o_.layers));
    writer_.add_uint32(a + ".feed_forward_length", static_cast<uint32_t>(o_.inner));
    writer_.add_uint32(a + ".attention.head_count", static_cast<uint32_t>(o_.heads));
    writer_.add_uint32(a + ".attention.head_count_kv", static_cast<uint32_t>(o_.kv_heads));
    writer_.add_uint32(a + ".attention.key_length", static_cast<uint32_t>(o_.head_dim));
    writer_.add_uint32(a + ".attention.value_length", static_cast<uint32_t>(o_.head_dim));
    writer_.add_float(a + ".attention.layer_norm_rms_epsilon", 1e-5f);
    if (o_.experts > 0) {
      writer_.add_uint32(a + ".expert_count", static_cast<uint32_t>(o_.experts));
      writer_.add_uint32(a + ".expert_used_count", static_cast<uint32_t>(o_.experts_used));
    }
    o_.more_metadata(writer_);
    add("token_embd.weight", o_.format, {o_.vocab, o_.hidden}, 1.0f);
    add("output_norm.weight", Format::kF32, {o_.hidden}, 1.0f);
    add("output.weight", o_.format, {o_.vocab, o_.hidden}, 0.3f);
    for (int64_t i = 0; i < o_.layers; ++i) add_layer("blk." + std::to_string(i) + ".");
    return writer_.to_bytes();
  }

 private:
  void add_layer(const std::string& p) {
    const int64_t q = o_.heads * o_.head_dim, kv = o_.kv_heads * o_.head_dim;
    add(p + "attn_norm.weight", Format::kF32, {o_.hidden}, 1.0f);
    add(p + "attn_q.weight", o_.format, {q, o_.hidden}, 0.3f);
    add(p + "attn_k.weight", o_.format, {kv, o_.hidden}, 0.3f);
    add(p + "attn_v.weight", o_.format, {kv, o_.hidden}, 0.3f);
    add(p + "attn_output.weight", o_.format, {o_.hidden, q}, 0.3f);
    if (o_.qk_norm) {
      add(p + "attn_q_norm.weight", Format::kF32, {o_.head_dim}, 1.0f);
      add(p + "attn_k_norm.weight", Format::kF32, {o_.head_dim}, 1.0f);
    }
    add(p + "ffn_norm.weight", Format::kF32, {o_.hidden}, 1.0f);
    if (o_.experts == 0) {
      add(p + "ffn_gate.weight", o_.format, {o_.inner, o_.hidden}, 0.3f);
      add(p + "ffn_up.weight", o_.up_format.value_or(o_.format), {o_.inner, o_.hidden}, 0.3f);
      add(p + "ffn_down.weight", o_.format, {o_.hidden, o_.inner}, 0.3f);
      return;
    }
    add(p + "ffn_gate_inp.weight", Format::kF32, {o_.experts, o_.hidden}, 1.0f);
    add(p + "ffn_gate_exps.weight", o_.format, {o_.experts, o_.inner, o_.hidden}, 0.3f);
    add(p + "ffn_up_exps.weight", o_.up_format.value_or(o_.format), {o_.experts, o_.inner, o_.hidden}, 0.3f);
    add(p + "ffn_down_exps.weight", o_.format, {o_.experts, o_.hidden, o_.inner}, 0.3f);
  }

  void add(const std::string& name, Format format, std::vector<int64_t> shape, float scale) {
    if (name == o_.leave_out) return;
    if (name == o_.misshape) ++shape[0];
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::vector<float>& values = values_[name];
    values.resize(static_cast<size_t>(count));
    std::normal_distribution<float> normal(0.0f, scale);
    for (float& value : values) value = normal(random_);
    if (name == "token_embd.weight" && o_.poisoned_token >= 0) {
      values[static_cast<size_t>(o_.poisoned_token * o_.hidden)] = std::numeric_limits<float>::quiet_NaN();
    }
    writer_.add_tensor(name, format, shape, values);
  }

  TinyGguf o_;
  std::mt19937 random_;
  GgufWriter writer_;
  std::map<std::string, std::vector<float>> values_;
};

inline std::string tiny_gguf(const TinyGguf& options) { return TinyGgufBuilder(options).build(); }
inline std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A directory with config.json and one safetensors file; gone with the object.
class TinyDirectory {
 public:
  struct Tensor {
    std::string name;
    std::string type;  // "F32"
    std::vector<int64_t> shape;
    std::string bytes = {};  // little endian; zeros where there are fewer than the shape needs
  };
  TinyDirectory(const json::object& config, const std::vector<Tensor>& tensors) {
    std::string pattern = (std::filesystem::temp_directory_path() / "quire-models-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    std::ofstream(path_ / "config.json") << json::serialize(config);
    json::object header;
    uint64_t offset = 0;
    std::string data;
    for (const Tensor& tensor : tensors) {
      auto size = static_cast<uint64_t>(weight_format(format_by_name(tensor.type).value()).block_bytes);
      for (const int64_t n : tensor.shape) size *= static_cast<uint64_t>(n);
      data += tensor.bytes;
      data.resize(offset + size, '\0');
      header[tensor.name] = {{"dtype", tensor.type},
                             {"shape", json::array(tensor.shape.begin(), tensor.shape.end())},
                             {"data_offsets", {offset, offset + size}}};
      offset += size;
    }
    const std::string text = json::serialize(header);
    const uint64_t length = text.size();
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    file += text + data;
    std::ofstream(path_ / "model.safetensors", std::ios::binary) << file;
  }
  ~TinyDirectory() { std::filesystem::remove_all(path_); }
  TinyDirectory(const TinyDirectory&) = delete;
  TinyDirectory& operator=(const TinyDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace quire::test
