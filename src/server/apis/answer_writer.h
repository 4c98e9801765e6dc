// The seam between what happens in an answer and how an API says it: the reader of the streams (answers/generation.h)
// reports neutral events, and the writer of an API turns them into all of its wire, streamed or whole.
//
// One writer per request, used on the exchange's executor.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dialogue/choice_text.h"
#include "engine/request.h"
#include "server/api_error.h"
#include "server/http/exchange.h"
#include "server/schema/api_request.h"

namespace quire {

// What is known of an answer when it begins.
struct AnswerHead {
  std::string request_id;   // of which the answer's own id is made
  std::string model;        // as clients call it
  std::string fingerprint;  // changes whenever the answers to equal requests may change
  int64_t created = 0;      // Unix time
  int num_choices = 0;      // of all prompts: choice i of prompt p has index p * n + i
  bool is_truncated = false;
};

// Choices of one prompt.
struct ChoiceRange {
  int first = 0;
  int count = 0;
};

// More of a call of a tool. The first of a call has its id and the tool's name, later ones are more of its arguments.
struct ToolCallPiece {
  int index = 0;  // of the call in its choice
  std::string id = {};
  std::string name = {};
  std::string arguments = {};  // JSON text, in pieces
};

// How a choice ended: by its length; or by a stop string, by a stop token of the caller's, or by the model itself.
struct ChoiceEnd {
  FinishReason reason = FinishReason::kStop;  // kStop or kLength
  std::optional<std::string> stop_string = {};
  std::optional<int32_t> stop_token = {};
  bool has_tool_calls = false;  // the model called tools
};

// Of the answer that a request predicts: tokens of it that were drafted.
struct PredictionCounts {
  int64_t accepted_tokens = 0;
  int64_t rejected_tokens = 0;
};

// Of all prompts and choices, as far as they are known.
struct UsageCounts {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;                        // of the prompts
  int64_t reasoning_tokens = 0;                     // of the completions
  std::optional<PredictionCounts> prediction = {};  // where the request has one
};

struct AnswerTimings {
  double ttft_ms = 0.0;
  double decode_ms = 0.0;
  double queue_ms = 0.0;
  double tokens_per_second = 0.0;
  int64_t cached_tokens = 0;
  DraftCounts drafts = {};
};

// In this order: begin, once for all choices of a prompt; for each of them any number of reasoning, text and tool_call,
// then end; in between flush; then timings, if any, and done. Or fail at any time, after which nothing comes.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // The choices of a prompt, its token ids, and its log probabilities when they were asked for (the first says
  // nothing), else empty.
  virtual void begin(ChoiceRange choices, std::span<const int32_t> prompt, std::span<const SampledToken> logprobs) = 0;
  // Text with the tokens that became it.
  virtual void text(int choice, TextPiece piece) = 0;
  // What the model thinks before it answers, where its format tells the two apart.
  virtual void reasoning(int choice, TextPiece piece) { text(choice, std::move(piece)); }
  // `tokens`: what became this piece, when tokens are kept. An API without tools never gets one.
  virtual void tool_call(int /*choice*/, const ToolCallPiece& /*piece*/, std::vector<PieceToken> /*tokens*/) {}
  // `rest`: tokens without text. `is_last`: every other choice has ended.
  virtual void end(int choice, TextPiece rest, const ChoiceEnd& end, bool is_last) = 0;
  // The counts as of now; called before each text and end whose counts differ.
  virtual void usage(const UsageCounts& usage) = 0;
  virtual void timings(const AnswerTimings& timings) = 0;  // before the last end
  virtual void flush() = 0;                                // what was written since the last call may be sent
  virtual void done() = 0;
  virtual void fail(const ApiError& error) = 0;
  // False: the client reads too slowly for more.
  virtual bool has_room() const = 0;
};

// What a writer is made of. The exchange is kept; the rest need not outlive the call, but the tokenizer.
struct AnswerSetup {
  std::shared_ptr<http::Exchange> exchange;
  const ApiRequest& request;
  const Tokenizer& tokenizer;
  AnswerHead head;
  uint64_t buffer_bytes = 0;  // unsent bytes of a stream above which has_room() is false
};
// Begins the answer: a stream's header is sent at once.
using MakeAnswer = std::function<std::shared_ptr<AnswerWriter>(const AnswerSetup& setup)>;

}  // namespace quire
