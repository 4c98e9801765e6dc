// Every tenth of maskbench's schemas, found in the wild, with instances that are valid and others: whether the grammar
// lets them through, properties in any order. Runs where QUIRE_TEST_DATA has it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "grammar/json_schema.h"
#include "grammar/recognizer.h"

namespace quire {
namespace {

constexpr size_t kStride = 10;
// Each has a keyword that docs/guided-schemas.md says is refused, or is beyond the limits.
constexpr std::array<std::string_view, 5> kRefused = {"Github_hard---o21819", "Handwritten---allany17",
                                                      "Handwritten---num5", "Handwritten---pnmp4",
                                                      "JsonSchemaStore---grunt-task"};

// As Python's json.dumps writes it.
std::string text_of(const json::value& value) {
  std::string text;
  if (const json::array* const array = value.if_array()) {
    for (const json::value& item : *array) text += (text.empty() ? "" : ", ") + text_of(item);
    return "[" + text + "]";
  }
  if (const json::object* const object = value.if_object()) {
    for (const auto& member : *object) {
      text += (text.empty() ? "" : ", ") + json::serialize(json::value(member.key())) + ": " + text_of(member.value());
    }
    return "{" + text + "}";
  }
  if (!value.is_double()) return json::serialize(value);
  text = fmt::format("{}", value.get_double());
  return text.find_first_of(".e") == text.npos ? text + ".0" : text;
}

bool reads(const Grammar& grammar, const std::string& text) {
  Recognizer recognizer(grammar, {.max_work = 2'000'000'000}, [](const std::string&) { return false; });
  Recognizer::SetId set = recognizer.start();
  for (const char c : text) set = recognizer.next(set, static_cast<uint8_t>(c));
  return recognizer.is_accepting(set);
}

void unpack(const std::filesystem::path& archive, const std::filesystem::path& folder) {
  std::string words[] = {"tar", "-xJf", archive.string(), "-C", folder.string()};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t process = 0;
  ASSERT_EQ(::posix_spawnp(&process, "tar", nullptr, nullptr, arguments.data(), environ), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(process, &status, 0), process);
  ASSERT_EQ(status, 0) << "tar cannot unpack " << archive;
}

template <size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

struct Counts {
  int num_schemas = 0, num_valid = 0, num_invalid = 0;
};

void check(const std::filesystem::path& path, Counts& counts) {
  const std::string name = path.stem().string();
  const json::value file = read_json_file(path, 64 << 20);
  const json::array& tests = file.at("tests").as_array();
  ++counts.num_schemas;
  std::shared_ptr<const Grammar> grammar;
  try {
    GrammarBuilder builder({.max_seconds = 600});  // what is counted decides, not the machine's load
    grammar = builder.build(json_schema(builder, file.at("schema"), {.any_order = true}));
  } catch (const Error& error) {
    const bool has_valid = std::ranges::any_of(tests, [](const json::value& one) { return one.at("valid").as_bool(); });
    EXPECT_TRUE(!has_valid || contains(kRefused, name)) << name << ": " << error.what();
    return;
  }
  EXPECT_FALSE(contains(kRefused, name)) << name;
  for (const json::value& test : tests) {
    const bool is_valid = test.at("valid").as_bool();
    ++(is_valid ? counts.num_valid : counts.num_invalid);
    EXPECT_EQ(reads(*grammar, text_of(test.at("data"))), is_valid) << name << ": " << test.at("description");
  }
}

TEST(Maskbench, EveryVerdictHolds) {
  const char* const data = std::getenv("QUIRE_TEST_DATA");
  const std::filesystem::path archive =
      std::filesystem::path(data == nullptr ? "" : data) / "schemas/maskbench_shared.tar.xz";
  if (!std::filesystem::exists(archive)) GTEST_SKIP() << "QUIRE_TEST_DATA has no schemas/maskbench_shared.tar.xz";
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / fmt::format("quire-maskbench-{}", ::getpid());
  std::filesystem::create_directory(folder);
  unpack(archive, folder);
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::ranges::sort(paths);
  Counts counts;
  for (size_t i = 0; i < paths.size(); i += kStride) check(paths[i], counts);
  std::filesystem::remove_all(folder);
  EXPECT_GT(counts.num_schemas, 250);
  EXPECT_GT(counts.num_valid, 200);
  EXPECT_GT(counts.num_invalid, 300);
}

}  // namespace
}  // namespace quire
