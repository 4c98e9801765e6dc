// `quire logits`: the raw logits of every position, for comparison with other programs.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/ids.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "base/error.h"

namespace quire {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::string ids;
  std::string prompt;
  std::string out;
};

// Runs the ids through the model in steps and calls `take` with the row of each position.
template <typename F>
void all_logits(ModelRunner& runner, const std::vector<int32_t>& ids, const F& take) {
  const auto vocab_size = static_cast<size_t>(runner.info().vocab_size);
  BlockTable table(static_cast<size_t>(blocks_for(static_cast<int64_t>(ids.size()))));
  std::iota(table.begin(), table.end(), 0);
  const auto chunk = static_cast<size_t>(runner.options().max_batch_tokens);
  for (size_t first = 0; first < ids.size(); first += chunk) {
    const size_t count = std::min(chunk, ids.size() - first);
    Batch batch;
    batch.token_ids.assign(ids.begin() + static_cast<int64_t>(first),
                           ids.begin() + static_cast<int64_t>(first + count));
    batch.sequences.push_back({.num_tokens = static_cast<int64_t>(count),
                               .first_position = static_cast<int64_t>(first),
                               .block_tables = {&table, 1},
                               .is_long = runner.info().is_long(static_cast<int64_t>(ids.size()))});
    batch.logit_rows.resize(count);
    std::iota(batch.logit_rows.begin(), batch.logit_rows.end(), 0);
    const std::span<const float> logits = runner.run(batch);
    for (size_t row = 0; row < count; ++row) take(logits.subspan(row * vocab_size, vocab_size));
  }
}

void logits(LogitsOptions& options) {
  const auto checkpoint = open_checkpoint(options.model.model);
  const ModelInfo info = ModelRunner::info(*checkpoint);
  require_logits(info);
  std::vector<int32_t> ids = parse_ids(options.ids, info.vocab_size);
  if (!options.prompt.empty()) ids = TextProcessor::load(*checkpoint)->encode_plain(options.prompt);
  if (ids.empty()) fail(ErrorCode::kInvalidArgument, "no tokens: give --ids 1,2,3 or --prompt TEXT");

  RunnerOptions runner_options = options.model.runner_options(checkpoint.get());
  // Every row has logits, so short steps keep their memory small; the result does not depend on the length of a step.
  runner_options.max_batch_tokens =
      std::min<int64_t>({static_cast<int64_t>(ids.size()), runner_options.max_batch_tokens, 64});
  runner_options.max_logit_rows = runner_options.max_batch_tokens;
  if (runner_options.max_context == 0) runner_options.max_context = static_cast<int64_t>(ids.size());
  if (static_cast<int64_t>(ids.size()) > std::min(runner_options.max_context, info.max_context)) {
    fail(ErrorCode::kLimit, "{} tokens are more than the context of {} positions", ids.size(),
         std::min(runner_options.max_context, info.max_context));
  }
  runner_options.num_blocks = blocks_for(static_cast<int64_t>(ids.size()));
  runner_options.keep_all_positions = true;
  const auto runner = load_runner(*checkpoint, runner_options);

  std::ofstream file(options.out, std::ios::binary);
  if (!file) fail(ErrorCode::kIo, "cannot write {}: {}", printable(options.out), std::strerror(errno));
  all_logits(*runner, ids, [&](std::span<const float> row) {
    file.write(reinterpret_cast<const char*>(row.data()), static_cast<int64_t>(row.size_bytes()));
  });
  file.flush();
  if (!file) fail(ErrorCode::kIo, "writing {} failed; is the disk full?", options.out);
  fmt::print("{}: float32 [{}, {}], row-major, {} kernels\n", options.out, ids.size(), info.vocab_size, runner->isa());
}

}  // namespace

void add_logits_command(Command& program) {
  Command& command = program.add_command("logits", "Write the float32 logits of every position to a file");
  const auto options = std::make_shared<LogitsOptions>();
  options->model.add_model(command);
  command.add({{.names = "--ids", .value = text(options->ids, "IDS"), .help = "Token ids with commas between"},
               {.names = "-p,--prompt",
                .value = text(options->prompt),
                .help = "Text to tokenize instead of --ids",
                .excludes = "--ids"},
               {.names = "-o,--out",
                .value = text(options->out, "FILE"),
                .help = "File to write: float32, [positions, vocabulary]",
                .is_required = true}});
  options->model.add_limits(command);
  options->model.add_compute(command);
  command.on_run([options] { logits(*options); });
}

}  // namespace quire
