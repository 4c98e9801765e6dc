// Runs the program as a user's shell would, without a shell: arguments, standard input, output, exit.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace quire::test {

struct Outcome {
  int exit_code = -1;  // 128 + signal when a signal ended it
  bool timed_out = false;
  std::string out;
  std::string err;

  // A crash, a hang or a sanitizer's report; empty when the program exited normally.
  std::string trouble() const;
};

// The program of this build.
std::string quire_program();

struct Invocation {
  std::vector<std::string> arguments;         // without the program's name
  std::filesystem::path directory;            // to run in; empty for this one
  std::string input;                          // standard input
  std::vector<std::string> environment = {};  // "NAME=VALUE"; QUIRE_ variables of the caller are taken away
  std::string program = quire_program();      // or another one, looked for in PATH
};

// An unnamed file in memory: unlike a pipe it never makes the program wait for its reader.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& content = "");
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  int fd() const { return fd_; }
  std::string content() const;

 private:
  int fd_;
};

// A started program; killed with the object if it has not ended. One thread at a time.
class RunningProgram {
 public:
  // Throws std::runtime_error when there is no such program.
  explicit RunningProgram(const Invocation& invocation);
  ~RunningProgram();
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  bool is_running() const;
  void signal(int number);
  // Until it ends; a program that hangs is killed. Call once.
  Outcome wait();

 private:
  const MemoryFile in_;
  const MemoryFile out_;
  const MemoryFile err_;
  const pid_t pid_;
  bool is_over_ = false;
};

// Throws std::runtime_error when there is no such program. Any thread.
Outcome run_program(const Invocation& invocation);

// A new folder, removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string read_bytes(const std::filesystem::path& path);
void write_bytes(const std::filesystem::path& path, std::string_view bytes);
// Of tests/golden.
std::filesystem::path golden(const std::string& relative);

}  // namespace quire::test
