// /v1/completions: prompt forms, echo and log probabilities as evaluation harnesses read them, streams fed by hand.
#include <functional>
#include <map>
#include <numeric>
#include <stdexcept>

#include "server/answers/generation.h"
#include "server/apis/answers.h"
#include "server/apis/apis.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

constexpr Handler kHandle = handle_completions;

class CompletionsTest : public ServerTest {
 protected:
  static json::array ids_of(std::string_view prompt) {
    json::array ids;
    for (const int32_t id : text().encode_plain(prompt)) ids.push_back(id);
    return ids;
  }
  std::string text_at(const json::object& given, size_t index = 0) { return text_of(choice(given, index).at("text")); }
};

TEST_F(CompletionsTest, WholeAnswerHasOpenAisForm) {
  const json::object given = answer(kHandle, completion("Once upon a time"));
  EXPECT_TRUE(text_of(given.at("id")).starts_with("cmpl-"));
  EXPECT_EQ(given.at("object"), "text_completion");
  EXPECT_EQ(choice(given).at("logprobs"), nullptr);
  EXPECT_LE(given.at("usage").at("completion_tokens").as_int64(), 16) << "the default";
}

TEST_F(CompletionsTest, EveryPromptFormGivesTheSameText) {
  const std::string expected = text_at(answer(kHandle, completion("Once upon")));
  EXPECT_EQ(text_at(answer(kHandle, completion(json::array{"Once upon"}))), expected);
  EXPECT_EQ(text_at(answer(kHandle, completion(ids_of("Once upon")))), expected);
  const json::object many = answer(kHandle, completion(json::array{ids_of("Once upon"), ids_of("The cat")}));
  EXPECT_EQ(many.at("choices").as_array().size(), 2u);
  EXPECT_EQ(text_at(many), expected);
  EXPECT_EQ(text_at(many, 1), text_at(answer(kHandle, completion("The cat"))));
  EXPECT_EQ(many.at("usage").at("prompt_tokens").as_int64(),
            static_cast<int64_t>(ids_of("Once upon").size() + ids_of("The cat").size()));
}

TEST_F(CompletionsTest, APredictionIsOfOneAnswer) {
  const json::object predicted{{"prediction", {{"type", "content"}, {"content", "upon a time"}}}};
  answer(kHandle, completion(json::array{"Once"}, predicted));
  EXPECT_EQ(error(kHandle, completion(json::array{"Once", "The"}, predicted)).at("param"), "prediction");
}

TEST_F(CompletionsTest, ChoicesOfSeveralPromptsAreInOrder) {
  const json::object more{{"n", 2}, {"echo", true}, {"temperature", 1}, {"max_tokens", 5}, {"ignore_eos", true}};
  const json::object given = answer(kHandle, completion(json::array{"Once", "The"}, more));
  const auto events = stream(kHandle, completion(json::array{"Once", "The"}, more));
  ASSERT_EQ(given.at("choices").as_array().size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(choice(given, i).at("index"), static_cast<int64_t>(i));
    EXPECT_TRUE(text_at(given, i).starts_with(i < 2 ? "Once" : "The"));
  }
  std::map<int64_t, std::string> first;
  for (const json::object& event : events) {
    first.emplace(choice(event).at("index").as_int64(), text_of(choice(event).at("text")));
  }
  EXPECT_EQ(first, (std::map<int64_t, std::string>{{0, "Once"}, {1, "Once"}, {2, "The"}, {3, "The"}}));
}

