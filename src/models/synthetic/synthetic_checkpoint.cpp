#include "models/synthetic/synthetic_checkpoint.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "models/loading/weights_wanted.h"
#include "tensor/files/ggml_types.h"
#include "tensor/files/gguf_writer.h"

namespace quire {
namespace {

constexpr std::string_view kMixed = "Q4_K_M";

Format parse_weights(std::string_view text) {
  if (text == kMixed) return Format::kQ4_K;
  const auto format = format_by_name(text);
  const auto fits = [](Format id) { return weight_format(id).is_weight() && ggml_type_of_format(id).has_value(); };
  if (format && fits(*format)) return *format;
  std::string known(kMixed);
  for (int i = 0; i < kNumFormats; ++i) {
    const auto id = static_cast<Format>(i);
    if (fits(id)) known += ", " + std::string(weight_format(id).name);
  }
  fail(ErrorCode::kInvalidArgument, "the weight format is \"{}\"; this build makes {}", printable(text, 40), known);
}

bool is_below_6_bits(Format format) {
  const WeightFormat& weights = weight_format(format);
  return 8 * weights.block_bytes < 6 * weights.block_elements;
}

// Quantised normal numbers, made once per format and repeated. No row length divides the number of blocks, so rows
// differ. Each tensor starts at another block.
class RandomBlocks {
 public:
  void fill(Format format, std::span<std::byte> out) {
    const std::vector<std::byte>& piece = piece_of(format);
    const auto block_bytes = static_cast<size_t>(weight_format(format).block_bytes);
    size_t from = random_() % kBlocks * block_bytes;
    for (size_t at = 0; at < out.size();) {
      const size_t count = std::min(out.size() - at, piece.size() - from);
      std::memcpy(&out[at], &piece[from], count);
      at += count;
      from = 0;
    }
  }

 private:
  static constexpr size_t kBlocks = 2053;
  static constexpr float kDeviation = 0.02f;  // of weights as models are initialised

  const std::vector<std::byte>& piece_of(Format id) {
    std::vector<std::byte>& piece = pieces_[id];
    if (!piece.empty()) return piece;
    const WeightFormat& format = weight_format(id);
    std::vector<float> values(kBlocks * static_cast<size_t>(format.block_elements));
    std::normal_distribution<float> normal(0.0f, kDeviation);
    for (float& value : values) value = normal(random_);
    piece.resize(kBlocks * static_cast<size_t>(format.block_bytes));
    format.quantize(values.data(), piece.data(), static_cast<int64_t>(values.size()));
    return piece;
  }

  std::mt19937 random_{1};
  std::map<Format, std::vector<std::byte>> pieces_;
};

class SyntheticFile {
 public:
  SyntheticFile(const ModelShape& shape, std::string_view weights, SyntheticContent content)
      : shape_(shape),
        format_(parse_weights(weights)),
        is_mixed_(weights == kMixed),
        is_random_(content == SyntheticContent::kRandom) {
    add_metadata();
    const Format head = is_below_6_bits(format_) ? Format::kQ6_K : format_;
    add_matrix("token_embd.weight", shape_.tied ? head : format_, {shape_.vocab, shape_.hidden});
    if (!shape_.tied) add_matrix("output.weight", head, {shape_.vocab, shape_.hidden});
    add_ones("output_norm.weight", shape_.hidden);
    for (int64_t i = 0; i < shape_.layers; ++i) add_layer(i);
  }

  void write(const std::filesystem::path& path) const { writer_.write(path); }

 private:
  void add_metadata() {
    const std::string architecture = shape_.architecture;
    const auto key = [&](const char* rest) { return architecture + "." + rest; };
    const auto add = [&](const char* rest, int64_t value) {
      writer_.add_uint32(key(rest), static_cast<uint32_t>(value));
    };
    writer_.add_string("general.architecture", architecture);
    writer_.add_string("general.name", shape_.name);
    if (is_random_) {
      add_vocabulary();
    } else {
      writer_.add_string("tokenizer.ggml.model", "no_vocab");
    }
    add("vocab_size", shape_.vocab);
    add("context_length", shape_.context);
    add("embedding_length", shape_.hidden);
    add("block_count", shape_.layers);
    add("feed_forward_length", shape_.inner);
    add("attention.head_count", shape_.heads);
    add("attention.head_count_kv", shape_.kv_heads);
    add("attention.key_length", shape_.head_dim);
    add("attention.value_length", shape_.head_dim);
    add("rope.dimension_count", shape_.head_dim);
    writer_.add_float(key("attention.layer_norm_rms_epsilon"), 1e-5f);
    writer_.add_float(key("rope.freq_base"), static_cast<float>(shape_.rope_theta));
    if (shape_.window > 0) add("attention.sliding_window", shape_.window);
    if (shape_.experts == 0) return;
    add("expert_count", shape_.experts);
    add("expert_used_count", shape_.experts_per_token);
    add("expert_feed_forward_length", shape_.inner);
  }

