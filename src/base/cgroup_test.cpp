#include "base/cgroup.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kNoLimit = CgroupLimits{}.available_bytes;
constexpr double kAllProcessors = CgroupLimits{}.processors;

// A tree of files as the kernel shows them.
class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "quire-cgroup-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  uint64_t bytes(const std::string& proc_self_cgroup) {
    return read_cgroup_limits(root_, proc_self_cgroup).available_bytes;
  }
  double processors(const std::string& proc_self_cgroup) {
    return read_cgroup_limits(root_, proc_self_cgroup).processors;
  }
  fs::path root_;
};

TEST_F(CgroupTest, MemoryOfTheTightestOfAllParents) {
  EXPECT_EQ(bytes("0::/a/b\n"), kNoLimit);
  write("a/memory.max", "1000\n");
  write("a/memory.current", "600\n");
  write("a/memory.stat", "anon 300\ninactive_file 250\n");
  write("a/b/memory.max", "max\n");
  write("a/b/memory.current", "100\n");
  EXPECT_EQ(bytes("0::/a/b\n"), 650u);
  write("a/b/memory.max", "400\n");
  EXPECT_EQ(bytes("0::/a/b\n"), 300u);
  EXPECT_EQ(bytes("0::/\n"), kNoLimit);
}

TEST_F(CgroupTest, ProcessorsOfTheTightestOfAllParents) {
  EXPECT_EQ(processors("0::/a/b/c\n"), kAllProcessors);
  write("a/cpu.max", "400000 100000\n");
  write("a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(processors("0::/a/b/c\n"), 4.0) << "a quota on a group holds for those below";
  EXPECT_EQ(processors("0::/other\n"), kAllProcessors);
  write("a/b/c/cpu.max", "150000 100000\n");
  EXPECT_EQ(processors("0::/a/b/c\n"), 1.5);
  write("cpu.max", "50000 100000\n");
  EXPECT_EQ(processors("0::/a/b/c\n"), 0.5) << "of a container, the root is a group with limits";
}

TEST_F(CgroupTest, Version1) {
  write("memory/x/memory.limit_in_bytes", "500\n");
  write("memory/x/memory.usage_in_bytes", "700\n");
  write("cpu/x/cpu.cfs_quota_us", "200000\n");
  write("cpu/x/cpu.cfs_period_us", "100000\n");
  write("cpu/x/y/cpu.cfs_quota_us", "-1\n");
  write("cpu/x/y/cpu.cfs_period_us", "100000\n");
  const std::string own = "5:cpu,cpuacct:/x/y\n4:memory:/x\n0::/\n";
  EXPECT_EQ(bytes(own), 0u);
  EXPECT_EQ(processors(own), 2.0);
  EXPECT_EQ(processors("5:cpuacct:/x/y\n3:cpuset:/x/y\n"), kAllProcessors) << "other controllers have no quota";
}

TEST_F(CgroupTest, Version1UnderTheNameOfItsList) {
  write("cpu,cpuacct/x/cpu.cfs_quota_us", "300000\n");
  write("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(processors("5:cpu,cpuacct:/x\n"), 3.0);
}

TEST_F(CgroupTest, AContainersRootIsItsOwnGroup) {
  write("memory/memory.limit_in_bytes", "900\n");
  write("cpu/cpu.cfs_quota_us", "100000\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  const std::string as_the_host_says = "5:cpu,cpuacct:/docker/0f\n4:memory:/docker/0f\n";
  EXPECT_EQ(bytes(as_the_host_says), 900u);
  EXPECT_EQ(processors(as_the_host_says), 1.0);
  write("memory/above/memory.limit_in_bytes", "5\n");
  EXPECT_EQ(bytes("4:memory:/../above\n"), 900u) << "what lies above the mount is not under it";
}

TEST_F(CgroupTest, WhatMakesNoSenseIsNoLimit) {
  for (const char* text :
       {"", "\n", "max", "max max\n", "0 0\n", "100000\n", "-100000 100000\n", "1 -1\n", "nan nan\n", "x y"}) {
    write("a/cpu.max", text);
    EXPECT_EQ(processors("0::/a\n"), kAllProcessors) << text;
  }
  for (const char* text : {"", "\n", "max\n", "lots", "99999999999999999999999999\n"}) {
    write("a/memory.max", text);
    EXPECT_EQ(bytes("0::/a\n"), kNoLimit) << text;
  }
  for (const char* own : {"", "\n", "nonsense\n:\n0::\n", "0:", "::", "a:b"}) {
    EXPECT_EQ(bytes(own), kNoLimit) << own;
    EXPECT_EQ(processors(own), kAllProcessors) << own;
  }
}

TEST(Available, ReportsMemoryAndProcessors) {
  EXPECT_GT(available_memory(), 1u << 20);
  EXPECT_GE(available_processors(), 1);
  EXPECT_LE(available_processors(), 1 << 20);
}

}  // namespace
}  // namespace quire