// A list is one request, however short the queue.
TEST_F(CompletionsTest, AListIsAdmittedWholeAndFedInPortions) {
  json::array prompts;
  for (int i = 0; i < 12; ++i) prompts.push_back(json::string(std::string(1, static_cast<char>('a' + i)) + " cat"));
  const json::object more{{"max_tokens", 5}, {"echo", true}};
  const json::object expected = answer(kHandle, completion(prompts, more));
  EngineOptions options;
  options.max_queued_tokens = 8;
  make_engine(options);
  EXPECT_EQ(answer(kHandle, completion(prompts, more)).at("choices"), expected.at("choices"));
  options = {};
  options.max_queued_requests = 3;
  make_engine(options);
  const auto first = start(kHandle, completion(prompts, more));
  EXPECT_FALSE(first->is_done());
  const auto other = start(kHandle, completion("a", {{"max_tokens", 2}}));
  EXPECT_EQ(other->response().status, 429) << "the list has taken what was free";
  finish(*first);
  json::object given = parse_json(first->response().body, "answer").as_object();
  EXPECT_EQ(given.at("choices"), expected.at("choices"));
  EXPECT_EQ(given.at("usage"), expected.at("usage"));
  EXPECT_EQ(engine_->status().refused_requests, 1) << "what waits was not refused";
  // A wrong element, the last one too, refuses the whole list before anything runs.
  prompts.push_back(json::string(std::string(2000, 'x')));
  EXPECT_EQ(error(kHandle, completion(prompts)).at("code"), "context_length_exceeded");
  EXPECT_FALSE(engine_->step());
  const json::object far_too_long = error(kHandle, completion(json::string(1 << 20, 'a')));
  EXPECT_EQ(far_too_long.at("code"), "context_length_exceeded");
  EXPECT_NE(text_of(far_too_long.at("message")).find("at least"), std::string::npos) << "refused by its bytes alone";
  EXPECT_EQ(error(kHandle, completion(json::array{})).at("param"), "prompt");
  EXPECT_EQ(error(kHandle, json::object{}).at("param"), "prompt");
  EXPECT_EQ(error(kHandle, completion("a", {{"suffix", "b"}})).at("code"), "not_supported");
}

TEST_F(CompletionsTest, WhatWaitsOfAListGoesWithItsClient) {
  EngineOptions options;
  options.max_queued_requests = 2;
  make_engine(options);
  const auto exchange =
      start(kHandle, completion(json::array{"a", "b", "c", "d", "e"}, {{"max_tokens", 50}, {"ignore_eos", true}}));
  engine_->step();
  exchange->run_posted();
  exchange->disconnect();
  int steps = 0;
  while (engine_->step()) ++steps;
  EXPECT_LE(steps, 2);
  exchange->run_posted();
  EXPECT_EQ(exchange.use_count(), 1);
}

// As many as there are: in waves, whose choices are those of one wave.
TEST_F(CompletionsTest, MoreChoicesThanRunAtOnceComeInWaves) {
  const std::string prompt =
      "Once upon a time there was a little cat. The cat was very happy. It had a red ball and a blue hat, and it lived "
      "in a small house with a big garden near the old mill.";
  const json::object more{{"n", 20}, {"temperature", 1.5}, {"seed", 7}, {"max_tokens", 6}, {"echo", true}};
  const auto texts = [&](int64_t max_sequences) {
    make_engine({}, max_sequences);
    const json::object given = answer(kHandle, completion(json::string(prompt), more));
    EXPECT_EQ(given.at("usage").at("prompt_tokens_details").at("cached_tokens"), 0)
        << "counted once, when it was computed";
    std::vector<std::string> out;
    for (size_t i = 0; i < given.at("choices").as_array().size(); ++i) {
      EXPECT_EQ(choice(given, i).at("index"), static_cast<int64_t>(i));
      out.push_back(text_at(given, i));
    }
    return out;
  };
  const std::vector<std::string> at_once = texts(32);
  EXPECT_EQ(at_once.size(), 20u);
  EXPECT_EQ(texts(8), at_once);
  EXPECT_EQ(texts(1), at_once);
  std::map<int64_t, std::string> streamed;
  for (const json::object& event : stream(kHandle, completion(json::string(prompt), more))) {
    streamed[choice(event).at("index").as_int64()] += text_of(choice(event).at("text"));
  }
  for (size_t i = 0; i < at_once.size(); ++i) EXPECT_EQ(streamed[static_cast<int64_t>(i)], at_once[i]) << i;
  const json::object scored = answer(kHandle, completion("a", {{"n", 20}, {"prompt_logprobs", 1}, {"max_tokens", 1}}));
  EXPECT_EQ(choice(scored, 19).at("prompt_logprobs"), choice(scored, 0).at("prompt_logprobs"));
}

