// Parts that draft, made on the spot for tests: random float32 tensors, readable by the test and by the loader.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "decoding/sampler.h"
#include "drafting/model_drafters.h"
#include "models/running/test_backends.h"
#include "models/running/test_models.h"

namespace quire::test {

inline constexpr int64_t kHidden = 64;  // of TinyGguf, like the other sizes
inline constexpr int64_t kVocab = 64;

using Floats = std::vector<float>;

// y = W x, with W [rows, cols].
inline Floats multiply(const Floats& matrix, const Floats& x) {
  Floats y(matrix.size() / x.size());
  for (size_t i = 0; i < y.size(); ++i) {
    double sum = 0.0;
    for (size_t k = 0; k < x.size(); ++k) sum += static_cast<double>(matrix[i * x.size() + k]) * x[k];
    y[i] = static_cast<float>(sum);
  }
  return y;
}

inline float silu(float x) { return x / (1.0f + std::exp(-x)); }

inline void add_to(Floats& x, const Floats& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

inline Floats random_floats(size_t count, std::mt19937& random, float scale) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats values(count);
  for (float& value : values) value = normal(random);
  return values;
}

class PartFile {
 public:
  explicit PartFile(json::object config) : config_(std::move(config)), random_(11) {}

  PartFile& add(const std::string& name, const std::vector<int64_t>& shape, float scale) {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    Floats& values = tensors_[name] = random_floats(count, random_, scale);
    files_.push_back({.name = name,
                      .type = "F32",
                      .shape = shape,
                      .bytes = {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}});
    return *this;
  }
  PartFile& add_ids(const std::string& name, const std::vector<int64_t>& ids) {
    files_.push_back({.name = name,
                      .type = "I64",
                      .shape = {static_cast<int64_t>(ids.size())},
                      .bytes = {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int64_t)}});
    return *this;
  }
  void write() {
    directory_ = std::make_unique<TinyDirectory>(config_, files_);
    checkpoint_ = Checkpoint::open(directory_->path());
  }

  const Floats& operator[](const std::string& name) const { return tensors_.at(name); }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  const Checkpoint& checkpoint() const { return *checkpoint_; }

 private:
  json::object config_;
  std::mt19937 random_;
  std::map<std::string, Floats> tensors_;
  std::vector<TinyDirectory::Tensor> files_;
  std::unique_ptr<TinyDirectory> directory_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

// The target: only its file is read.
class TargetFile {
 public:
  explicit TargetFile(const TinyGguf& model = {}) : image_(tiny_gguf(model)) {
    checkpoint_ = Checkpoint::from_gguf_bytes(as_bytes(image_), "target.gguf");
  }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  Floats tensor(std::string_view name) const {
    const TensorView view = checkpoint_->tensor(name);
    Floats values(static_cast<size_t>(view.num_elements()));
    dequantize(view, values);
    return values;
  }

 private:
  std::string image_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

// Of a checkpoint without a tokenizer.
inline std::vector<std::string> no_texts(const Checkpoint& /*checkpoint*/) { return {}; }

// Without a target, so that a part packs all of its matrices.
inline std::unique_ptr<Drafter> load_drafter(DraftParts parts) {
  parts.texts_of = no_texts;
  return plan_model_drafter(parts).load(nullptr);
}

inline SamplingParams with_temperature(float temperature) {
  SamplingParams params;
  params.temperature = temperature;
  return params;
}

inline Drafts propose(Drafter& drafter, uint64_t sequence, const std::vector<int32_t>& known, int max_drafts,
                      const SamplingParams& params = with_temperature(0.0f)) {
  const Sampler sampler(params, 99, known, {});
  Drafts drafts;
  DraftRequest request{.sequence = sequence,
                       .tokens = known,
                       .num_prompt_tokens = static_cast<int64_t>(known.size()),
                       .max_drafts = max_drafts,
                       .sampler = &sampler,
                       .drafts = &drafts};
  drafter.propose({&request, 1});
  return drafts;
}

inline std::vector<Candidate> sorted_candidates(const Floats& logits) {
  std::vector<Candidate> all;
  const auto top = static_cast<double>(std::ranges::max(logits));
  double mass = 0.0;
  for (const float logit : logits) mass += std::exp(logit - top);
  for (size_t i = 0; i < logits.size(); ++i) {
    all.push_back({.id = static_cast<int32_t>(i),
                   .logit = logits[i],
                   .probability = static_cast<float>(std::exp(logits[i] - top) / mass)});
  }
  std::ranges::sort(all, likelier);
  return all;
}

}  // namespace quire::test
