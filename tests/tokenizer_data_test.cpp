// Published vocabularies against the ids that their authors' programs give. Needs QUIRE_TEST_DATA.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/mapped_file.h"
#include "tensor/files/gguf.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 26;

class TokenizerData : public testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("QUIRE_TEST_DATA");
    if (root == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA does not name the folder of test data";
    root_ = std::filesystem::path(root);
    data_ = root_ / "tokenizers";
  }

  static std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    EXPECT_TRUE(file) << path;
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // Texts separated by marker lines, and a line of ids for each.
  void expect_cases(const Tokenizer& tokenizer, const std::string& cases) {
    constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
    const std::string texts = read(data_ / (cases + ".inp"));
    std::istringstream lines(read(data_ / (cases + ".out")));
    size_t num_cases = 0;
    for (size_t at = 0;; ++num_cases) {
      const size_t end = std::min(texts.find(kSeparator, at), texts.size());
      const std::string text = texts.substr(at, end - at);
      std::string line;
      std::getline(lines, line);
      std::istringstream numbers(line);
      const std::vector<int32_t> expected{std::istream_iterator<int32_t>(numbers), {}};
      EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = false}), expected) << text;
      if (end == texts.size()) break;
      at = end + kSeparator.size();
    }
    EXPECT_GT(num_cases, 20u);
  }

  std::filesystem::path root_, data_;
};

// The vocabulary of a GGUF file's metadata, as an engine loads it.
GgufVocabulary read_vocabulary(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  const GgufFile gguf = GgufFile::from_bytes(file.bytes(), path.string());
  const auto key = [](std::string_view name) { return "tokenizer.ggml." + std::string(name); };
  const auto id = [&](std::string_view name) -> std::optional<int32_t> {
    if (!gguf.has(key(name))) return std::nullopt;
    return static_cast<int32_t>(gguf.get_int(key(name)));
  };
  GgufVocabulary vocabulary;
  vocabulary.architecture = gguf.get_string("general.architecture");
  vocabulary.name = gguf.get_string("general.name");
  vocabulary.model = gguf.get_string(key("model"));
  vocabulary.pre = gguf.find_string(key("pre"), "");
  for (const auto token : gguf.get_strings(key("tokens"))) vocabulary.tokens.emplace_back(token);
  if (gguf.has(key("merges"))) {
    for (const auto merge : gguf.get_strings(key("merges"))) vocabulary.merges.emplace_back(merge);
  }
  if (gguf.has(key("scores"))) vocabulary.scores = gguf.get_floats(key("scores"));
  if (gguf.has(key("token_type"))) {
    for (const int64_t type : gguf.get_ints(key("token_type"))) vocabulary.types.push_back(static_cast<int32_t>(type));
  }
  vocabulary.bos_id = id("bos_token_id");
  vocabulary.eos_id = id("eos_token_id");
  vocabulary.unk_id = id("unknown_token_id");
  vocabulary.sep_id = id("seperator_token_id");  // the format's own spelling
  vocabulary.cls_id = id("cls_token_id");
  return vocabulary;
}

TEST_F(TokenizerData, GgufVocabularies) {
  for (const std::string name : {"gpt-2", "llama-spm", "bert-bge", "phi-3"}) {
    SCOPED_TRACE(name);
    const std::string file = "ggml-vocab-" + name + ".gguf";
    expect_cases(load_gguf_vocabulary(read_vocabulary(data_ / file)), file);
  }
}

TEST_F(TokenizerData, Phi3sTokensTakeTheLineBreakBehindThem) {
  const Tokenizer tokenizer = load_gguf_vocabulary(read_vocabulary(data_ / "ggml-vocab-phi-3.gguf"));
  EXPECT_EQ(tokenizer.encode("<s><|user|>\nHello there<|end|>\n<|assistant|>\n", {.add_special_tokens = false}),
            (std::vector<int32_t>{1, 32010, 15043, 727, 32007, 32001}));
}

TEST_F(TokenizerData, BertPutsItsSpecialTokensAround) {
  const Tokenizer tokenizer = load_gguf_vocabulary(read_vocabulary(data_ / "ggml-vocab-bert-bge.gguf"));
  EXPECT_EQ(tokenizer.encode("Hello"), (std::vector<int32_t>{101, 7592, 102}));
}

TEST_F(TokenizerData, HuggingFaceFiles) {
  expect_cases(load_tokenizer_json(read_json_file(data_ / "hf/phi-3/tokenizer.json", kMaxFileBytes), nullptr),
               "ggml-vocab-phi-3.gguf");
  const Tokenizer roberta =
      load_tokenizer_json(read_json_file(data_ / "hf/roberta-base/tokenizer.json", kMaxFileBytes), nullptr);
  EXPECT_EQ(roberta.encode("Hello world <mask>"), (std::vector<int32_t>{0, 31414, 232, 50264, 2}));
}

TEST_F(TokenizerData, VocabularyAndMergesWithoutTokenizerJson) {
  const json::value config = read_json_file(data_ / "qwen2/tokenizer_config.json", kMaxFileBytes);
  const Tokenizer tokenizer = load_vocab_merges(read_json_file(data_ / "qwen2/vocab.json", kMaxFileBytes),
                                                read(data_ / "qwen2/merges.txt"), &config);
  expect_cases(tokenizer, "qwen2/ggml-vocab-qwen2.gguf");
  EXPECT_EQ(tokenizer.encode("<|im_start|>"), std::vector<int32_t>{151644});
  EXPECT_EQ(tokenizer.eog_ids(), (std::vector<int32_t>{151643, 151645}));
}

TEST_F(TokenizerData, SentencePieceModels) {
  const auto load = [&](const std::filesystem::path& path) {
    return load_sentencepiece(MappedFile::open(path).bytes(), nullptr);
  };
  expect_cases(load(data_ / "llama_tokenizer.model"), "ggml-vocab-llama-spm.gguf");
  const Tokenizer mistral = load(data_ / "mistral_instruct_tokenizer_240216.model.v2");
  EXPECT_EQ(mistral.decode(mistral.encode("Grüße, 世界 \U0001F999!")), "Grüße, 世界 \U0001F999!");
  // 105 single characters and no bytes to fall back to: a run of others is one unknown token.
  const Tokenizer characters = load(root_ / "models/babyllama105/tok105.model");
  const auto ids = characters.encode("a\u4E16\u754Cb", {.add_special_tokens = false});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), characters.unk_id().value()), 1);
}

}  // namespace
}  // namespace quire