// The log probability of all tokens of a choice.
double logprob_of(const json::object& choice) {
  double sum = 0.0;
  for (const json::value& logprob : choice.at("logprobs").at("token_logprobs").as_array()) {
    sum += logprob.to_number<double>();
  }
  return sum;
}

TEST_F(CompletionsTest, BestOfReturnsTheLikeliestChoices) {
  json::object more{{"temperature", 1.5}, {"seed", 7},          {"max_tokens", 6},
                    {"logprobs", 1},      {"ignore_eos", true}, {"n", 6}};
  const json::object all = answer(kHandle, completion(json::array{"Once", "The"}, more));
  std::vector<std::string> expected;
  for (size_t prompt = 0; prompt < 2; ++prompt) {
    std::multimap<double, std::string, std::greater<>> by_logprob;
    for (size_t i = 6 * prompt; i < 6 * prompt + 6; ++i)
      by_logprob.emplace(logprob_of(choice(all, i)), text_at(all, i));
    expected.push_back(by_logprob.begin()->second);
    expected.push_back(std::next(by_logprob.begin())->second);
  }
  more["n"] = 2;
  more["best_of"] = 6;
  for (const int64_t max_sequences : {16, 4}) {
    make_engine({}, max_sequences);
    const json::object best = answer(kHandle, completion(json::array{"Once", "The"}, more));
    ASSERT_EQ(best.at("choices").as_array().size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(text_at(best, i), expected[i]) << i;
      EXPECT_EQ(choice(best, i).at("index"), static_cast<int64_t>(i));
    }
    EXPECT_EQ(best.at("usage").at("completion_tokens"), 72) << "all that were made";
  }
  more.erase("logprobs");
  const json::object unscored = answer(kHandle, completion("Once", more));
  EXPECT_EQ(text_at(unscored), expected[0]);
  EXPECT_EQ(choice(unscored).at("logprobs"), nullptr);
}

TEST_F(CompletionsTest, StreamIntervalMergesTokens) {
  const auto texts = [&](json::object more) {
    more["max_tokens"] = 12;
    more["ignore_eos"] = true;
    std::vector<std::string> out;
    for (const json::object& event : stream(kHandle, completion("Once upon", more))) {
      const std::string piece = text_of(choice(event).at("text"));
      if (!piece.empty()) out.push_back(piece);
    }
    return out;
  };
  const auto joined = [](const std::vector<std::string>& pieces) {
    return std::accumulate(pieces.begin(), pieces.end(), std::string());
  };
  const std::vector<std::string> single = texts({});
  const std::vector<std::string> merged = texts({{"stream_interval", 4}});
  EXPECT_EQ(joined(merged), joined(single));
  EXPECT_EQ(merged[0], single[0]);
  EXPECT_EQ(merged.size(), 1 + (single.size() - 1 + 3) / 4);
  context_.stream_interval = 4;
  EXPECT_EQ(texts({}), merged);
  EXPECT_EQ(texts({{"stream_interval", 1}}), single);
  EXPECT_EQ(texts({{"stream_interval", 1000}}).size(), 2u);
}

