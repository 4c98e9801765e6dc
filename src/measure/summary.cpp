#include "measure/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quire::load {
namespace {

json::object to_json(const Distribution& values) {
  const auto rounded = [](double value) { return std::round(value * 1000.0) / 1000.0; };
  return {{"count", values.count},      {"mean", rounded(values.mean)}, {"p50", rounded(values.p50)},
          {"p90", rounded(values.p90)}, {"p99", rounded(values.p99)},   {"max", rounded(values.max)}};
}

std::string row(const char* what, const Distribution& values) {
  if (values.count == 0) return "";
  return fmt::format("{:<22}{:>11.1f}{:>11.1f}{:>11.1f}{:>11.1f}{:>11.1f}\n", what, values.mean, values.p50, values.p90,
                     values.p99, values.max);
}

}  // namespace

int64_t RequestRecord::num_output() const {
  return completion_tokens >= 0 ? completion_tokens : static_cast<int64_t>(token_ms.size());
}

double RequestRecord::tpot_ms() const {
  const int64_t rest = num_output() - 1;
  return rest > 0 ? (token_ms.back() - token_ms.front()) / static_cast<double>(rest) : 0.0;
}

double percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0.0;
  const double at = static_cast<double>(sorted.size() - 1) * percent / 100.0;
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - static_cast<double>(low));
}

Distribution describe(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {.count = static_cast<int64_t>(values.size()),
          .mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()),
          .p50 = percentile(values, 50),
          .p90 = percentile(values, 90),
          .p99 = percentile(values, 99),
          .max = values.back()};
}

bool Objective::is_met(const RequestRecord& record) const {
  return record.ok() && (ttft_ms <= 0 || record.ttft_ms() <= ttft_ms) && (tpot_ms <= 0 || record.tpot_ms() <= tpot_ms);
}

Samples collect(const std::vector<RequestRecord>& records) {
  Samples samples;
  for (const RequestRecord& record : records) {
    if (!record.ok()) continue;
    samples.ttft_ms.push_back(record.ttft_ms());
    samples.e2e_ms.push_back(record.e2e_ms());
    if (record.num_output() > 1) samples.tpot_ms.push_back(record.tpot_ms());
    for (size_t i = 1; i < record.token_ms.size(); ++i) {
      samples.itl_ms.push_back(record.token_ms[i] - record.token_ms[i - 1]);
    }
  }
  return samples;
}

LoadSummary summarise(const std::vector<RequestRecord>& records, const Objective& objective) {
  LoadSummary summary;
  summary.num_requests = static_cast<int64_t>(records.size());
  summary.has_objective = objective.is_set();
  std::vector<double> delays;
  for (const RequestRecord& record : records) {
    if (record.sent_ms >= 0) delays.push_back(record.sent_ms - record.due_ms);
    summary.wall_s = std::max(summary.wall_s, record.end_ms / 1000.0);
    if (!record.ok()) {
      ++summary.failures[record.error];
      if (summary.first_failure.empty()) summary.first_failure = record.error_detail;
      continue;
    }
    ++summary.num_ok;
    if (objective.is_met(record)) ++summary.num_good;
    summary.input_tokens += record.prompt_tokens >= 0 ? record.prompt_tokens : record.planned_input;
    summary.output_tokens += record.num_output();
    if (record.cached_tokens >= 0) {
      summary.cached_tokens = std::max<int64_t>(summary.cached_tokens, 0) + record.cached_tokens;
    }
  }
  Samples samples = collect(records);
  summary.ttft = describe(std::move(samples.ttft_ms));
  summary.tpot = describe(std::move(samples.tpot_ms));
  summary.itl = describe(std::move(samples.itl_ms));
  summary.e2e = describe(std::move(samples.e2e_ms));
  summary.send_delay = describe(std::move(delays));
  return summary;
}

