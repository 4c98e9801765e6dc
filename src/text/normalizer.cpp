#include "text/normalizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/charsmap.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr int kMaxDepth = 16;

// Rewrites character by character; `rewrite(out, code, bytes)` appends what a character becomes.
template <typename Rewrite>
void rewrite_characters(NormalizedText& input, Rewrite rewrite) {
  std::string out;
  out.reserve(input.text.size());
  for_each_character(input.text, [&](char32_t code, size_t begin, size_t size) {
    rewrite(out, code, std::string_view(input.text).substr(begin, size));
    if (begin == 0 && out.empty()) input.at_start = false;
  });
  input.text = std::move(out);
}

template <typename Keep>
void keep_characters(NormalizedText& input, Keep keep) {
  rewrite_characters(input, [&](std::string& out, char32_t code, std::string_view bytes) {
    if (keep(code)) out += bytes;
  });
}

void lowercase(NormalizedText& input) {
  rewrite_characters(input, [](std::string& out, char32_t code, std::string_view) { append_lowercase(out, code); });
}

void strip(NormalizedText& input, bool left, bool right) {
  size_t begin = input.text.size(), end = 0;
  for_each_character(input.text, [&](char32_t code, size_t at, size_t size) {
    if (is_whitespace(code)) return;
    begin = std::min(begin, at);
    end = at + size;
  });
  if (!left) begin = 0;
  if (!right) end = input.text.size();
  if (begin > 0) input.at_start = false;
  input.text = begin < end ? input.text.substr(begin, end - begin) : std::string();
}

// The list of the "nmt" rules of the Hugging Face library and of sentencepiece.
void nmt(NormalizedText& input) {
  rewrite_characters(input, [](std::string& out, char32_t c, std::string_view bytes) {
    const bool dropped =
        (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    const bool space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                       c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    if (!dropped) out += space ? std::string_view(" ") : bytes;
  });
}

// The Hugging Face library looks up whole graphemes if they are short, else each character, and replaces all of it by
// the entry of the shortest key that it starts with.
void apply_precompiled(const Charsmap& map, NormalizedText& input) {
  constexpr size_t kMaxGrapheme = 6;
  const std::string_view text = input.text;
  std::string out;
  out.reserve(text.size());
  const auto flush = [&](size_t begin, size_t end) {
    const std::string_view grapheme = text.substr(begin, end - begin);
    if (grapheme.size() < kMaxGrapheme) {
      if (const auto match = map.find(grapheme, Charsmap::Prefer::kShortest)) return void(out += match->replacement);
    }
    for_each_character(grapheme, [&](char32_t, size_t at, size_t size) {
      const std::string_view character = grapheme.substr(at, size);
      const auto match = map.find(character, Charsmap::Prefer::kShortest);
      out += match ? match->replacement : character;
    });
  };
  size_t begin = 0;
  utf8proc_int32_t state = 0;
  char32_t previous = 0;
  for_each_character(text, [&](char32_t code, size_t at, size_t) {
    if (at > 0 && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                                   static_cast<utf8proc_int32_t>(code), &state)) {
      flush(begin, at);
      begin = at;
    }
    previous = code;
  });
  flush(begin, text.size());
  input.text = std::move(out);
}

std::string decode_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : text) {
    if (c == '=' || c == '\n') continue;
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) fail(ErrorCode::kCorrupt, "precompiled_charsmap is not base64");
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    num_bits += 6;
    if (num_bits >= 8) out.push_back(static_cast<char>(bits >> (num_bits -= 8)));
  }
  return out;
}

Normalizer parse_replace(const json::object& description) {
  const json::object* pattern = find_object(description, "pattern");
  if (pattern == nullptr) fail(ErrorCode::kCorrupt, "a Replace normaliser without \"pattern\"");
  const std::string content = get_string(description, "content");
  if (pattern->contains("String")) return make_replace_normalizer(get_string(*pattern, "String"), content);
  return [regex = TextRegex(get_string(*pattern, "Regex")), content](NormalizedText& input) {
    std::string out;
    size_t copied = 0;
    regex.for_each_match(input.text, [&](size_t begin, size_t end) {
      out.append(input.text, copied, begin - copied);
      out += content;
      copied = end;
    });
    out.append(input.text, copied);
    input.text = std::move(out);
  };
}

Normalizer parse_bert(const json::object& description) {
  BertNormalization options;
  options.clean_text = find_bool(description, "clean_text", true);
  options.handle_chinese_chars = find_bool(description, "handle_chinese_chars", true);
  options.lowercase = find_bool(description, "lowercase", true);
  options.strip_accents = find_bool(description, "strip_accents", options.lowercase);
  return make_bert_normalizer(options);
}