TEST_F(CompletionsTest, BeamSearchReturnsTheBestAnswers) {
  json::object more{{"use_beam_search", true}, {"n", 3}, {"max_tokens", 8}, {"logprobs", 1}, {"length_penalty", 0}};
  const json::object given = answer(kHandle, completion("Once upon", more));
  ASSERT_EQ(given.at("choices").as_array().size(), 3u);
  double last = 0.0;
  for (size_t i = 0; i < 3; ++i) {
    const double logprob = logprob_of(choice(given, i));
    EXPECT_LE(logprob, last) << "the best first";
    last = logprob;
  }
  const json::object greedy = answer(
      kHandle, completion("Once upon", {{"temperature", 0}, {"max_tokens", 8}, {"logprobs", 1}, {"ignore_eos", true}}));
  EXPECT_GE(logprob_of(choice(given)), logprob_of(choice(greedy)) - 1e-4);
  more["n"] = 1;
  more["beam_width"] = 3;
  EXPECT_EQ(text_at(answer(kHandle, completion("Once upon", more))), text_at(given));
  const std::string whole = text_at(given);
  more["stop"] = whole.substr(whole.size() / 2, 3);
  EXPECT_EQ(text_at(answer(kHandle, completion("Once upon", more))),
            whole.substr(0, whole.find(whole.substr(whole.size() / 2, 3))));
  more["beam_width"] = 100;
  EXPECT_EQ(error(kHandle, completion("Once upon", more)).at("type"), "invalid_request_error");
}

TEST_F(CompletionsTest, TokensThatAreAskedForByName) {
  const json::object given = answer(kHandle, completion("Once upon", {{"max_tokens", 3},
                                                                      {"logprobs", 0},
                                                                      {"ignore_eos", true},
                                                                      {"logprob_token_ids", json::array{40, 41, 42}}}));
  for (const json::value& top : choice(given).at("logprobs").at("top_logprobs").as_array()) {
    EXPECT_GE(top.as_object().size(), 3u);
  }
}

TEST_F(CompletionsTest, WordsThatMustNotOccur) {
  const json::object plain{{"temperature", 0}, {"max_tokens", 24}, {"ignore_eos", true}};
  const std::string text = text_at(answer(kHandle, completion("Once upon a time", plain)));
  const size_t begin = text.find(' ', text.find_first_not_of(' '));
  const std::string word = text.substr(begin + 1, text.find(' ', begin + 1) - begin - 1);
  ASSERT_FALSE(word.empty());
  json::object more = plain;
  more["bad_words"] = json::array{json::string(word)};
  const std::string given = text_at(answer(kHandle, completion("Once upon a time", more)));
  EXPECT_NE(given, text);
  EXPECT_EQ((given + " ").find(" " + word + " "), std::string::npos) << word << " in " << given;
}

TEST_F(CompletionsTest, LogprobsMatchTheText) {
  const json::object given = answer(kHandle, completion("Once upon a time", {{"logprobs", 2}, {"ignore_eos", true}}));
  const json::object& logprobs = choice(given).at("logprobs").as_object();
  const size_t count = logprobs.at("tokens").as_array().size();
  EXPECT_EQ(count, 16u);
  std::string joined;
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(logprobs.at("text_offset").as_array()[i].as_int64(), static_cast<int64_t>(joined.size()));
    const std::string token = text_of(logprobs.at("tokens").as_array()[i]);
    const json::object& top = logprobs.at("top_logprobs").as_array()[i].as_object();
    EXPECT_EQ(top.size(), 2u);
    EXPECT_EQ(top.at(token), logprobs.at("token_logprobs").as_array()[i]);
    joined += token;
  }
  json::array streamed;
  for (const json::object& event :
       stream(kHandle, completion("Once upon a time", {{"logprobs", 2}, {"ignore_eos", true}}))) {
    if (choice(event).at("logprobs").is_null()) continue;
    for (const json::value& offset : choice(event).at("logprobs").at("text_offset").as_array())
      streamed.push_back(offset);
  }
  EXPECT_EQ(streamed, logprobs.at("text_offset").as_array());
}

