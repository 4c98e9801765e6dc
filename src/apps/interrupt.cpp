#include "apps/interrupt.h"

#include <unistd.h>

#include <csignal>

namespace quire {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void on_interrupt(int) {
  if (g_interrupted != 0) ::_exit(130);
  g_interrupted = 1;
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a waiting read returns
  ::sigaction(SIGINT, &action, nullptr);
}

bool is_interrupted() { return g_interrupted != 0; }
void clear_interrupt() { g_interrupted = 0; }

}  // namespace quire
