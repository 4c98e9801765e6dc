// The host's work for a step of 64 sequences that decode: plan, fill, place, start, decode, publish. The model has the
// sizes of a real one and computes nothing: its device is a fake that is done at once, and a recorded step is not even
// called. So only the host's time is measured, without the driver's time to queue a recording.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <vector>

#include "engine/engine.h"
#include "kernels/select.h"
#include "models/synthetic/synthetic_checkpoint.h"

namespace quire {
namespace {

constexpr int64_t kSequences = 64;
constexpr int64_t kPrompt = 128;
constexpr int64_t kContext = 1536;
constexpr int kSteps = 1300;
constexpr int kWarmUp = 200;  // steps that hold prompts, and others until memory is touched and steps are recorded

// The host's memory, presented as a device.
class IdleDevice : public Device {
 public:
  std::string description() const override { return "a device that computes nothing"; }
  bool is_host() const override { return false; }
  uint64_t free_bytes() const override { return uint64_t{1} << 40; }
  void* stream() override { return nullptr; }
  std::byte* allocate(size_t size_bytes) override { return host_->allocate(size_bytes); }
  void release(std::byte* memory) noexcept override { host_->release(memory); }
  std::byte* allocate_staging(size_t size_bytes) override { return host_->allocate(size_bytes); }
  void release_staging(std::byte* memory) noexcept override { host_->release(memory); }
  void upload(std::byte*, const std::byte*, size_t) override {}
  void upload_staged(std::byte*, const std::byte*, size_t) override {}
  void download_staged(std::byte*, const std::byte*, size_t) override {}
  void download(std::byte*, const std::byte*, size_t) override {}
  void copy(std::byte*, const std::byte*, size_t) override {}
  void synchronize() override {}
  void mark(int) override {}
  void wait_for(int) override {}
  bool records() const override { return true; }
  void run(uint64_t key, const std::function<void()>& body) override {
    if (key == 0 || recorded_.insert(key).second) body();
  }

 private:
  std::unique_ptr<Device> host_ = make_host_device();
  std::set<uint64_t> recorded_;
};

// Only the reference table's entries about sizes; no kernel computes.
Kernels idle_table() {
  Kernels table = reference_kernels();
  table.name = "idle";
  for (FormatKernels& row : table.formats) {
    row.packed_bytes = [](Format, int64_t, int64_t) { return size_t{64}; };
    row.pack = [](const Exec&, Format, int64_t, int64_t, const std::byte*, std::byte*) {};
    row.matmul = [](const Exec&, const MatmulInput&, const MatmulOutput*, int) {};
  }
  table.pack_rows = [](const Exec&, const RowsToPack&, std::byte*) {};
  table.rms_norm_packed = [](const Exec&, const RowNorm&, std::byte*) {};
  table.gated_activation_packed = [](const Exec&, const RowGate&, std::byte*) {};
  table.rms_norm = [](const Exec&, const RowNorm&, float*, int64_t) {};
  table.gated_activation = [](const Exec&, const RowGate&, float*, int64_t) {};
  table.norm_rope = [](const Exec&, const HeadRows*, int, int64_t, const Rotation&) {};
  table.rope = [](const Exec&, const HeadRows&, int64_t, const Rotation&) {};
  table.hadamard_heads = [](const Exec&, const HeadRows&, int64_t, int) {};
  table.norm_rope_write_kv = [](const Exec&, const HeadRows&, const HeadRows&, const KvWrite&, const Rotation&) {};
  table.gather_rows = [](const Exec&, const std::byte*, size_t, const int32_t*, int64_t, std::byte*) {};
  table.embed_rows = [](const Exec&, const PackedMatrix&, const EmbeddedTokens&, int64_t, float, float*) {};
  table.write_kv = [](const Exec&, const KvWrite&, const float*, int64_t) {};
  table.attention = [](const Exec&, const AttentionArgs&) {};
  table.max_sampled_vocab = 1 << 20;
  table.embeds_file_rows = false;
  table.sample_rows = [](const Exec&, const float*, int64_t, int, const SamplingRow*, int32_t*) {};
  return table;
}

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Backend make_idle(bool, int) {
  static const Kernels table = idle_table();
  return {&table, std::make_unique<IdleDevice>()};
}

void measure(const Checkpoint& checkpoint, bool run_ahead) {
  const RunnerOptions options{.num_threads = 1,
                              .device = "cuda",
                              .max_batch_tokens = 2048,
                              .max_sequences = kSequences,
                              .max_logit_rows = kSequences,
                              .max_context = kContext,
                              .num_blocks = kSequences * kContext / kKvBlockSize,
                              .k_format = Format::kQ4_0,
                              .v_format = Format::kQ4_0,
                              .cuda = {.make = make_idle}};
  Engine engine(ModelRunner::load(checkpoint, options), {.run_ahead = run_ahead});
  std::vector<std::shared_ptr<OutputStream>> streams;
  for (int32_t i = 0; i < kSequences; ++i) {
    GenerateRequest request;
    for (int32_t j = 0; j < kPrompt; ++j) request.prompt.push_back((i * 31 + j * 17) % 1000);
    request.sampling.temperature = 0.7f;
    request.sampling.top_p = 0.95f;
    request.eog_ids = {128001, 128009};
    streams.push_back(engine.submit(std::move(request)).stream);
  }
  std::vector<double> times;
  EngineStatus before;
  for (int i = 0; i < kSteps; ++i) {
    if (i == kWarmUp) before = engine.status();
    const double start = now_us();
    engine.step();
    if (i >= kWarmUp) times.push_back(now_us() - start);
    for (const auto& stream : streams) {
      while (stream->try_next()) {
      }
    }
  }
  const EngineStatus after = engine.status();
  std::sort(times.begin(), times.end());
  const auto part = [&](double EngineStatus::*ms) { return 1000 * (after.*ms - before.*ms) / (kSteps - kWarmUp); };
  fmt::print("run ahead {:<3}  median {:5.1f} us  p90 {:5.1f}  mean: plan {:5.1f}  run {:5.1f}  decode {:5.1f}\n",
             run_ahead ? "on" : "off", times[times.size() / 2], times[times.size() * 9 / 10],
             part(&EngineStatus::plan_ms), part(&EngineStatus::run_ms), part(&EngineStatus::decode_ms));
}

}  // namespace
}  // namespace quire

int main() {
  using namespace quire;
  const auto checkpoint = open_synthetic(model_shape("llama-3.1-8b"), "Q8_0", SyntheticContent::kHoles);
  fmt::print("{} sequences of {} tokens and more, one token each\n", kSequences, kPrompt);
  for (const bool run_ahead : {false, true, false, true}) measure(*checkpoint, run_ahead);
}