// Scoring a text gives the same log probabilities as generating it, also at the last prompt position.
TEST_F(CompletionsTest, EchoScoresWhatWasGenerated) {
  const json::object made =
      answer(kHandle, completion("Once upon a time", {{"logprobs", 1}, {"return_token_ids", true}, {"max_tokens", 8}}));
  json::array ids = choice(made).at("prompt_token_ids").as_array();
  const size_t num_prompt = ids.size();
  for (const json::value& id : choice(made).at("token_ids").as_array()) ids.push_back(id);
  const json::array& expected = choice(made).at("logprobs").at("token_logprobs").as_array();
  for (const int64_t max_tokens : {1, 0}) {
    const json::object scored =
        answer(kHandle, completion(json::array{ids}, {{"logprobs", 1}, {"echo", true}, {"max_tokens", max_tokens}}));
    const json::object& logprobs = choice(scored).at("logprobs").as_object();
    const json::array& given = logprobs.at("token_logprobs").as_array();
    ASSERT_EQ(given.size(), ids.size() + static_cast<size_t>(max_tokens));
    EXPECT_EQ(given[0], nullptr);
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(given[num_prompt + i], expected[i]) << i;
    EXPECT_EQ(scored.at("usage").at("completion_tokens"), max_tokens);
    EXPECT_EQ(choice(scored).at("finish_reason"), "length");
    const std::string whole = "Once upon a time" + text_at(made);
    EXPECT_TRUE(text_at(scored).starts_with(whole)) << text_at(scored);
  }
}

TEST_F(CompletionsTest, LogprobsOfPromptsAreBoundedInAllChoicesTogether) {
  // 4 tokens, each with its own log probability and two of the likeliest, in two choices.
  json::object body =
      completion(json::array{5, 6, 7, 8}, {{"echo", true}, {"logprobs", 2}, {"n", 2}, {"max_tokens", 1}});
  context_.limits.prompt_logprobs = 24;
  EXPECT_EQ(answer(kHandle, body).at("choices").as_array().size(), 2);
  context_.limits.prompt_logprobs = 23;
  EXPECT_EQ(error(kHandle, body).at("code"), "limit_exceeded");
  body["echo"] = false;
  EXPECT_EQ(answer(kHandle, body).at("choices").as_array().size(), 2);
}

TEST_F(CompletionsTest, CachedTokensAreReportedAndTheCacheCanBeDeclined) {
  const std::string prompt =
      "Once upon a time there was a little cat. The cat was very happy. It had a red ball and a "
      "blue hat, and it lived in a small house with a big garden near the old mill.";
  const auto cached = [&](json::object more) {
    more["max_tokens"] = 2;
    return answer(kHandle, completion(json::string(prompt), more))
        .at("usage")
        .at("prompt_tokens_details")
        .at("cached_tokens")
        .as_int64();
  };
  EXPECT_EQ(cached({}), 0);
  EXPECT_GT(cached({}), 0);
  EXPECT_EQ(cached({{"cache_salt", "mine"}}), 0);
  EXPECT_GT(cached({{"cache_salt", "mine"}}), 0);
  EXPECT_EQ(cached({{"cache_prompt", false}}), 0);
  EXPECT_EQ(cached({{"cache_prompt", false}}), 0);
  const auto other = std::make_shared<FakeExchange>(json::serialize(completion(json::string(prompt))));
  other->mutable_request().tenant = "another key";
  run(kHandle, other);
  finish(*other);
  EXPECT_NE(other->response().body.find("\"cached_tokens\":0"), std::string::npos) << "another key's prompts show";
}

// A reader of streams that the test fills.
class FedStreams {
 public:
  FedStreams(ServerContext& context, json::object body, std::vector<std::vector<int32_t>> prompts)
      : exchange_(std::make_shared<FakeExchange>(json::serialize(body))) {
    GenerationPlan plan;
    plan.model = context.models.find("");
    plan.request = parse_request(exchange_->request().body, kCompletionsApi,
                                 {.limits = context.limits, .default_sampling = plan.model->default_sampling});
    for (auto& ids : prompts) {
      plan.prompts.push_back({.ids = std::move(ids)});
      streams_.push_back(std::make_shared<OutputStream>(plan.request.num_choices));
    }
    plan.is_continuation = true;
    plan.make_answer = make_completions_answer;
    const auto group = std::make_shared<StreamGroup>(exchange_, streams_);
    group->start(make_generation_reader(context, exchange_, *group, std::move(plan), false));
  }

