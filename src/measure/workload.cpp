#include "measure/workload.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"

namespace quire::load {
namespace {

// The purposes of seeds; see derived_seed().
enum Purpose : uint64_t { kArrivals, kInputs, kOutputs, kPrompts };

constexpr auto kWords = std::to_array<std::string_view>(
    {" time",  " people", " water", " house", " world", " light", " night", " right", " small", " place", " great",
     " under", " three",  " after", " think", " again", " point", " table", " music", " paper", " green", " white",
     " black", " river",  " stone", " plant", " study", " order", " sound", " voice", " heart", " money", " woman",
     " child", " north",  " south", " field", " earth", " story", " words", " state", " group", " power", " force",
     " level", " value",  " human", " space", " month", " chair", " front", " clear", " close", " young", " early",
     " short", " large",  " local", " major", " final", " total", " whole", " plane", " train"});

std::vector<double> arrival_times(const WorkloadOptions& options, size_t count) {
  std::vector<double> times(count, 0.0);
  if (options.arrival == Arrival::kClosed) return times;
  if (options.arrival == Arrival::kTrace) {
    for (size_t i = 0; i < count; ++i) times[i] = options.trace[i].at_ms / options.trace_speed;
    return times;
  }
  Draws draws(derived_seed(options.seed, kArrivals));
  const double gap_ms = 1000.0 / options.rate;
  double at = 0.0;
  for (double& time : times) time = at += options.arrival == Arrival::kPoisson ? draws.exponential(gap_ms) : gap_ms;
  return times;
}

}  // namespace

const char* name(Arrival arrival) {
  switch (arrival) {
    case Arrival::kPoisson: return "poisson";
    case Arrival::kFixed: return "fixed";
    case Arrival::kClosed: return "closed";
    case Arrival::kTrace: return "trace";
  }
  return "";
}

Arrival parse_arrival(std::string_view text) {
  for (const Arrival arrival : {Arrival::kPoisson, Arrival::kFixed, Arrival::kClosed, Arrival::kTrace}) {
    if (text == name(arrival)) return arrival;
  }
  fail(ErrorCode::kInvalidArgument, "the arrival process is '{}'; choose poisson, fixed, closed or trace",
       printable(text, 40));
}

std::vector<PlannedRequest> plan_requests(const WorkloadOptions& options) {
  auto count = static_cast<size_t>(options.num_requests);
  if (!options.trace.empty()) count = std::min(count, options.trace.size());
  const std::vector<double> times = arrival_times(options, count);
  Draws inputs(derived_seed(options.seed, kInputs));
  Draws outputs(derived_seed(options.seed, kOutputs));
  Draws prompts(derived_seed(options.seed, kPrompts));
  std::vector<PlannedRequest> requests(count);
  for (size_t i = 0; i < count; ++i) {
    PlannedRequest& request = requests[i];
    request.due_ms = times[i];
    request.prompt_seed = static_cast<uint64_t>(prompts.between(0, std::numeric_limits<int64_t>::max() >> 11));
    if (options.trace.empty()) {
      request.input_tokens = options.prefix_tokens + options.input.draw(inputs);
      request.output_tokens = options.output.draw(outputs);
    } else {
      request.input_tokens = options.trace[i].input_tokens;
      request.output_tokens = options.trace[i].output_tokens;
    }
    request.input_tokens = std::clamp<int64_t>(request.input_tokens, 1, options.max_input);
    request.output_tokens = std::clamp<int64_t>(request.output_tokens, 1, options.max_output);
  }
  return requests;
}

PromptMaker::PromptMaker(const WorkloadOptions& options, int32_t first_id, int32_t last_id)
    : first_id_(first_id),
      last_id_(last_id),
      prefix_tokens_(options.prefix_tokens),
      prefix_seed_(derived_seed(options.prefix_seed, kPrompts)) {}

std::vector<int32_t> PromptMaker::ids(const PlannedRequest& request) const {
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(request.input_tokens));
  const int64_t prefix = std::min(prefix_tokens_, request.input_tokens);
  Draws shared(prefix_seed_);
  Draws own(request.prompt_seed);
  for (int64_t i = 0; i < request.input_tokens; ++i) {
    ids.push_back(static_cast<int32_t>((i < prefix ? shared : own).between(first_id_, last_id_)));
  }
  return ids;
}

std::string PromptMaker::text(const PlannedRequest& request) const {
  std::string text;
  const int64_t prefix = std::min(prefix_tokens_, request.input_tokens);
  Draws shared(prefix_seed_);
  Draws own(request.prompt_seed);
  for (int64_t i = 0; i < request.input_tokens; ++i) {
    text += kWords[static_cast<size_t>((i < prefix ? shared : own).between(0, kWords.size() - 1))];
  }
  return text.substr(std::min<size_t>(1, text.size()));
}

}  // namespace quire::load
