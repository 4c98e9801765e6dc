#include "kernels/select.h"

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
#include "kernels/vector/table.h"

QUIRE_DECLARE_VECTOR_TABLE(amx);
QUIRE_DECLARE_VECTOR_TABLE(avx2);
QUIRE_DECLARE_VECTOR_TABLE(avx512);
#endif

namespace quire {
namespace {

Kernels make_reference() {
  Kernels table{};
  table.name = "reference";
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

constexpr VectorTable kAvx2 = {"avx2", machine_has_avx2, avx2::override_table, avx2::roof_loops};
constexpr VectorTable kAvx512 = {"avx512", machine_has_avx512, avx512::override_table, avx512::roof_loops};
constexpr VectorTable kAmx = {"amx", machine_has_amx, amx::override_table, amx::roof_loops, &kAvx512};

// The best comes first.
constexpr VectorTable kVectorTables[] = {kAmx, kAvx512, kAvx2};

#endif

std::vector<Kernels> make_runnable() {
  std::vector<Kernels> tables;
  for (const VectorTable& vector : vector_tables()) {
    if (runs_here(vector)) tables.push_back(make_table(vector));
  }
  return tables;
}

std::vector<const Kernels*> find_runnable() {
  static const std::vector<Kernels> fast = make_runnable();
  std::vector<const Kernels*> tables;
  for (const Kernels& table : fast) tables.push_back(&table);
  tables.push_back(&reference_kernels());
  return tables;
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

Kernels make_table(const VectorTable& vector) {
  Kernels table = vector.base == nullptr ? reference_kernels() : make_table(*vector.base);
  table.name = vector.name;
  vector.override_table(table);
  return table;
}

const Kernels& reference_kernels() {
  static const Kernels table = make_reference();
  return table;
}

const std::vector<const Kernels*>& runnable_kernels() {
  static const std::vector<const Kernels*> tables = find_runnable();
  return tables;
}

const Kernels& select_kernels(std::string_view name) {
  if (name.empty()) return *runnable_kernels().front();
  std::string known;
  for (const Kernels* table : runnable_kernels()) {
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
  const auto& [device, isa, one_answer, index] = choice;
  if (device == "cuda") return cuda.make(one_answer, index);
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
    if (found.device != nullptr) return one_answer ? std::move(found) : cuda.make(one_answer, index);
  }
  return {&select_kernels(isa), make_host_device()};
}

Exec make_exec(ThreadPool& pool, void* stream) {
  return {[](void* opaque, int64_t num_tasks, Exec::Body body, void* context) {
            static_cast<ThreadPool*>(opaque)->run(num_tasks, body, context);
          },
          &pool, pool.num_threads(), stream};
}

}  // namespace quire