  FedStreams& push(OutputEvent event, size_t prompt = 0) {
    streams_[prompt]->push({std::move(event)});
    exchange_->run_posted();
    return *this;
  }
  FakeExchange& exchange() { return *exchange_; }
  OutputStream& stream(size_t prompt = 0) { return *streams_[prompt]; }
  json::object answer() {
    EXPECT_TRUE(exchange_->is_done());
    return parse_json(exchange_->response().body, "answer").as_object();
  }

 private:
  std::shared_ptr<FakeExchange> exchange_;
  std::vector<std::shared_ptr<OutputStream>> streams_;
};

// The connection answers for a reader that throws: the reader is not asked again.
TEST(StreamGroup, AnExceptionOfItsReaderEndsIt) {
  struct Throws : StreamReader {
    void on_event(size_t, OutputEvent) override {
      ++num_events;
      throw std::runtime_error("no memory");
    }
    void on_pause(bool) override { ADD_FAILURE() << "after the exception"; }
    void on_refused(const ApiError&) override {}
    void on_gone() override {}
    int num_events = 0;
  };
  const auto exchange = std::make_shared<FakeExchange>("{}");
  const auto stream = std::make_shared<OutputStream>(1);
  auto reader = std::make_unique<Throws>();
  const Throws& thrower = *reader;
  const auto group = std::make_shared<StreamGroup>(exchange, std::vector{stream});
  group->start(std::move(reader));
  stream->push({OutputEvent()});
  EXPECT_THROW(exchange->run_posted(), std::runtime_error);
  EXPECT_TRUE(stream->is_cancelled(0));
  stream->push({OutputEvent()});
  EXPECT_NO_THROW(exchange->run_posted());
  EXPECT_EQ(thrower.num_events, 1);
}

SampledToken sampled(int32_t id, float logprob, int32_t likelier_id, float likelier) {
  SampledToken token{.id = id, .logprob = logprob, .rank = likelier > logprob ? 1 : 0, .top = {}};
  token.top.push_back(likelier > logprob ? TokenLogprob{likelier_id, likelier} : TokenLogprob{id, logprob});
  return token;
}

OutputEvent token_event(SampledToken token, FinishReason finish = FinishReason::kNone, int choice = 0) {
  OutputEvent event;
  event.choice = choice;
  event.has_token = true;
  event.token = std::move(token);
  event.finish = finish;
  return event;
}

TEST_F(CompletionsTest, EchoWithLogprobsAsLmEvalReadsIt) {
  const std::vector<int32_t> prompt = text().encode_plain("Once upon a time");
  const int32_t other = text().encode_plain("The").back();
  std::vector<SampledToken> scores;
  for (size_t i = 0; i < prompt.size(); ++i) {
    scores.push_back(i % 2 == 0 ? sampled(prompt[i], -0.1f, 0, -9.0f) : sampled(prompt[i], -2.7f, other, -0.30000001f));
  }
  for (const int64_t max_tokens : {1, 0}) {
    FedStreams fed(context_, {{"echo", true}, {"logprobs", 1}, {"max_tokens", max_tokens}, {"temperature", 0}},
                   {prompt});
    OutputEvent event;
    if (max_tokens == 1) event = token_event(sampled(other, -0.5f, 0, -9.0f));
    event.finish = FinishReason::kLength;
    event.prompt_logprobs = scores;
    const json::object given = fed.push(std::move(event)).answer();
    const json::object& logprobs = choice(given).at("logprobs").as_object();
    const json::array& tokens = logprobs.at("token_logprobs").as_array();
    const json::array& tops = logprobs.at("top_logprobs").as_array();
    ASSERT_EQ(tokens.size(), prompt.size() + static_cast<size_t>(max_tokens));
    EXPECT_EQ(tokens[0], nullptr);
    EXPECT_EQ(tops[0], nullptr);
    for (size_t i = 1; i < prompt.size(); ++i) {
      double best = -1e9;
      for (const auto& [name, value] : tops[i].as_object()) best = std::max(best, value.as_double());
      EXPECT_EQ(best == tokens[i].as_double(), i % 2 == 0) << i;
      EXPECT_EQ(tops[i].as_object().at(text_of(logprobs.at("tokens").as_array()[i])), tokens[i]);
    }
    const std::string all = text_at(given);
    EXPECT_TRUE(all.starts_with("Once upon a time"));
    // Offsets point to each token's own text; special tokens have none.
    for (size_t i = 1; i < tokens.size(); ++i) {
      const auto offset = static_cast<size_t>(logprobs.at("text_offset").as_array()[i].as_int64());
      EXPECT_TRUE(all.substr(offset).starts_with(text_of(logprobs.at("tokens").as_array()[i]))) << i;
    }
  }
}

