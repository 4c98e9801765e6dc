// The stages that decoders are composed of, each after the component of the Hugging Face library with its name.
#pragma once

#include "text/decoder.h"

namespace quire {

MakeStage byte_level_stage();     // characters of GPT-2's alphabet -> bytes, then UTF-8 repaired over the whole stream
MakeStage byte_fallback_stage();  // "<0xE2>" ... -> characters; a byte of no character is one U+FFFD
MakeStage utf8_stage();           // any bytes -> UTF-8
MakeStage join_stage(std::string separator);
MakeStage metaspace_stage(std::string replacement, bool strip_first);
MakeStage sentencepiece_space_stage(StripFirst strip_first);
MakeStage wordpiece_stage(std::string prefix, bool cleanup);
MakeStage bpe_suffix_stage(std::string suffix);
MakeStage ctc_stage(std::string pad, std::string delimiter, bool cleanup);
// `fused`: the stage sees one text in parts instead of tokens.
MakeStage strip_stage(std::string character, size_t start, size_t stop, bool fused);
MakeStage replace_stage(std::string from, std::string to, bool fused);
MakeStage replace_matches_stage(std::string_view expression, std::string to, bool fused);

}  // namespace quire
