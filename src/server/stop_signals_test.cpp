// How signals end a server, each case in a process of its own.
#include "server/stop_signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace quire {
namespace {

void stay() {
  while (true) ::pause();
}

TEST(StopSignalsDeathTest, WhileLoadingTheProcessEndsWithTheSignalsNumber) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (const int signal : {SIGTERM, SIGINT}) {
    EXPECT_EXIT(
        {
          StopSignals::instance().catch_them();
          ::kill(::getpid(), signal);
          stay();
        },
        testing::ExitedWithCode(128 + signal), "");
  }
}

TEST(StopSignalsDeathTest, AServingProcessDrainsAndASecondSignalEndsIt) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        StopSignals::instance().catch_them();
        StopSignals::instance().start_serving();
        ::kill(::getpid(), SIGTERM);
        StopSignals::instance().wait();
        ::_exit(3);
      },
      testing::ExitedWithCode(3), "");
  EXPECT_EXIT(
      {
        StopSignals::instance().catch_them();
        StopSignals::instance().start_serving();
        ::kill(::getpid(), SIGTERM);
        StopSignals::instance().wait();
        ::kill(::getpid(), SIGINT);
        stay();
      },
      testing::ExitedWithCode(128 + SIGINT), "a second signal stops at once");
}

}  // namespace
}  // namespace quire