  // Made-up words behind the printable characters. Every token is whole text, so any answer is UTF-8; some servers end
  // a stream that is not.
  void add_vocabulary() {
    const auto size = static_cast<size_t>(shape_.vocab);
    const std::string space = "\xC4\xA0", new_line = "\xC4\x8A";  // as byte-level vocabularies write them
    std::vector<std::string> tokens = {space, new_line, space + "w"};
    for (char c = '!'; c <= '~'; ++c) tokens.emplace_back(1, c);
    while (tokens.size() < size - 1) tokens.push_back(fmt::format("{}w{}", space, tokens.size()));
    tokens.emplace_back("<|end|>");
    constexpr int32_t kNormal = 1, kControl = 3;
    std::vector<int32_t> types(size, kNormal);
    types.back() = kControl;
    writer_.add_string("tokenizer.ggml.model", "gpt2");
    writer_.add_string("tokenizer.ggml.pre", "gpt-2");
    writer_.add_strings("tokenizer.ggml.tokens", tokens);
    writer_.add_ints("tokenizer.ggml.token_type", types);
    writer_.add_strings("tokenizer.ggml.merges", std::vector<std::string>{space + " w"});
    writer_.add_uint32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(size - 1));
    writer_.add_bool("tokenizer.ggml.add_bos_token", false);
  }

  void add_layer(int64_t layer) {
    const std::string p = fmt::format("blk.{}.", layer);
    const int64_t hidden = shape_.hidden, inner = shape_.inner;
    const int64_t q = shape_.heads * shape_.head_dim, kv = shape_.kv_heads * shape_.head_dim;
    // Q4_K_M: the first and the last eighth of the layers and every third between keep more bits.
    const int64_t eighth = shape_.layers / 8;
    const bool has_more_bits =
        is_mixed_ && (layer < eighth || layer >= 7 * shape_.layers / 8 || (layer - eighth) % 3 == 2);
    const Format better = has_more_bits ? Format::kQ6_K : format_;
    add_ones(p + "attn_norm.weight", hidden);
    add_matrix(p + "attn_q.weight", format_, {q, hidden});
    add_matrix(p + "attn_k.weight", format_, {kv, hidden});
    add_matrix(p + "attn_v.weight", better, {kv, hidden});
    add_matrix(p + "attn_output.weight", format_, {hidden, q});
    if (shape_.has_qkv_bias()) {
      add_ones(p + "attn_q.bias", q);
      add_ones(p + "attn_k.bias", kv);
      add_ones(p + "attn_v.bias", kv);
    }
    if (shape_.has_qk_norm()) {
      add_ones(p + "attn_q_norm.weight", shape_.head_dim);
      add_ones(p + "attn_k_norm.weight", shape_.head_dim);
    }
    if (shape_.has_post_norms()) {
      add_ones(p + "post_attention_norm.weight", hidden);
      add_ones(p + "post_ffw_norm.weight", hidden);
    }
    add_ones(p + "ffn_norm.weight", hidden);
    if (shape_.experts == 0) {
      add_matrix(p + "ffn_gate.weight", format_, {inner, hidden});
      add_matrix(p + "ffn_up.weight", format_, {inner, hidden});
      add_matrix(p + "ffn_down.weight", better, {hidden, inner});
      return;
    }
    add_matrix(p + "ffn_gate_inp.weight", Format::kF32, {shape_.experts, hidden});
    add_matrix(p + "ffn_gate_exps.weight", format_, {shape_.experts, inner, hidden});
    add_matrix(p + "ffn_up_exps.weight", format_, {shape_.experts, inner, hidden});
    add_matrix(p + "ffn_down_exps.weight", better, {shape_.experts, hidden, inner});
  }

  void add_matrix(const std::string& name, Format wanted, const std::vector<int64_t>& shape) {
    const Format format = format_that_divides(wanted, shape.back());
    GgufWriter::Fill fill;
    if (is_random_) fill = [this, format](std::span<std::byte> out) { blocks_.fill(format, out); };
    writer_.add_tensor(name, format, shape, std::move(fill));
  }

  void add_ones(const std::string& name, int64_t size) {
    ones_.push_back(std::vector<float>(static_cast<size_t>(size), 1.0f));
    writer_.add_tensor(name, Format::kF32, std::vector<int64_t>{size}, ones_.back());
  }

  const ModelShape& shape_;
  Format format_;
  bool is_mixed_;
  bool is_random_;
  std::vector<std::vector<float>> ones_;
  mutable RandomBlocks blocks_;
  GgufWriter writer_;
};

// A private file of this process, removed with the object; mappings of it stay valid.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name) {
    std::string pattern = (std::filesystem::temp_directory_path() / "quire-weights-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      fail(ErrorCode::kIo, "no folder can be made in {}: {}; set TMPDIR to one with room for the weights",
           std::filesystem::temp_directory_path().string(), std::strerror(errno));
    }
    folder_ = pattern;
    path_ = folder_ / name;
  }
  ~TemporaryFile() {
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path folder_;
  std::filesystem::path path_;
};

}  // namespace

void write_synthetic_gguf(const ModelShape& shape, std::string_view weights, const std::filesystem::path& path) {
  SyntheticFile(shape, weights, SyntheticContent::kRandom).write(path);
}

std::unique_ptr<Checkpoint> open_synthetic(const ModelShape& shape, std::string_view weights,
                                           SyntheticContent content) {
  const SyntheticFile file(shape, weights, content);
  const TemporaryFile temporary(fmt::format("{}-{}.gguf", shape.name, weights));
  file.write(temporary.path());
  return Checkpoint::open(temporary.path());
}

}  // namespace quire
