#include "apps/bench_kernel_cases.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/bench_kernel_memory.h"
#include "kernels/select.h"

namespace quire {
namespace {

void matmul_of(const KernelRun& run, const MatrixShape& matrix) {
  PackedCopies copies(run.table, run.exec, matrix, run.settings.cold_bytes);
  for (const int64_t m : run.settings.tokens) {
    ColdMatmul work(run.table, run.exec, copies, m);
    run.measure({.operation = "matmul",
                 .format = weight_format(matrix.format).name,
                 .shape = fmt::format("{}x{}", matrix.rows, matrix.cols),
                 .tokens = m,
                 .bytes = static_cast<double>(run.table.packed_bytes(matrix.format, matrix.rows, matrix.cols)),
                 .operations = 2.0 * static_cast<double>(m * matrix.rows * matrix.cols),
                 .is_integer = run.table.activations == Activations::kInt8 && run.table.takes_packed(matrix.format),
                 .call = [&] { work.call(run.table.usual_tuning); }});
  }
}

void matmul(const KernelRun& run) {
  for (const Format format : run.settings.formats) {
    for (const auto& [rows, cols] : run.settings.matrices) {
      if (cols % weight_format(format).block_elements != 0) continue;
      if (run.table.packed_bytes(format, rows, cols) > 0) matmul_of(run, {format, rows, cols});
    }
  }
}

constexpr KernelOperation kMatmul[] = {{"matmul", matmul}};

std::vector<KernelOperation> all_operations() {
  std::vector<KernelOperation> all;
  for (const auto& some : {matmul_operations(), attention_operations(), row_operations()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace

std::span<const KernelOperation> matmul_operations() { return kMatmul; }

std::string KernelCase::text() const {
  std::string out = operation;
  if (!format.empty()) out += " " + format;
  out += fmt::format(" {}, {} {}", shape, tokens, tokens == 1 ? "token" : "tokens");
  if (depth > 0) out += fmt::format(" @ {}", depth);
  return shared > 0 ? out + fmt::format(", {} shared", shared) : out;
}

std::vector<std::string> kernel_operations() {
  std::vector<std::string> names;
  for (const auto& operation : all_operations()) names.emplace_back(operation.name);
  return names;
}

void for_each_case(const KernelSettings& settings, const Kernels& table, ThreadPool& pool,
                   const std::function<void(const KernelCase&)>& measure) {
  const KernelRun run{settings, table, make_exec(pool), measure};
  for (const auto& operation : all_operations()) {
    const auto& wanted = settings.operations;
    if (std::find(wanted.begin(), wanted.end(), operation.name) != wanted.end()) operation.run(run);
  }
}

}  // namespace quire
