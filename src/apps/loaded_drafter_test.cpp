// What is planned for a model and its drafter is what they take.
#include "apps/loaded_drafter.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>

namespace quire {
namespace {

const std::string kFolder = QUIRE_SOURCE_DIR "/assets/demo/";

TEST(LoadedDrafter, ThePlanIsWhatIsLoaded) {
  const auto target = Checkpoint::open(kFolder + "quire-demo.gguf");
  const RunnerOptions options{.num_threads = 1, .max_sequences = 2, .max_logit_rows = 34, .max_context = 128};
  const MemoryPlan alone = ModelRunner::plan(*target, options);
  for (const auto& [method, path] :
       {std::pair{"eagle", "eagle"}, {"medusa", "medusa"}, {"", "quire-demo-small.gguf"}}) {
    SpeculationOptions speculation{.method = method, .model = kFolder + path};
    const PlannedModels planned = check_with_drafter(speculation, *target, options);
    const LoadedModels loaded = load_with_drafter(speculation, *target, options);
    ASSERT_NE(loaded.drafter, nullptr);
    EXPECT_EQ(planned.target.total_bytes, loaded.target->plan().total_bytes) << method;
    EXPECT_GT(planned.drafter_bytes, 0u);
    // The final states of every row of a step.
    EXPECT_EQ(planned.target.workspace_bytes > alone.workspace_bytes, speculation.method == "eagle") << method;
    EXPECT_LE(loaded.drafter->memory_bytes(), planned.drafter_bytes) << method;
  }
}

TEST(LoadedDrafter, WithoutADrafterTheTargetHasEverything) {
  const auto target = Checkpoint::open(kFolder + "quire-demo.gguf");
  const RunnerOptions options{.num_threads = 1, .max_sequences = 2, .max_context = 128, .memory_bytes = 1 << 30};
  const PlannedModels planned = plan_with_drafter({.method = "ngram"}, *target, options);
  EXPECT_EQ(planned.drafter_bytes, 0u);
  EXPECT_EQ(planned.allowed_bytes(), uint64_t{1} << 30);
  EXPECT_EQ(planned.total_bytes(), ModelRunner::plan(*target, options).total_bytes);
}

}  // namespace
}  // namespace quire
