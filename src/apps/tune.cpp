// `quire tune`: measures how this machine multiplies each matrix of a model fastest, and keeps the settings for the
// commands that load models.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "apps/bench_kernel_memory.h"
#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/matmul_tuner.h"
#include "apps/options.h"
#include "base/cgroup.h"
#include "base/error.h"
#include "kernels/roofs.h"
#include "kernels/select.h"
#include "measure/progress_bar.h"
#include "models/loading/matmul_tuning.h"

namespace quire {
namespace {

struct TuneOptions {
  ModelOptions model;
  std::string output;
  int rounds = 9;
  double round_ms = 4;
  int64_t megabytes = 320;
  bool dry_run = false;
  bool json = false;
};

// One matrix, multiplied with two settings in turns.
class Duel {
 public:
  Duel(const TuneOptions& options, const Kernels& table, ThreadPool& pool, const MatrixShape& shape)
      : options_(options),
        table_(table),
        exec_(make_exec(pool)),
        copies_(table, exec_, shape, static_cast<size_t>(options.megabytes) << 20) {}

  TuningTimes compare(int64_t num_rows, const MatmulTuning& a, const MatmulTuning& b) {
    ColdMatmul& work = works_.try_emplace(num_rows, table_, exec_, copies_, num_rows).first->second;
    const double once = std::max(seconds(work, a, 1) + seconds(work, b, 1), 1e-7) / 2;
    const int num_calls = static_cast<int>(std::clamp(options_.round_ms / 1000 / once, 1.0, 1e4));
    std::vector<double> of_a, of_b;
    for (int i = 0; i < options_.rounds; ++i) {
      of_a.push_back(seconds(work, a, num_calls));
      of_b.push_back(seconds(work, b, num_calls));
    }
    return {low_quartile(of_a), low_quartile(of_b)};
  }

 private:
  // Of one call.
  static double seconds(ColdMatmul& work, const MatmulTuning& tuning, int num_calls) {
    const double start = now_s();
    for (int i = 0; i < num_calls; ++i) work.call(tuning);
    return (now_s() - start) / num_calls;
  }
  // Other load on the machine only makes a call slower, so the lower times are the better estimate.
  static double low_quartile(std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 4];
  }

  const TuneOptions& options_;
  const Kernels& table_;
  Exec exec_;
  PackedCopies copies_;
  std::map<int64_t, ColdMatmul> works_;
};

std::string settings_text(const MatmulTuning& tuning, const MatmulTuning& usual) {
  std::string text;
  const auto add = [&](const char* name, int value, int usual_value) {
    if (value != usual_value) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value);
  };
  add("packed_tokens", tuning.packed_tokens, usual.packed_tokens);
  add("few_tokens", tuning.few_tokens, usual.few_tokens);
  add("few_panels", tuning.few_panels, usual.few_panels);
  add("many_panels", tuning.many_panels, usual.many_panels);
  add("one_panels", tuning.one_panels, usual.one_panels);
  add("fetch_ahead", tuning.fetch_ahead, usual.fetch_ahead);
  add("one_fetch", tuning.one_fetch, usual.one_fetch);
  return text.empty() ? "the defaults" : text;
}

json::object row_of(const MatrixShape& shape, const TunedMatrix& tuned) {
  json::object row = tuning_json(shape, tuned.tuning);
  json::array times;
  for (size_t i = 0; i < tuned.times.size(); ++i) {
    times.push_back({{"tokens", kTunedRows[i]},
                     {"default_microseconds", tuned.times[i].a_s * 1e6},
                     {"tuned_microseconds", tuned.times[i].b_s * 1e6}});
  }
  row["times"] = std::move(times);
  return row;
}

// A line of microseconds with the defaults, and below it one with the settings that were found.
void print_matrix(const MatrixShape& shape, const TunedMatrix& tuned, const MatmulTuning& usual) {
  fmt::print("{:<24}", shape.text());
  for (const TuningTimes& times : tuned.times) fmt::print("{:>10.1f}", times.a_s * 1e6);
  fmt::print("   the defaults\n");
  if (same_tuning(tuned.tuning, usual)) return;
  fmt::print("{:<24}", "");
  for (const TuningTimes& times : tuned.times) fmt::print("{:>10.1f}", times.b_s * 1e6);
  fmt::print("   {}\n", settings_text(tuned.tuning, usual));
}

