#include "base/cpu_topology.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/thread_placement.h"
#include "base/thread_pool.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr int kNoSuchProcessor = 4095;

ProcessorList range(int first, int last) {
  ProcessorList list(static_cast<size_t>(last - first + 1));
  std::iota(list.begin(), list.end(), first);
  return list;
}

// A tree of files as the kernel shows them.
class CpuTopologyTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "quire-cpus-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << '\n';
  }
  // Two sockets of two memory nodes each, two cores a node. Processors 0 to 7 are one of each core, 8 to 15 their
  // siblings.
  void make_server() {
    write("cpu/online", "0-15");
    for (int id = 0; id < 16; ++id) {
      const int core = id % 8;
      write("cpu/cpu" + std::to_string(id) + "/topology/core_cpus_list",
            std::to_string(core) + "," + std::to_string(core + 8));
    }
    for (int node = 0; node < 4; ++node) {
      const int first = 2 * node;
      write("node/node" + std::to_string(node) + "/cpulist",
            format_processor_list({first, first + 1, first + 8, first + 9}));
    }
    write("node/possible", "0-3");
    write("node/node4/cpulist", "");  // memory without processors
  }
  std::vector<Processor> read(const ProcessorList& allowed) const { return read_processors(root_, allowed); }
  std::string places(std::string_view choice, int num_threads, const ProcessorList& allowed) const {
    return describe_places(place_threads(choice, num_threads, read(allowed)));
  }

  fs::path root_;
};

TEST_F(CpuTopologyTest, FindsCoresAndNodes) {
  make_server();
  const std::vector<Processor> all = read(range(0, 15));
  ASSERT_EQ(all.size(), 16u);
  for (int id = 0; id < 16; ++id) {
    const Processor& processor = all[static_cast<size_t>(id)];
    EXPECT_EQ(processor.id, id);
    EXPECT_EQ(processor.core, id % 8);
    EXPECT_EQ(processor.node, id % 8 / 2);
  }
}

TEST_F(CpuTopologyTest, LeavesOutWhatIsOfflineOrNotAllowed) {
  make_server();
  write("cpu/online", "0-6,8-15");
  const std::vector<Processor> some = read({5, 6, 7, 12});  // of a cgroup's cpuset
  ASSERT_EQ(some.size(), 3u);
  EXPECT_EQ(some[0].id, 5);
  EXPECT_EQ(some[1].id, 6);
  EXPECT_EQ(some[2].id, 12);
  EXPECT_EQ(some[2].core, 4) << "its sibling is not allowed";
}

TEST_F(CpuTopologyTest, WhatTheSystemDoesNotSayIsOneNodeOfCores) {
  for (const char* text : {"", "nonsense", "3-1", "-", "0-99999999999", "7,7"}) {
    write("cpu/online", text);
    write("node/node1/cpulist", text);
    write("node/nodeX/cpulist", "0-1");
    write("cpu/cpu0/topology/core_cpus_list", text);
    const std::vector<Processor> processors = read({0, 1});
    ASSERT_EQ(processors.size(), 2u) << text;
    EXPECT_EQ(processors[1].core, 1) << text;
    EXPECT_EQ(processors[1].node, 0) << text;
  }
  write("cpu/cpu1/topology/thread_siblings_list", "0-1");  // of older systems
  EXPECT_EQ(read({0, 1})[1].core, 0);
}

TEST_F(CpuTopologyTest, AutoKeepsThreadsWithinNodes) {
  make_server();
  EXPECT_EQ(places("auto", 16, range(0, 15)), "0-1,8-9 x 4, 2-3,10-11 x 4, 4-5,12-13 x 4, 6-7,14-15 x 4");
  EXPECT_EQ(places("auto", 6, range(0, 15)), "0-1,8-9 x 2, 2-3,10-11 x 2, 4-5,12-13 x 1, 6-7,14-15 x 1");
  EXPECT_EQ(places("auto", 8, range(0, 4)), "0-1 x 3, 2-3 x 3, 4 x 2")
      << "a node with fewer processors has fewer threads";
  EXPECT_EQ(places("auto", 4, {2, 3, 10, 11}), "") << "one node: the system places threads";
  EXPECT_EQ(places("none", 16, range(0, 15)), "");
}