TEST_F(CompletionsTest, ChoicesWaitForThePromptsLogprobs) {
  const std::vector<int32_t> prompt = text().encode_plain("Once");
  const int32_t other = text().encode_plain("The").back();
  FedStreams fed(context_, {{"echo", true}, {"logprobs", 0}, {"n", 2}, {"stream", true}}, {prompt});
  fed.push(token_event({.id = other, .logprob = -1, .top = {}}, FinishReason::kLength, 1));
  EXPECT_EQ(fed.exchange().sent(), "");
  OutputEvent first = token_event({.id = other, .logprob = -1, .top = {}}, FinishReason::kLength, 0);
  for (const int32_t id : prompt) first.prompt_logprobs.push_back({.id = id, .top = {}});
  fed.push(std::move(first));
  ASSERT_TRUE(fed.exchange().is_done());
  const auto events = events_of(fed.exchange().sent());
  EXPECT_EQ(choice(events[0]).at("text"), "Once");
  EXPECT_EQ(choice(events[0]).at("logprobs").at("tokens").as_array().size(), prompt.size());
}

TEST_F(CompletionsTest, PromptLogprobsOnRequest) {
  const std::vector<int32_t> prompt = text().encode_plain("Once upon");
  FedStreams fed(context_, {{"prompt_logprobs", 1}}, {prompt});
  OutputEvent event = token_event({.id = prompt[1], .logprob = -1, .top = {}}, FinishReason::kLength);
  for (const int32_t id : prompt) event.prompt_logprobs.push_back(sampled(id, -2.0f, 5, -0.25f));
  const json::object given = fed.push(std::move(event)).answer();
  const json::array& scores = choice(given).at("prompt_logprobs").as_array();
  ASSERT_EQ(scores.size(), prompt.size());
  EXPECT_EQ(scores[0], nullptr);
  EXPECT_EQ(scores[1].at("5").at("logprob"), -0.25);
  EXPECT_EQ(scores[1].at("5").at("rank"), 1);
  EXPECT_EQ(scores[1].at(std::to_string(prompt[1])).at("rank"), 2);
  EXPECT_EQ(choice(given).at("logprobs"), nullptr);
}

// Characters of several byte tokens arrive whole, with all their tokens' log probabilities.
TEST_F(CompletionsTest, CharactersAreNeverSplit) {
  const std::string wanted = "\xF0\x9F\x91\xA8 \xE4\xBD\xA0";
  const std::vector<int32_t> before = text().encode_plain("a ");
  const std::vector<int32_t> ids = text().tokenizer().encode("a " + wanted, {.add_special_tokens = true});
  FedStreams fed(context_, {{"logprobs", 0}, {"stream", true}}, {{before[0]}});
  for (size_t i = 1; i < ids.size(); ++i) {
    fed.push(token_event({.id = ids[i], .logprob = -1, .top = {}},
                         i + 1 == ids.size() ? FinishReason::kLength : FinishReason::kNone));
  }
  ASSERT_TRUE(fed.exchange().is_done());
  std::string joined;
  size_t num_tokens = 0;
  for (const json::object& event : events_of(fed.exchange().sent())) {
    joined += text_of(choice(event).at("text"));
    EXPECT_EQ(joined.find("\xEF\xBF\xBD"), std::string::npos);
    if (!choice(event).at("logprobs").is_null())
      num_tokens += choice(event).at("logprobs").at("tokens").as_array().size();
  }
  EXPECT_EQ(joined, "a " + wanted);
  EXPECT_EQ(num_tokens, ids.size() - 1);
}