std::map<MatrixShape, TunedMatrix> measure(const TuneOptions& options, const Kernels& table, ThreadPool& pool,
                                           const std::set<MatrixShape>& shapes) {
  std::map<MatrixShape, TunedMatrix> results;
  load::ProgressBar bar;
  for (const MatrixShape& shape : shapes) {
    bar.show("tune", static_cast<int64_t>(results.size()), static_cast<int64_t>(shapes.size()), shape.text());
    Duel duel(options, table, pool, shape);
    results[shape] = tune_matrix(
        shape.format != Format::kF32, table.usual_tuning,
        [&](int64_t num_rows, const MatmulTuning& a, const MatmulTuning& b) { return duel.compare(num_rows, a, b); });
  }
  return results;
}

void show(const TuneOptions& options, const Kernels& table, const TuningFile& file,
          const std::map<MatrixShape, TunedMatrix>& results) {
  if (options.json) {
    json::array rows;
    for (const auto& [shape, tuned] : results) rows.push_back(row_of(shape, tuned));
    const json::object out = {{"isa", file.isa},
                              {"activations", activations_name(file.activations)},
                              {"processor", file.processor},
                              {"threads", file.num_threads},
                              {"matrices", std::move(rows)}};
    fmt::print("{}\n", json::serialize(out));
    return;
  }
  fmt::print("{}, {} {}, {}\n{:<24}", file.processor, file.num_threads, file.num_threads == 1 ? "thread" : "threads",
             file.isa, "microseconds by tokens");
  for (const int64_t num_rows : kTunedRows) fmt::print("{:>10}", num_rows);
  fmt::print("\n");
  for (const auto& [shape, tuned] : results) print_matrix(shape, tuned, table.usual_tuning);
}

void tune(const TuneOptions& options) {
  const auto checkpoint = options.model.open(SyntheticContent::kHoles);
  const Kernels& table = select_kernels(options.model.isa, options.model.activations_for(checkpoint.get()));
  if (&table == &reference_kernels(table.activations)) {
    fail(ErrorCode::kInvalidArgument,
         "the reference kernels have no settings to tune; choose other kernels with --isa");
  }
  const std::string path =
      options.output.empty() ? tuning_cache_file(table.name, table.activations).string() : options.output;
  if (path.empty() && !options.dry_run) {
    fail(ErrorCode::kInvalidArgument,
         "neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder; give --output FILE");
  }
  const std::set<MatrixShape> shapes = ModelRunner::matrices(*checkpoint, table);
  const std::string& choice = options.model.processors;
  const int threads =
      options.model.threads > 0 ? options.model.threads : threads_of_choice(choice, available_processors());
  ThreadPool pool(threads, place_threads(choice, threads));
  const BoundThread bound = pool.bind_caller();
  TuningFile file{.isa = table.name,
                  .activations = table.activations,
                  .processor = processor_name(),
                  .num_threads = pool.num_threads()};
  if (!options.dry_run) {  // keeps the matrices of other models
    file.tunings = load_tuning(path, file.isa, file.activations, file.num_threads);
  }
  const auto results = measure(options, table, pool, shapes);
  for (const auto& [shape, tuned] : results) file.tunings[shape] = tuned.tuning;
  show(options, table, file, results);
  if (options.dry_run) return;
  write_tuning(file, path);
  if (!options.json) fmt::print("written to {}; models use it from their next start\n", path);
}

}  // namespace

void add_tune_command(Command& program) {
  Command& command = program.add_command("tune", "Measure how this machine multiplies a model's matrices fastest");
  const auto options = std::make_shared<TuneOptions>();
  options->model.add_model(command);
  options->model.add_shape(command);
  options->model.add_machine(command);
  command.add(
      {{.names = "-o,--output",
        .value = text(options->output, "FILE"),
        .help = "The file to write",
        .default_text = "the one in the cache folder that loading a model looks for"},
       {.names = "--rounds", .value = number(options->rounds, 1, 10000), .help = "Rounds that compare two settings"},
       {.names = "--round-ms",
        .value = real(options->round_ms, 0.0, 1e5),
        .help = "Milliseconds of calls with each setting in a round"},
       {.names = "--megabytes",
        .value = number(options->megabytes, 1, 1 << 20),
        .help = "MiB of weights to use; must be far more than the caches hold"},
       {.names = "--dry-run", .value = on_off(options->dry_run), .help = "Measure and print, but write no file"},
       {.names = "--json", .value = on_off(options->json), .help = "Print JSON"}});
  command.on_run([options] { tune(*options); });
}

}  // namespace quire