TEST_F(CpuTopologyTest, CoresComeBeforeTheirSiblings) {
  make_server();
  EXPECT_EQ(places("cores", 4, range(0, 15)), "0 x 1, 2 x 1, 4 x 1, 6 x 1");
  EXPECT_EQ(places("cores", 8, range(0, 15)), "0 x 1, 1 x 1, 2 x 1, 3 x 1, 4 x 1, 5 x 1, 6 x 1, 7 x 1");
  EXPECT_EQ(places("cores", 10, range(0, 15)), "0 x 1, 8 x 1, 1 x 1, 2 x 1, 10 x 1, 3 x 1, 4 x 1, 5 x 1, 6 x 1, 7 x 1");
  EXPECT_EQ(places("cores", 3, {2, 10}), "2 x 2, 10 x 1");
}

TEST_F(CpuTopologyTest, AListIsTakenAsItIs) {
  make_server();
  EXPECT_EQ(places("5,0-1", 4, range(0, 15)), "5 x 1, 0 x 1, 1 x 1, 5 x 1");
  EXPECT_EQ(threads_of_choice("5,0-1", 16), 3);
  EXPECT_EQ(threads_of_choice("auto", 16), 16);
  for (const char* wrong : {"", "all", "0,,1", "1-", "0,0", "-1", "4-2", "0 1", "5000"}) {
    EXPECT_THROW(places(wrong, 2, range(0, 15)), Error) << wrong;
  }
  EXPECT_EQ(places("5,0-1", 2, {}), "5 x 1, 0 x 1") << "which ones are allowed is unknown";
  try {
    places("0,9", 2, range(0, 7));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "processor 9 is not one that this process may use, which are 0-7");
  }
}

TEST(ThreadPlaces, ThreadsStayWhereTheyAreBound) {
  const ProcessorList before = allowed_processors();
  const ProcessorList last{before.back()};
  {
    ThreadPool pool(3, ThreadPlaces(3, last));
    std::atomic<int> waiting{0};
    std::atomic<int> bound{0};
    pool.parallel_for(3, [&](int64_t, int thread) {
      ++waiting;
      while (waiting < 3) std::this_thread::yield();  // one each
      if (allowed_processors() == (thread == 0 ? before : last)) ++bound;
    });
    EXPECT_EQ(bound, 3);
    const BoundThread caller = pool.bind_caller();
    EXPECT_EQ(allowed_processors(), last);
  }
  EXPECT_EQ(allowed_processors(), before);
  const BoundThread refused({kNoSuchProcessor});
  EXPECT_EQ(allowed_processors(), before);
}

TEST(ThreadPlaces, ThreadsStayWhereSomebodyElseHasBoundThem) {
  const ProcessorList before = allowed_processors();
  if (before.size() < 2) GTEST_SKIP() << "needs two processors";
  std::thread([&] {
    {
      const BoundThread bound({before.back()});
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(static_cast<size_t>(before.front()), &set);
      ASSERT_EQ(sched_setaffinity(0, sizeof set, &set), 0);  // as taskset -p does
    }
    EXPECT_EQ(allowed_processors(), ProcessorList{before.front()});
  }).join();
}

// The system refuses to tell the calling thread its affinity mask from now on. Returns false where it does not do that.
bool refuse_affinity() {
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_getaffinity, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program = {.len = std::size(code), .filter = code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

std::string mask_in_proc() {
  std::ifstream status("/proc/thread-self/status");
  std::string line;
  while (std::getline(status, line) && !line.starts_with("Cpus_allowed:")) {
  }
  return line;
}

TEST(ThreadPlaces, NothingIsBoundWhereTheMaskIsUnknown) {
  bool is_refused = false;
  std::thread([&] {
    is_refused = refuse_affinity();
    if (!is_refused) return;
    EXPECT_EQ(allowed_processors(), ProcessorList());
    EXPECT_EQ(place_threads("cores", 2), ThreadPlaces());
    EXPECT_EQ(place_threads("auto", 2), ThreadPlaces());
    const std::string before = mask_in_proc();
    const BoundThread bound({0});
    EXPECT_EQ(mask_in_proc(), before);
  }).join();
  if (!is_refused) GTEST_SKIP() << "the system filters no system calls";
}

}  // namespace
}  // namespace quire