// Tokens sampled before the engine learned of a stop string are neither shown nor counted, whatever the finishing event
// says.
TEST_F(CompletionsTest, NothingFollowsAStopString) {
  const std::vector<int32_t> ids = text().encode_plain("one two");
  FedStreams fed(context_, {{"stop", "one"}, {"logprobs", 0}}, {{ids[0]}});
  for (size_t i = 1; i < ids.size(); ++i) {
    OutputEvent event = token_event({.id = ids[i], .logprob = -1, .top = {}});
    event.num_cached_tokens = 1;
    fed.push(std::move(event));
  }
  EXPECT_TRUE(fed.stream().is_cancelled(0));
  EXPECT_FALSE(fed.exchange().is_done());
  OutputEvent end;
  end.finish = FinishReason::kCancelled;
  end.num_cached_tokens = 1;
  const json::object given = fed.push(std::move(end)).answer();
  EXPECT_EQ(choice(given).at("text"), "");
  EXPECT_EQ(choice(given).at("stop_reason"), "one");
  EXPECT_EQ(given.at("usage").at("prompt_tokens_details").at("cached_tokens"), 1);
  EXPECT_EQ(given.at("usage").at("completion_tokens").as_int64(),
            static_cast<int64_t>(choice(given).at("logprobs").at("tokens").as_array().size()))
      << "the stop string's own tokens keep their numbers";
}

TEST_F(CompletionsTest, EngineFailuresBecomeErrors) {
  const std::vector<int32_t> ids = text().encode_plain("one");
  struct Case {
    FinishReason reason;
    int status;
    const char* code;
    const char* should_retry;
  };
  for (const Case& expected :
       {Case{FinishReason::kTimeout, 408, "timeout", "false"},
        Case{FinishReason::kError, 500, "numeric_error", "false"}, Case{FinishReason::kAborted, 500, "step_failed", ""},
        Case{FinishReason::kConstraint, 400, "grammar_failed", ""},
        Case{FinishReason::kCancelled, 503, "draining", "true"}}) {
    for (const bool is_stream : {false, true}) {
      FedStreams fed(context_, {{"stream", is_stream}, {"n", 2}}, {ids});
      fed.push(token_event({.id = ids.back(), .top = {}}, FinishReason::kNone, 1));
      OutputEvent end;
      end.finish = expected.reason;
      fed.push(std::move(end));
      ASSERT_TRUE(fed.exchange().is_done());
      EXPECT_TRUE(fed.stream().is_cancelled(1)) << "the other choice goes with it";
      if (is_stream) {
        const auto events = events_of(fed.exchange().sent());
        EXPECT_EQ(events.back().at("error").at("code"), expected.code);
        for (const json::object& event : events) {
          EXPECT_TRUE(!event.contains("choices") || choice(event).at("finish_reason").is_null());
        }
      } else {
        EXPECT_EQ(fed.exchange().response().status, expected.status);
        EXPECT_EQ(fed.exchange().response().header("x-should-retry"), expected.should_retry) << expected.code;
        EXPECT_EQ(fed.answer().at("error").at("code"), expected.code);
      }
    }
  }
}

TEST_F(CompletionsTest, TimeoutsComeFromTheHeaderToo) {
  const auto exchange = std::make_shared<FakeExchange>(json::serialize(completion("a")));
  exchange->mutable_request().headers.emplace_back("x-request-timeout", "soon");
  run(kHandle, exchange);
  ASSERT_TRUE(exchange->is_done());
  EXPECT_EQ(exchange->response().status, 400);
  EXPECT_NE(exchange->response().body.find("x-request-timeout"), std::string::npos);
}

}  // namespace
}  // namespace quire::test
