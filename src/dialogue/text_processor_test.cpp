#include "dialogue/text_processor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

const std::filesystem::path kTokenizers = std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/tokenizers";
const json::array kMessages = {json::object{{"role", "user"}, {"content", "hi"}}};

// A model directory whose text side the test writes; its tokenizer has "<unk>" 0, "<s>" 1, "</s>" 2.
class Directory {
 public:
  explicit Directory(const json::object& config = {}) : files_(config, {{"unused", "F32", {1}}}) {
    std::filesystem::copy_file(kTokenizers / "llama2.json", files_.path() / "tokenizer.json");
  }
  void write(const char* name, std::string_view text) { std::ofstream(files_.path() / name) << text; }
  void remove(const char* name) { std::filesystem::remove(files_.path() / name); }
  std::unique_ptr<TextProcessor> load() const { return TextProcessor::load(*Checkpoint::open(files_.path())); }

 private:
  test::TinyDirectory files_;
};

// The message of the Error that `action` throws, whose code is checked.
template <typename Action>
std::string error_of(ErrorCode code, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(TextProcessor, EndsGenerationWhereAnyFileSaysSo) {
  Directory directory({{"eos_token_id", 2}});
  directory.write("tokenizer_config.json", R"({"eos_token": "</s>"})");
  directory.write("generation_config.json", R"({"eos_token_id": [2, 7, 1000000, -1]})");
  std::vector<int32_t> ids = directory.load()->eog_ids();
  std::ranges::sort(ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{2, 7}));  // each once, and none that the vocabulary lacks
}

TEST(TextProcessor, ReadsTheTemplateFromItsOwnFileFirst) {
  Directory directory;
  EXPECT_FALSE(directory.load()->has_chat_template());
  directory.write("tokenizer_config.json", R"({"chat_template": "configuration"})");
  EXPECT_EQ(directory.load()->chat_template_source(), "configuration");
  directory.write("chat_template.jinja", "file");
  EXPECT_EQ(directory.load()->render_chat(kMessages, true), "file");
}

TEST(TextProcessor, GivesTemplatesItsSpecialTokensAndTheCallersVariables) {
  Directory directory;
  directory.write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})");
  directory.write("chat_template.jinja",
                  "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
                  "{% if add_generation_prompt %}>{% endif %}{{ mood }}");
  const auto text = directory.load();
  EXPECT_EQ(text->render_chat(kMessages, true), "<s>user: hi</s>>");
  EXPECT_EQ(text->render_chat(kMessages, false, {{"mood", "!"}, {"eos_token", "|"}}), "<s>user: hi|!");
}

TEST(TextProcessor, RendersEveryTemplateTheSameWay) {
  // Shows typed parts only: a plain string has to become one part.
  const std::string parts =
      "{{ bos_token }}{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}{{ mood }}";
  Directory directory;
  directory.write("tokenizer_config.json", R"({"bos_token": "<s>"})");
  directory.write("chat_template.jinja", parts);
  const auto own = directory.load();
  directory.write("chat_template.jinja", "another");
  const auto other = directory.load();
  const json::object variables = {{"mood", "!"}};
  EXPECT_EQ(own->render_chat(kMessages, true, variables), "<s>hi!");
  EXPECT_EQ(other->render_chat(ChatTemplate::parse(parts), kMessages, true, variables), "<s>hi!");
}

TEST(TextProcessor, ABrokenTemplateDoesNotPreventLoading) {
  Directory directory;
  directory.write("chat_template.jinja", "{% if %}");
  const auto text = directory.load();
  EXPECT_FALSE(text->has_chat_template());
  EXPECT_FALSE(text->chat_template_problem().empty());
  EXPECT_NE(error_of(ErrorCode::kUnsupported, [&] { text->render_chat(kMessages, true); })
                .find(text->chat_template_problem()),
            std::string::npos);
  EXPECT_EQ(text->tokenizer().decode(text->encode_plain("hello there")), "hello there");
}

TEST(TextProcessor, ReportsTheTemplatesException) {
  Directory directory;
  directory.write("chat_template.jinja", "{{ raise_exception('roles must alternate') }}");
  const auto text = directory.load();
  EXPECT_NE(error_of(ErrorCode::kInvalidArgument, [&] { text->render_chat(kMessages, true); }).find("alternate"),
            std::string::npos);
}

TEST(TextProcessor, ReadsSpecialTokensInRenderedTextOnly) {
  const auto text = Directory().load();
  const int32_t bos = 1;
  EXPECT_EQ(text->encode_rendered("<s>hi").front(), bos);
  const std::vector<int32_t> rendered = text->encode_rendered("hi");
  EXPECT_EQ(std::ranges::count(rendered, bos), 0);
  const std::vector<int32_t> plain = text->encode_plain("hi <s>");
  EXPECT_EQ(plain.front(), bos);  // the tokenizer's own
  EXPECT_EQ(std::ranges::count(plain, bos), 1);
}

TEST(TextProcessor, NamesTheMissingTokenizerFiles) {
  Directory directory;
  directory.remove("tokenizer.json");
  const std::string message = error_of(ErrorCode::kNotFound, [&] { directory.load(); });
  for (const char* file : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
    EXPECT_NE(message.find(file), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace quire
