#include "apps/batch_jobs.h"

#include <algorithm>
#include <fstream>

#include "base/error.h"

namespace quire::load {
namespace {

constexpr size_t kMaxLineBytes = size_t{16} << 20;
constexpr size_t kMaxJobs = 1000000;

std::vector<int32_t> read_ids(const json::array& values) {
  std::vector<int32_t> ids;
  for (const json::value& value : values) {
    if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > INT32_MAX) {
      fail(ErrorCode::kCorrupt, "\"prompt\" is an array of something else than token ids");
    }
    ids.push_back(static_cast<int32_t>(value.get_int64()));
  }
  return ids;
}

std::vector<int32_t> read_prompt(const json::object& body, const TextProcessor& text, BatchJob& job) {
  if (const json::array* messages = find_array(body, "messages")) {
    job.is_chat = true;
    return text.encode_rendered(text.render_chat(*messages, true));
  }
  const json::value* prompt = find_member(body, "prompt");
  if (prompt == nullptr) fail(ErrorCode::kCorrupt, "found neither \"prompt\" nor \"messages\"");
  if (const json::array* ids = prompt->if_array()) return read_ids(*ids);
  return text.encode_plain(get_string(body, "prompt"));
}

BatchJob read_job(std::string_view line, const TextProcessor& text, int64_t default_max_tokens) {
  const json::value value = parse_json(line, "the line");
  if (!value.is_object()) fail(ErrorCode::kCorrupt, "expected a JSON object");
  const json::object& outer = value.get_object();
  const json::object* inner = find_object(outer, "body");
  const json::object& body = inner != nullptr ? *inner : outer;
  BatchJob job;
  job.custom_id = find_string(outer, "custom_id", "");
  GenerateRequest& request = job.request;
  request.prompt = read_prompt(body, text, job);
  request.eog_ids = text.eog_ids();
  request.max_tokens = find_int(body, "max_completion_tokens", find_int(body, "max_tokens", default_max_tokens));
  if (request.max_tokens < 1)
    fail(ErrorCode::kInvalidArgument, "max_tokens is {}; expected at least 1", request.max_tokens);
  request.ignore_eos = find_bool(body, "ignore_eos", false);
  request.sampling.temperature = static_cast<float>(find_double(body, "temperature", 0.0));
  request.sampling.top_p = static_cast<float>(find_double(body, "top_p", request.sampling.top_p));
  request.sampling.top_k = static_cast<int32_t>(find_int(body, "top_k", request.sampling.top_k));
  if (find_member(body, "seed") != nullptr) request.sampling.seed = static_cast<uint64_t>(get_int(body, "seed"));
  return job;
}

}  // namespace

std::vector<BatchJob> read_batch(const std::string& path, const TextProcessor& text, int64_t default_max_tokens) {
  std::ifstream file(path);
  if (!file) fail(ErrorCode::kNotFound, "the prompt file '{}' cannot be read", printable(path));
  std::vector<BatchJob> jobs;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line.size() > kMaxLineBytes || jobs.size() == kMaxJobs) {
      fail(ErrorCode::kLimit, "{} line {}: at most {} lines of {} bytes are read; split the file", path, number,
           kMaxJobs, kMaxLineBytes);
    }
    try {
      jobs.push_back(read_job(line, text, default_max_tokens));
    } catch (const Error& error) {
      fail(error.code(), "{} line {}: {}", path, number, error.what());
    }
  }
  if (jobs.empty()) {
    fail(ErrorCode::kCorrupt, "{} has no lines; expected a JSON object a line, such as {{\"prompt\": \"Once\"}}", path);
  }
  return jobs;
}

std::vector<BatchJob> random_batch(const WorkloadOptions& options, int64_t vocab_size) {
  // The first ids of most vocabularies are special tokens or bytes.
  const auto last_id = static_cast<int32_t>(vocab_size - 1);
  const PromptMaker prompts(options, std::min(last_id / 4, 1000), last_id);
  std::vector<BatchJob> jobs;
  for (const PlannedRequest& planned : plan_requests(options)) {
    BatchJob job;
    job.request.prompt = prompts.ids(planned);
    job.request.max_tokens = planned.output_tokens;
    job.request.ignore_eos = true;
    job.request.sampling.temperature = 0.0f;
    jobs.push_back(std::move(job));
  }
  return jobs;
}

json::object batch_result(const BatchJob& job, int64_t index, const std::string& text, const char* finish_reason,
                          int64_t num_generated, int64_t num_cached) {
  const auto num_prompt = static_cast<int64_t>(job.request.prompt.size());
  const json::object usage = {{"prompt_tokens", num_prompt},
                              {"completion_tokens", num_generated},
                              {"total_tokens", num_prompt + num_generated},
                              {"prompt_tokens_details", {{"cached_tokens", num_cached}}}};
  if (job.custom_id.empty()) {
    return {{"index", index}, {"text", text}, {"finish_reason", finish_reason}, {"usage", usage}};
  }
  json::object choice = {{"index", 0}, {"finish_reason", finish_reason}};
  if (job.is_chat) {
    choice["message"] = {{"role", "assistant"}, {"content", text}};
  } else {
    choice["text"] = text;
  }
  return {{"custom_id", job.custom_id},
          {"response",
           {{"status_code", 200},
            {"body",
             {{"object", job.is_chat ? "chat.completion" : "text_completion"},
              {"choices", json::array({std::move(choice)})},
              {"usage", usage}}}}},
          {"error", nullptr}};
}

}  // namespace quire::load
