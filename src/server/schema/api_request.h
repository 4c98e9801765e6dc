// The body of an inference request, read and checked by the field table (fields.h). One struct for all inference
// endpoints: most fields are shared, and a field that an endpoint does not know stays at its default.
//
// A plain value, owned by the handler.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "dialogue/tool.h"
#include "engine/request.h"
#include "grammar/compile.h"

namespace quire {

// One prompt of /v1/completions, one input of /v1/embeddings.
struct PromptValue {
  std::string text;
  std::vector<int32_t> ids;
  bool is_text = false;
  std::vector<PromptValue> more = {};  // text and ids that continue it, where a list mixes them
};

// A file of the same project, which helps to complete a text.
struct ExtraFile {
  std::string name;
  std::string text;
};

enum class ToolChoice : uint8_t {
  kNone,      // no tool is called
  kAuto,      // as the model likes
  kRequired,  // at least one call
  kNamed,     // a call of the tool ApiRequest::tool_name
};

struct ApiRequest {
  std::string model;  // empty: the loaded model

  // The answer's form.
  bool stream = false;
  bool has_stream_options = false;
  std::optional<int> stream_interval;  // absent: as the server does
  bool include_usage = false;
  bool continuous_usage = false;
  bool timings = false;

  // The input.
  json::array messages;
  std::vector<PromptValue> prompts;
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  std::optional<bool> add_special_tokens;
  std::optional<bool> parse_special;
  json::object template_variables;
  std::string chat_template;
  std::optional<int64_t> truncate_prompt_tokens;  // -1: to what fits
  bool drops_old_turns = false;                   // of a conversation that is too long
  std::optional<int64_t> max_context;             // of prompt and answer together, before turns are dropped

  // How to choose tokens and when to stop.
  SamplingParams sampling;
  std::vector<std::string> bad_words;
  std::optional<std::vector<std::string>> dry_breakers;  // absent: the server's
  int num_choices = 1;
  std::optional<int> best_of;
  bool use_beam_search = false;
  std::optional<int> beam_width;      // absent: num_choices
  BeamOptions beam;                   // the rest of them
  std::optional<int64_t> max_tokens;  // -1: no limit but the context
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop = false;
  bool skip_special_tokens = true;

  // Speculation.
  std::string prediction;  // of the answer's text
  int max_drafts = -1;     // -1: as the server does

  // What to report besides text.
  bool echo = false;
  bool logprobs = false;
  std::optional<int> top_logprobs;
  int prompt_logprobs = -1;
  bool return_token_ids = false;
  bool tokens_as_ids = false;
  bool draft_marks = false;
  bool keeps_tokens = false;  // the API's answers count the tokens of each piece

  // Scheduling and caching.
  int32_t priority = 0;
  std::string request_id;
  std::string cache_salt;
  bool cache_prompt = true;
  double timeout_ms = 0.0;

  // Tools. With kNone the model is not told of them.
  std::vector<Tool> tools;
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_name;
  bool parallel_tool_calls = true;
  bool calls_functions = false;  // OpenAI's older form of tools; a call is told in that form

  // The form of the answer.
  std::optional<GrammarSpec> grammar;
  std::string grammar_path;                // of the field that gave it, for errors
  std::optional<bool> any_property_order;  // of objects that a schema describes; absent: as the server does

  // Reasoning.
  bool include_reasoning = true;
  std::string reasoning_effort;                  // empty: the model's own
  std::optional<int64_t> thinking_token_budget;  // tokens of reasoning after which the answer begins

  // /v1/responses
  json::object echoed;               // members that the answer repeats
  json::array input_items;           // as given
  std::string previous_response_id;  // empty: none
  bool store = true;
  // Around the prompt.
  std::string prefix;                 // before it
  std::optional<std::string> suffix;  // the answer goes between the prompt and this
  std::vector<ExtraFile> files;       // before both
  std::string system;                 // the system message of a prompt that is to become a conversation
  bool is_raw = false;                // it becomes none

  // Ollama's way to unload a model, which answers and does nothing here.
  bool unloads = false;

  // Reranking and scoring: of the prompts, how many come before those that they are compared with.
  int num_queries = 0;
  std::optional<int> top_n;
  bool return_documents = true;
  std::string instruction;        // to a model that judges documents
  bool has_plain_scores = false;  // Text Embeddings Inference's form of the answer

  // /v1/embeddings
  bool base64 = false;
  std::optional<int> dimensions;
  std::optional<Pooling> pooling;

  // /tokenize, /detokenize
  std::optional<std::string> content;  // llama-server's name for the text; the answer has its form
  bool with_pieces = false;
  bool return_token_strings = false;
  std::optional<std::vector<int32_t>> tokens;
};

}  // namespace quire
