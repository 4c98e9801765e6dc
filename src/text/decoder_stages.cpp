#include "text/decoder_stages.h"

#include <optional>

#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace quire {
namespace {

// A stateless stage.
class MapStage : public DecoderStage {
 public:
  explicit MapStage(std::function<std::string(std::string)> map) : map_(std::move(map)) {}
  void push(std::string text, const TextSink& next) override { next(map_(std::move(text))); }

 private:
  std::function<std::string(std::string)> map_;
};

// A stage that treats the first token differently.
class IndexedStage : public DecoderStage {
 public:
  explicit IndexedStage(std::function<std::string(std::string, bool)> map) : map_(std::move(map)) {}
  void push(std::string text, const TextSink& next) override {
    const bool first = std::exchange(first_, false);
    next(map_(std::move(text), first));
  }

 private:
  std::function<std::string(std::string, bool)> map_;
  bool first_ = true;
};

class Utf8Stage : public DecoderStage {
 public:
  void push(std::string text, const TextSink& next) override { next(stream_.push(text)); }
  void finish(const TextSink& next) override { next(stream_.finish()); }

 private:
  Utf8Stream stream_;
};

class ByteFallbackStage : public DecoderStage {
 public:
  void push(std::string text, const TextSink& next) override {
    if (const auto byte = parse_byte_piece(text)) {
      const char value = static_cast<char>(*byte);
      if (std::string ready = stream_.push({&value, 1}); !ready.empty()) next(std::move(ready));
      return;
    }
    finish(next);
    next(std::move(text));
  }
  void finish(const TextSink& next) override {
    if (!stream_.empty()) next(stream_.finish());
  }

 private:
  Utf8Stream stream_{Utf8Stream::Replacement::kPerByte};
};

// Sentencepiece drops leading spaces until it has written something or has dropped one that counts.
class SentencePieceSpaceStage : public DecoderStage {
 public:
  explicit SentencePieceSpaceStage(StripFirst strip) : strip_(strip) {}
  void push(std::string text, const TextSink& next) override {
    if (strip_ != StripFirst::kNo && text.starts_with(kMetaspace)) {
      text.erase(0, kMetaspace.size());
      if (strip_ == StripFirst::kOne) strip_ = StripFirst::kNo;
    }
    if (!text.empty()) strip_ = StripFirst::kNo;
    next(replace_all(text, kMetaspace, " "));
  }

 private:
  StripFirst strip_;
};

// Holds the last token back: only its suffix is removed without adding a space.
class BpeSuffixStage : public DecoderStage {
 public:
  explicit BpeSuffixStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void push(std::string text, const TextSink& next) override {
    if (held_) next(replace_all(*held_, suffix_, " "));
    held_ = std::move(text);
  }
  void finish(const TextSink& next) override {
    if (held_) next(replace_all(*held_, suffix_, ""));
  }

