#include "server/answers/grammars.h"

#include <chrono>
#include <utility>

#include "base/error.h"
#include "server/api_error.h"

namespace quire {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Measures the masks of another.
class MeasuredConstraint : public TokenConstraint {
 public:
  MeasuredConstraint(std::unique_ptr<TokenConstraint> measured, std::shared_ptr<Histogram> seconds)
      : measured_(std::move(measured)), seconds_(std::move(seconds)) {}

  void fill_mask(std::span<uint64_t> mask) override {
    const Clock::time_point begin = Clock::now();
    measured_->fill_mask(mask);
    seconds_->observe(seconds_since(begin));
  }
  void accept(int32_t token) override { measured_->accept(token); }
  bool is_complete() const override { return measured_->is_complete(); }
  void guess(size_t limit, std::vector<int32_t>& tokens) override { measured_->guess(limit, tokens); }
  size_t count_fitting(std::span<const int32_t> tokens) override { return measured_->count_fitting(tokens); }

 private:
  const std::unique_ptr<TokenConstraint> measured_;
  const std::shared_ptr<Histogram> seconds_;
};

class MeasuredSource : public ConstraintSource {
 public:
  MeasuredSource(std::shared_ptr<const ConstraintSource> measured, std::shared_ptr<Histogram> seconds)
      : measured_(std::move(measured)), seconds_(std::move(seconds)) {}
  std::unique_ptr<TokenConstraint> begin() const override {
    return std::make_unique<MeasuredConstraint>(measured_->begin(), seconds_);
  }

 private:
  const std::shared_ptr<const ConstraintSource> measured_;
  const std::shared_ptr<Histogram> seconds_;
};

[[noreturn]] void refuse(const std::string& path, const Error& error) {
  std::string code;
  if (error.code() == ErrorCode::kUnsupported) code = "not_supported";
  if (error.code() == ErrorCode::kLimit) code = "limit_exceeded";
  throw ApiError(400, "invalid_request_error", code, fmt::format("'{}' cannot be kept to: {}", path, error.what()),
                 path);
}

std::shared_ptr<const ConstraintSource> measured(const ServedModel& model,
                                                 std::shared_ptr<const CompiledGrammar> grammar) {
  return std::make_shared<MeasuredSource>(std::move(grammar), model.metrics->grammar_mask_seconds());
}

}  // namespace

GrammarLimits grammar_limits(const Limits& limits) {
  return {.max_nodes = static_cast<size_t>(limits.grammar_nodes),
          .max_text_bytes = limits.grammar_bytes,
          .max_depth = limits.grammar_depth,
          .max_repeats = limits.grammar_repeats,
          .max_seconds = static_cast<double>(limits.grammar_seconds),
          .max_memory_bytes = limits.grammar_memory_bytes,
          .max_work = static_cast<size_t>(limits.grammar_work)};
}

std::unique_ptr<GrammarCache> make_grammars(const ServedModel& model, const Limits& limits) {
  const int64_t vocab_size = model.engine->runner().info().vocab_size;
  const CompileGrammar compile =
      grammar_compiler(model.text->tokenizer(), vocab_size, model.text->eog_ids(), grammar_limits(limits));
  const auto timed = [compile, seconds = model.metrics->grammar_compile_seconds()](const GrammarSpec& spec) {
    const Clock::time_point begin = Clock::now();
    auto grammar = compile(spec);
    seconds->observe(seconds_since(begin));
    return grammar;
  };
  return std::make_unique<GrammarCache>(timed, limits.grammar_cache_bytes);
}

std::optional<GrammarSpec> grammar_of(const ApiRequest& request, ReasoningMarks reasoning, bool any_order) {
  if (!request.grammar) return std::nullopt;
  GrammarSpec spec = *request.grammar;
  spec.any_order = request.any_property_order.value_or(any_order);
  if (spec.starts_after.empty()) {
    spec.starts_after = std::move(reasoning.end);
    spec.starts_after_begin = std::move(reasoning.begin);
    spec.next = std::move(reasoning.next);
    spec.opening = std::move(reasoning.opening);
  }
  return spec;
}

std::shared_ptr<const ConstraintSource> find_form(const ServedModel& model, const GrammarSpec& spec) {
  auto grammar = model.grammars->find(spec);
  return grammar != nullptr ? measured(model, std::move(grammar)) : nullptr;
}

std::shared_ptr<const ConstraintSource> compile_form(const ServedModel& model, const GrammarSpec& spec,
                                                     const std::string& path) {
  try {
    return measured(model, model.grammars->get(spec));
  } catch (const Error& error) {
    const bool is_ours = error.code() == ErrorCode::kOutOfMemory || error.code() == ErrorCode::kIo;
    if (is_ours) throw;
    refuse(path, error);
  }
}

}  // namespace quire
