#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace quire::test {
namespace {

// Far longer than any case takes, so that only a hang reaches it.
constexpr auto kTimeLimit = std::chrono::seconds(120);

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> clean_environment(const std::vector<std::string>& extra) {
  std::vector<std::string> result = extra;  // the first of a name counts
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("QUIRE_")) result.emplace_back(*entry);
  }
  result.emplace_back("QUIRE_TUNING=none");  // ignores the user's tuning file
  result.emplace_back("QUIRE_WEIGHT_CACHE=off");
  return result;
}

pid_t start(const Invocation& invocation, int in, int out, int err) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  if (!invocation.directory.empty()) {
    ::posix_spawn_file_actions_addchdir_np(&actions, invocation.directory.c_str());
  }
  std::vector<std::string> arguments = {invocation.program};
  arguments.insert(arguments.end(), invocation.arguments.begin(), invocation.arguments.end());
  std::vector<std::string> environment = clean_environment(invocation.environment);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, invocation.program.c_str(), &actions, nullptr, pointers(arguments).data(),
                                   pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start " + invocation.program);
  return pid;
}

}  // namespace

std::string Outcome::trouble() const {
  if (timed_out) return "hangs";
  if (exit_code >= 128) return "ended by signal " + std::to_string(exit_code - 128);
  for (const char* report : {"Sanitizer", "runtime error:", "CHECK"}) {
    if (err.find(report) != std::string::npos) return err;
  }
  return "";
}

std::string quire_program() { return QUIRE_PROGRAM; }

MemoryFile::MemoryFile(const std::string& content) : fd_(::memfd_create("quire-test", MFD_CLOEXEC)) {
  if (fd_ < 0 || ::write(fd_, content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
    throw std::runtime_error("memfd_create failed");
  }
  ::lseek(fd_, 0, SEEK_SET);
}

MemoryFile::~MemoryFile() { ::close(fd_); }

std::string MemoryFile::content() const {
  std::string bytes(static_cast<size_t>(::lseek(fd_, 0, SEEK_END)), '\0');
  if (::pread(fd_, bytes.data(), bytes.size(), 0) < 0) throw std::runtime_error("pread failed");
  return bytes;
}

RunningProgram::RunningProgram(const Invocation& invocation)
    : in_(invocation.input), pid_(start(invocation, in_.fd(), out_.fd(), err_.fd())) {}

RunningProgram::~RunningProgram() {
  if (is_over_) return;
  signal(SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool RunningProgram::is_running() const {
  siginfo_t info = {};
  return !is_over_ && ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

void RunningProgram::signal(int number) {
  if (!is_over_) ::kill(pid_, number);
}

Outcome RunningProgram::wait() {
  Outcome outcome;
  const auto deadline = std::chrono::steady_clock::now() + kTimeLimit;
  int status = 0;
  while (::waitpid(pid_, &status, outcome.timed_out ? 0 : WNOHANG) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (std::chrono::steady_clock::now() < deadline) continue;
    outcome.timed_out = true;
    signal(SIGKILL);
  }
  is_over_ = true;
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = out_.content();
  outcome.err = err_.content();
  return outcome;
}

Outcome run_program(const Invocation& invocation) { return RunningProgram(invocation).wait(); }

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "quire-cli-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

std::filesystem::path golden(const std::string& relative) {
  return std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/golden" / relative;
}

}  // namespace quire::test