json::object to_json(const LoadSummary& summary) {
  json::object failures;
  for (const auto& [kind, count] : summary.failures) failures[kind] = count;
  json::object out = {{"label", summary.label},
                      {"rate", summary.rate},
                      {"concurrency", summary.concurrency},
                      {"requests", summary.num_requests},
                      {"ok", summary.num_ok},
                      {"failures", std::move(failures)},
                      {"wall_s", summary.wall_s},
                      {"requests_per_second", summary.per_second(summary.num_ok)},
                      {"input_tokens_per_second", summary.per_second(summary.input_tokens)},
                      {"output_tokens_per_second", summary.per_second(summary.output_tokens)},
                      {"input_tokens", summary.input_tokens},
                      {"output_tokens", summary.output_tokens},
                      {"ttft_ms", to_json(summary.ttft)},
                      {"tpot_ms", to_json(summary.tpot)},
                      {"itl_ms", to_json(summary.itl)},
                      {"e2e_ms", to_json(summary.e2e)},
                      {"send_delay_ms", to_json(summary.send_delay)}};
  if (summary.cached_tokens >= 0) out["cached_tokens"] = summary.cached_tokens;
  if (summary.drafts.draft_tokens > 0) {
    out["num_drafts"] = summary.drafts.num_drafts;
    out["draft_tokens"] = summary.drafts.draft_tokens;
    out["accepted_tokens"] = summary.drafts.accepted_tokens;
  }
  if (summary.has_objective) out["goodput_requests_per_second"] = summary.per_second(summary.num_good);
  return out;
}

json::object to_json(const RequestRecord& record) {
  json::object out = {{"due_ms", record.due_ms},
                      {"sent_ms", record.sent_ms},
                      {"end_ms", record.end_ms},
                      {"status", record.status},
                      {"planned_input", record.planned_input},
                      {"planned_output", record.planned_output},
                      {"token_ms", json::value_from(record.token_ms)}};
  if (record.prompt_tokens >= 0) out["prompt_tokens"] = record.prompt_tokens;
  if (record.completion_tokens >= 0) out["completion_tokens"] = record.completion_tokens;
  if (record.cached_tokens >= 0) out["cached_tokens"] = record.cached_tokens;
  if (!record.ok()) {
    out["error"] = record.error;
    out["error_detail"] = record.error_detail;
  }
  return out;
}

std::string describe(const LoadSummary& summary) {
  std::string out = fmt::format("{}: {} of {} requests answered in {:.2f} s\n", summary.label, summary.num_ok,
                                summary.num_requests, summary.wall_s);
  for (const auto& [kind, count] : summary.failures) out += fmt::format("  failed: {} x {}\n", count, kind);
  if (!summary.first_failure.empty()) out += fmt::format("  first failure: {}\n", summary.first_failure);
  out += fmt::format("  {:.2f} requests/s   input {:.1f} tokens/s   output {:.1f} tokens/s",
                     summary.per_second(summary.num_ok), summary.per_second(summary.input_tokens),
                     summary.per_second(summary.output_tokens));
  if (summary.cached_tokens >= 0 && summary.input_tokens > 0) {
    out += fmt::format("   cached {:.0f} % of the input",
                       100.0 * static_cast<double>(summary.cached_tokens) / static_cast<double>(summary.input_tokens));
  }
  out += "\n";
  if (const DraftTotals& drafts = summary.drafts; drafts.draft_tokens > 0) {
    const auto accepted = static_cast<double>(drafts.accepted_tokens);
    out += fmt::format("  drafts {} tokens, accepted {} ({:.0f} %), acceptance length {:.2f}\n", drafts.draft_tokens,
                       drafts.accepted_tokens, 100.0 * accepted / static_cast<double>(drafts.draft_tokens),
                       1.0 + accepted / static_cast<double>(std::max<int64_t>(drafts.num_drafts, 1)));
  }
  if (summary.has_objective) {
    out += fmt::format("  goodput {:.2f} requests/s ({} within the objective)\n", summary.per_second(summary.num_good),
                       summary.num_good);
  }
  out += fmt::format("{:<22}{:>11}{:>11}{:>11}{:>11}{:>11}\n", "milliseconds", "mean", "p50", "p90", "p99", "max");
  out += row("first token (TTFT)", summary.ttft);
  out += row("per token (TPOT)", summary.tpot);
  out += row("gaps (ITL)", summary.itl);
  out += row("whole answer", summary.e2e);
  // Above a few ms the measurement may show this machine instead of the server.
  if (summary.send_delay.p99 > 5.0) out += row("sent late by", summary.send_delay);
  return out;
}

int64_t find_knee(const std::vector<double>& x, const std::vector<double>& y) {
  constexpr double kMinRise = 0.1;  // above the straight line, as a share of the whole rise
  if (x.size() < 3 || x.back() <= x.front()) return -1;
  const auto [low, high] = std::minmax_element(y.begin(), y.end());
  if (*high <= *low) return -1;
  int64_t knee = -1;
  double best = kMinRise;
  for (size_t i = 0; i < x.size(); ++i) {
    const double rise = (y[i] - *low) / (*high - *low) - (x[i] - x.front()) / (x.back() - x.front());
    if (rise > best) {
      best = rise;
      knee = static_cast<int64_t>(i);
    }
  }
  return knee;
}

}  // namespace quire::load