 private:
  std::string suffix_;
  std::optional<std::string> held_;
};

// English contractions and punctuation lose the space in front of them.
std::string clean_up(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  if (text.find(' ') == std::string::npos) return text;
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

class CtcStage : public DecoderStage {
 public:
  CtcStage(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void push(std::string text, const TextSink& next) override {
    if (last_ == text) return;
    last_ = text;
    text = replace_all(text, pad_, "");
    if (cleanup_) text = replace_all(clean_up(std::move(text)), delimiter_, " ");
    if (!text.empty()) next(std::move(text));
  }

 private:
  std::string pad_, delimiter_;
  bool cleanup_;
  std::optional<std::string> last_;
};

std::string strip_token(std::string text, const std::string& character, size_t start, size_t stop) {
  size_t begin = 0;
  for (size_t i = 0; i < start && text.compare(begin, character.size(), character) == 0; ++i) begin += character.size();
  size_t end = text.size();
  for (size_t i = 0; i < stop && end >= begin + character.size(); ++i) {
    if (text.compare(end - character.size(), character.size(), character) != 0) break;
    end -= character.size();
  }
  return text.substr(begin, end - begin);
}

// Strips the whole text: up to `start` characters in front, up to `stop` held back until more text follows them.
class StripTextStage : public DecoderStage {
 public:
  StripTextStage(std::string character, size_t start, size_t stop)
      : character_(std::move(character)), start_(start), stop_(stop) {}
  void push(std::string text, const TextSink& next) override {
    text.insert(0, held_);
    held_.clear();
    while (start_ > 0 && !text.empty()) {
      if (text.compare(0, character_.size(), character_) != 0) start_ = 0;
      if (start_ == 0) break;
      text.erase(0, character_.size());
      --start_;
    }
    size_t end = text.size();
    for (size_t i = 0; i < stop_ && end >= character_.size(); ++i) {
      if (text.compare(end - character_.size(), character_.size(), character_) != 0) break;
      end -= character_.size();
    }
    held_ = text.substr(end);
    text.resize(end);
    if (!text.empty()) next(std::move(text));
  }

 private:
  std::string character_;
  size_t start_, stop_;
  std::string held_;  // dropped when the stream ends
};

// Replaces in the whole text: holds back an end that may be the beginning of a match.
class ReplaceTextStage : public DecoderStage {
 public:
  ReplaceTextStage(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void push(std::string text, const TextSink& next) override {
    held_ += text;
    std::string out;
    size_t at = 0;
    for (size_t found = held_.find(from_); found != std::string::npos; found = held_.find(from_, at)) {
      out.append(held_, at, found - at) += to_;
      at = found + from_.size();
    }
    size_t keep = std::min(held_.size() - at, from_.size() - 1);
    while (keep > 0 && held_.compare(held_.size() - keep, keep, from_, 0, keep) != 0) --keep;
    out.append(held_, at, held_.size() - keep - at);
    held_.erase(0, held_.size() - keep);
    if (!out.empty()) next(std::move(out));
  }
  void finish(const TextSink& next) override {
    if (!held_.empty()) next(std::move(held_));
  }

 private:
  std::string from_, to_, held_;
};

// An expression over the whole text can be applied only when all of it has arrived.
class CollectStage : public DecoderStage {
 public:
  explicit CollectStage(std::function<std::string(std::string)> map) : map_(std::move(map)) {}
  void push(std::string text, const TextSink&) override { all_ += text; }
  void finish(const TextSink& next) override { next(map_(std::move(all_))); }

 private:
  std::function<std::string(std::string)> map_;
  std::string all_;
};

MakeStage map_stage(std::function<std::string(std::string)> map) {
  return [map = std::move(map)] { return std::make_unique<MapStage>(map); };
}

MakeStage indexed_stage(std::function<std::string(std::string, bool)> map) {
  return [map = std::move(map)] { return std::make_unique<IndexedStage>(map); };
}

}  // namespace

MakeStage utf8_stage() {
  return [] { return std::make_unique<Utf8Stage>(); };
}

MakeStage byte_level_stage() {
  return map_stage([](std::string token) { return byte_level_decode(token); });
}

MakeStage byte_fallback_stage() {
  return [] { return std::make_unique<ByteFallbackStage>(); };
}

MakeStage join_stage(std::string separator) {
  return indexed_stage(
      [separator = std::move(separator)](std::string token, bool first) { return first ? token : separator + token; });
}

MakeStage metaspace_stage(std::string replacement, bool strip_first) {
  return indexed_stage(
      [=](std::string token, bool first) { return replace_all(token, replacement, first && strip_first ? "" : " "); });
}

MakeStage sentencepiece_space_stage(StripFirst strip_first) {
  return [strip_first] { return std::make_unique<SentencePieceSpaceStage>(strip_first); };
}

MakeStage wordpiece_stage(std::string prefix, bool cleanup) {
  return indexed_stage([=](std::string token, bool first) {
    if (!first) token = token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
    return cleanup ? clean_up(std::move(token)) : token;
  });
}

MakeStage bpe_suffix_stage(std::string suffix) {
  return [suffix = std::move(suffix)] { return std::make_unique<BpeSuffixStage>(suffix); };
}

MakeStage ctc_stage(std::string pad, std::string delimiter, bool cleanup) {
  return [=] { return std::make_unique<CtcStage>(pad, delimiter, cleanup); };
}

MakeStage strip_stage(std::string character, size_t start, size_t stop, bool fused) {
  if (fused) return [=] { return std::make_unique<StripTextStage>(character, start, stop); };
  return map_stage([=](std::string token) { return strip_token(std::move(token), character, start, stop); });
}

MakeStage replace_stage(std::string from, std::string to, bool fused) {
  if (fused && !from.empty()) return [=] { return std::make_unique<ReplaceTextStage>(from, to); };
  return map_stage([=](std::string token) { return replace_all(token, from, to); });
}

MakeStage replace_matches_stage(std::string_view expression, std::string to, bool fused) {
  const auto replace = [regex = TextRegex(expression), to = std::move(to)](std::string text) {
    std::string out;
    size_t copied = 0;
    regex.for_each_match(text, [&](size_t begin, size_t end) {
      out.append(text, copied, begin - copied) += to;
      copied = end;
    });
    return out.append(text, copied);
  };
  if (fused) return [replace] { return std::make_unique<CollectStage>(replace); };
  return map_stage(replace);
}

}  // namespace quire