Normalizer parse_sequence(const json::object& description, int depth) {
  if (depth >= kMaxDepth) fail(ErrorCode::kCorrupt, "normalisers nested more than {} deep", kMaxDepth);
  std::vector<Normalizer> steps;
  if (const json::array* list = find_array(description, "normalizers")) {
    for (const json::value& step : *list) {
      if (!step.is_object()) fail(ErrorCode::kCorrupt, "\"normalizers\" should hold objects");
      steps.push_back(parse_normalizer(step.get_object(), depth + 1));
    }
  }
  return make_sequence_normalizer(std::move(steps));
}

bool is_chinese(char32_t c) {  // the ranges of the Hugging Face library, which differ from BERT's in the last but two
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_bert_control(char32_t code) { return code != '\t' && code != '\n' && code != '\r' && is_other_unicode8(code); }

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  if (from.empty()) return std::string(text);
  for (size_t at = 0;;) {
    const size_t found = text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += to;
    at = found + from.size();
  }
}

Normalizer make_replace_normalizer(std::string from, std::string to) {
  return [from = std::move(from), to = std::move(to)](NormalizedText& input) {
    input.text = replace_all(input.text, from, to);
  };
}

Normalizer make_prepend_normalizer(std::string prefix) {
  return [prefix = std::move(prefix)](NormalizedText& input) {
    if (!input.text.empty()) input.text.insert(0, prefix);
  };
}

Normalizer make_sequence_normalizer(std::vector<Normalizer> steps) {
  return [steps = std::move(steps)](NormalizedText& input) {
    for (const Normalizer& step : steps) step(input);
  };
}

Normalizer make_unicode_normalizer(UnicodeForm form) {
  return [form](NormalizedText& input) { input.text = normalize_unicode(input.text, form); };
}

Normalizer make_bert_normalizer(BertNormalization options) {
  return [options](NormalizedText& input) {
    if (options.clean_text) {
      rewrite_characters(input, [](std::string& out, char32_t code, std::string_view bytes) {
        if (code == 0 || code == kReplacementCharacter || is_bert_control(code)) return;
        out += is_whitespace(code) ? std::string_view(" ") : bytes;
      });
    }
    if (options.handle_chinese_chars) {
      rewrite_characters(input, [](std::string& out, char32_t code, std::string_view bytes) {
        const std::string_view around = is_chinese(code) ? " " : "";
        ((out += around) += bytes) += around;
      });
    }
    if (options.strip_accents) {
      input.text = normalize_unicode(input.text, UnicodeForm::kNfd);
      keep_characters(input, [](char32_t code) { return !is_nonspacing_mark_unicode8(code); });
    }
    if (options.lowercase) lowercase(input);
  };
}

Normalizer parse_normalizer(const json::object& description, int depth) {
  const std::string type = get_string(description, "type");
  if (type == "Sequence") return parse_sequence(description, depth);
  if (type == "NFC") return make_unicode_normalizer(UnicodeForm::kNfc);
  if (type == "NFD") return make_unicode_normalizer(UnicodeForm::kNfd);
  if (type == "NFKC") return make_unicode_normalizer(UnicodeForm::kNfkc);
  if (type == "NFKD") return make_unicode_normalizer(UnicodeForm::kNfkd);
  if (type == "Lowercase") return lowercase;
  if (type == "Nmt") return nmt;
  if (type == "BertNormalizer") return parse_bert(description);
  if (type == "Replace") return parse_replace(description);
  if (type == "Prepend") return make_prepend_normalizer(get_string(description, "prepend"));
  if (type == "Strip") {
    const bool left = find_bool(description, "strip_left", true);
    const bool right = find_bool(description, "strip_right", true);
    return [left, right](NormalizedText& input) { strip(input, left, right); };
  }
  if (type == "StripAccents") {
    return [](NormalizedText& input) { keep_characters(input, [](char32_t code) { return !is_mark_unicode9(code); }); };
  }
  if (type == "Precompiled") {
    const Charsmap map(decode_base64(get_string(description, "precompiled_charsmap")));
    return [map](NormalizedText& input) { apply_precompiled(map, input); };
  }
  if (type == "ByteLevel") {
    return [](NormalizedText& input) {
      std::string out;
      append_byte_level(out, input.text);
      input.text = std::move(out);
    };
  }
  fail(ErrorCode::kUnsupported,
       "normaliser \"{}\" is unknown; known are Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Nmt, BertNormalizer, "
       "Replace, Prepend, Strip, StripAccents, Precompiled, ByteLevel",
       printable(type));
}

}  // namespace quire
