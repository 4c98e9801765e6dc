#include "kernels/select.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "kernels/reference/reference.h"
#include "kernels/vector_tables.h"

#ifdef QUIRE_CUDA_TABLE
#include "kernels/cuda/cuda.h"
#endif

#ifdef QUIRE_X86_TABLES
#include <cpuid.h>

#include "kernels/amx/amx.h"
#include "kernels/tiles/table.h"
#include "kernels/vector/table.h"

QUIRE_DECLARE_TILE_TABLE(amx);
QUIRE_DECLARE_VECTOR_TABLE(avx2);
QUIRE_DECLARE_VECTOR_TABLE(avx512);
namespace quire::avx512_bf16 {
void override_bf16(Kernels& table);
void override_attention_in_pairs(Kernels& table);
}  // namespace quire::avx512_bf16
#endif

namespace quire {
namespace {

// By Activations.
constexpr std::array<const char*, kNumActivations> kActivationNames = {"int8", "bf16", "f32"};

template <typename T>
using OfActivations = std::array<T, kNumActivations>;
constexpr size_t index_of(Activations activations) { return static_cast<size_t>(activations); }

// make(activations) for each of them.
template <typename F>
auto for_activations(F make) {
  return OfActivations<decltype(make(Activations::kInt8))>{make(Activations::kInt8), make(Activations::kBf16),
                                                           make(Activations::kF32)};
}

Kernels make_reference(Activations activations) {
  Kernels table{};
  table.name = "reference";
  table.activations = activations;
  fill_matmul_reference(table);
  fill_rows_reference(table);
  fill_experts_reference(table);
  fill_attention_reference(table);
  return table;
}

#ifdef QUIRE_X86_TABLES

// __builtin_cpu_supports answers for the AVX families only when the operating system saves their registers (xgetbv).
bool machine_has_avx2() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool machine_has_avx512() {
  return machine_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

bool machine_has_avx512_bf16() { return __builtin_cpu_supports("avx512bf16"); }

constexpr VectorTable kAvx2 = {"avx2", machine_has_avx2, avx2::override_table, avx2::roof_loops};
constexpr VectorTable kAvx512 = {"avx512", machine_has_avx512, avx512::override_table, avx512::roof_loops};
void override_avx512_bf16(Kernels& table) {
  avx512_bf16::override_bf16(table);
  avx512_bf16::override_attention_in_pairs(table);
}
constexpr VectorTable kAvx512Bf16 = {.name = "avx512_bf16",
                                     .machine_has = machine_has_avx512_bf16,
                                     .override_table = override_avx512_bf16,
                                     .roof_loops = avx512::roof_loops,
                                     .base = &kAvx512,
                                     .only = Activations::kBf16,
                                     .multiplies_bf16 = true};

constexpr VectorTable kAmx = {.name = "amx",
                              .machine_has = machine_has_amx,
                              .override_table = amx::override_table,
                              .roof_loops = amx::roof_loops,
                              .base = &kAvx512,
                              .multiplies_bf16 = true,
                              .cached_dot = amx::cached_dot_loop,
                              .refusal = amx_refusal};

// The best comes first.
constexpr VectorTable kVectorTables[] = {kAmx, kAvx512Bf16, kAvx512, kAvx2};

#endif

std::vector<Kernels> make_runnable(Activations activations) {
  std::vector<Kernels> tables;
  for (const VectorTable& vector : vector_tables()) {
    const bool is_made = !vector.only || *vector.only == activations;
    if (is_made && runs_here(vector)) tables.push_back(make_table(vector, activations));
  }
  return tables;
}

std::vector<const Kernels*> find_runnable(Activations activations) {
  static const auto fast = for_activations(make_runnable);
  std::vector<const Kernels*> tables;
  for (const Kernels& table : fast[index_of(activations)]) tables.push_back(&table);
  tables.push_back(&reference_kernels(activations));
  return tables;
}

// Says once why the processor's best table, or the one that is asked for by name, does not run.
void warn_of_refusals(std::string_view name) {
  static std::atomic<bool> has_warned = false;
  for (const VectorTable& vector : vector_tables()) {
    if (vector.refusal == nullptr || (!name.empty() && name != vector.name)) continue;
    if (vector.base != nullptr && !runs_here(*vector.base)) continue;
    const std::string& reason = vector.refusal();
    if (!reason.empty() && !has_warned.exchange(true)) log::warning("{} is not used: {}", vector.name, reason);
  }
}

void refuse_activations(Activations activations) {
  if (activations == kUsualActivations) return;
  const char* const name = activations_name(activations);
  fail(ErrorCode::kUnsupported,
       "activations \"{}\": the GPU multiplies integer formats by int8 and others by bf16 only; use --device cpu, or "
       "leave --activations out",
       name);
}

}  // namespace

std::span<const VectorTable> vector_tables() {
#ifdef QUIRE_X86_TABLES
  return kVectorTables;
#else
  return {};
#endif
}

bool runs_here(const VectorTable& vector) {
  return (vector.base == nullptr || runs_here(*vector.base)) && vector.machine_has();
}

Kernels make_table(const VectorTable& vector, Activations activations) {
  Kernels table = vector.base == nullptr ? reference_kernels(activations) : make_table(*vector.base, activations);
  table.name = vector.name;
  vector.override_table(table);
  return table;
}

bool multiplies_bf16(std::string_view isa) {
  return std::ranges::any_of(vector_tables(), [isa](const VectorTable& vector) {
    return vector.multiplies_bf16 && (isa.empty() || isa == vector.name) && runs_here(vector);
  });
}

const char* activations_name(Activations activations) { return kActivationNames[index_of(activations)]; }

std::optional<Activations> find_activations(std::string_view name) {
  const auto* const found = std::ranges::find(kActivationNames, name);
  if (found == kActivationNames.end()) return std::nullopt;
  return static_cast<Activations>(found - kActivationNames.begin());
}

const Kernels& reference_kernels(Activations activations) {
  static const auto tables = for_activations(make_reference);
  return tables[index_of(activations)];
}

const std::vector<const Kernels*>& runnable_kernels(Activations activations) {
  static const auto tables = for_activations(find_runnable);
  return tables[index_of(activations)];
}

const Kernels& select_kernels(std::string_view name, Activations activations) {
  warn_of_refusals(name);
  const std::vector<const Kernels*>& tables = runnable_kernels(activations);
  if (name.empty()) return *tables.front();
  std::string known;
  for (const Kernels* table : tables) {
    if (name == table->name) return *table;
    known += known.empty() ? "" : ", ";
    known += table->name;
  }
  fail(ErrorCode::kUnsupported, "instruction set \"{}\": this machine and build run {}; choose one of them",
       printable(name), known);
}

BackendFactory cuda_backends() {
#ifdef QUIRE_CUDA_TABLE
  return {.make = make_cuda, .is_preferred = true};
#else
  return {.make = [](bool, int) -> Backend {
    fail(ErrorCode::kUnsupported,
         "device \"cuda\": this build computes on the CPU only; build the preset \"cuda\", or use --device cpu");
  }};
#endif
}

Backend select_backend(const BackendChoice& choice, const BackendFactory& cuda) {
  const auto& [device, isa, activations, one_answer, index, pages] = choice;
  if (device == "cuda") {
    refuse_activations(activations);
    return cuda.make(one_answer, index);
  }
  if (!device.empty() && device != "cpu") {
    fail(ErrorCode::kInvalidArgument, "device \"{}\" is unknown; expected cpu or cuda", printable(device));
  }
  // A table of the CPU that was asked for by name means the CPU.
  if (device.empty() && isa.empty() && cuda.is_preferred) {
    Backend found;
    try {
      found = cuda.make(/*one_answer=*/true, index);
    } catch (const Error& error) {
      log::info("computing on the CPU: {}", error.what());
    }
    // A missing library must not silently move the computation to another device.
    if (found.device != nullptr) refuse_activations(activations);
    if (found.device != nullptr) return one_answer ? std::move(found) : cuda.make(one_answer, index);
  }
  return {&select_kernels(isa, activations), make_host_device(pages)};
}

Exec make_exec(ThreadPool& pool, void* stream) {
  return {[](void* opaque, int64_t num_tasks, Exec::Body body, void* context) {
            static_cast<ThreadPool*>(opaque)->run(num_tasks, body, context);
          },
          &pool, pool.num_threads(), stream};
}

}  // namespace quire
