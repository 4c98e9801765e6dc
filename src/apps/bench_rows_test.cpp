#include "apps/bench_rows.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace quire {
namespace {

class CompareRows : public testing::Test {
 protected:
  CompareRows() {
    std::string pattern = (std::filesystem::temp_directory_path() / "quire-rows-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~CompareRows() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::string rows(const std::string& name, const char* isa, double prefill, double decode) const {
    json::object a = bench_row("offline", "prefill 512", prefill, "tokens/s");
    json::object b = bench_row("offline", "decode 128", decode, "tokens/s");
    a["isa"] = b["isa"] = isa;
    return write(name, json::serialize(json::array{b, a}));
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(CompareRows, FindsTheSameMeasurementsInAnyOrder) {
  const std::string a = rows("a.json", "avx2", 100, 20);
  const std::string b = write("b.json", R"([{"bench":"offline","test":"prefill 512","value":250,"isa":"avx2"},
                                            {"bench":"offline","test":"prefill 64","value":1,"isa":"avx2"}])");
  const std::string text = compare_rows(a, b, {});
  EXPECT_NE(text.find("2.500"), std::string::npos) << text;
  EXPECT_EQ(text.find("decode"), std::string::npos) << text;
  EXPECT_EQ(text.find("prefill 64"), std::string::npos) << text;
}

TEST_F(CompareRows, ComparesAcrossWhatIsNamed) {
  const std::string a = rows("a.json", "avx2", 100, 20);
  const std::string b = rows("b.json", "avx512", 400, 20);
  EXPECT_THROW(compare_rows(a, b, {}), Error);
  const std::string text = compare_rows(a, b, {"isa"});
  EXPECT_NE(text.find("4.000"), std::string::npos) << text;
  EXPECT_NE(text.find("geometric mean"), std::string::npos) << text;
  EXPECT_NE(text.find("2.000"), std::string::npos) << text;  // of 4 and 1
}

TEST_F(CompareRows, RefusesOtherFiles) {
  const std::string good = rows("a.json", "avx2", 100, 20);
  for (const char* text : {"", "{}", "[1]", "[{}]", R"([{"bench":"offline","test":"x"}])"}) {
    EXPECT_THROW(compare_rows(good, write("bad.json", text), {}), Error) << text;
  }
  EXPECT_THROW(compare_rows(good, write("bad.json", R"([{"bench":1,"test":2,"value":"fast"}])"), {}), Error);
}

TEST(Median, IsTheMiddle) {
  EXPECT_EQ(median_of({3, 1, 2}), 2);
  EXPECT_EQ(median_of({7}), 7);
}

}  // namespace
}  // namespace quire
