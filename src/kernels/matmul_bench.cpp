// Matmul against the roofs of the machine, measured in turn in the same run: bytes of packed weights per second beside
// reading, operations per second beside the instruction that does the work. Medians over rounds; every round goes
// through copies of the matrix that no cache holds.
//
//   quire_matmul_bench [--threads N] [--table NAME] [--formats A,B] [--rows M,M] [--shapes RxC,RxC] [--rounds N]
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/roofs.h"
#include "kernels/select.h"
#include "tensor/aligned_buffer.h"

namespace quire {
namespace {

constexpr size_t kColdBytes = size_t{320} << 20;  // of weights that a measurement goes through before it repeats

struct Shape {
  int64_t rows;
  int64_t cols;
};

struct Options {
  int threads = available_processors();
  std::string table;
  std::vector<std::string> formats = {"Q4_0", "Q8_0", "Q4_K", "Q6_K", "F16"};
  std::vector<int64_t> tokens = {1, 2, 4, 8, 16, 32, 128, 512};
  std::vector<Shape> shapes = {{2048, 2048}, {5632, 2048}, {2048, 5632}};
  int rounds = 5;
};

// What one round measured: the roofs, then the kernel.
struct Round {
  double seconds;  // of one call
  double read_share;
  double operations_share;
};

double median_of(const std::vector<Round>& rounds, double Round::*field) {
  std::vector<double> values;
  for (const Round& round : rounds) values.push_back(round.*field);
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(const Kernels& table, int num_threads, int num_rounds)
      : table_(table), pool_(num_threads), exec_(make_exec(pool_)), num_rounds_(num_rounds) {}

  void run(Format format, Shape shape, const std::vector<int64_t>& tokens) {
    const size_t bytes = table_.packed_bytes(format, shape.rows, shape.cols);
    const size_t stride = (bytes + 4095) / 4096 * 4096;
    const size_t copies = std::max<size_t>(1, kColdBytes / stride);
    AlignedBuffer weights(stride * copies);
    pack_random(format, shape, weights.data());
    for (size_t i = 1; i < copies; ++i) std::memcpy(weights.data() + i * stride, weights.data(), bytes);
    for (const int64_t m : tokens) measure(format, shape, m, {weights.data(), stride * copies}, stride);
  }

 private:
  void pack_random(Format format, Shape shape, std::byte* dst) {
    const WeightFormat& info = weight_format(format);
    std::vector<float> row(static_cast<size_t>(shape.cols));
    std::mt19937 random(1);
    for (float& value : row) value = static_cast<float>(random() % 2001) * 1e-5f - 0.01f;
    const size_t row_bytes = info.bytes_of(shape.cols);
    std::vector<std::byte> file(row_bytes * static_cast<size_t>(shape.rows));
    info.quantize(row.data(), file.data(), shape.cols);
    for (size_t at = row_bytes; at < file.size(); at += row_bytes) std::memcpy(&file[at], file.data(), row_bytes);
    const double start = now_s();
    table_.pack(exec_, format, shape.rows, shape.cols, file.data(), dst);
    const double seconds = now_s() - start;
    fmt::print("{} {}x{}: packed at {:.2f} GB/s of file\n", info.name, shape.rows, shape.cols,
               static_cast<double>(file.size()) * 1e-9 / seconds);
  }

  // On huge pages, as the engine's workspace is.
  static AlignedBuffer activations(size_t bytes) {
    return AlignedBuffer(std::max(bytes, AlignedBuffer::kHugePageBytes));
  }

  void measure(Format format, Shape shape, int64_t m, std::span<const std::byte> weights, size_t stride) {
    AlignedBuffer x = activations(static_cast<size_t>(m * shape.cols) * sizeof(float));
    std::fill_n(x.as<float>().begin(), m * shape.cols, 0.5f);
    AlignedBuffer q8 = activations(table_.q8_row_bytes(shape.cols) * static_cast<size_t>(m));
    const bool is_integer = table_.takes_q8(format);
    if (is_integer) table_.quantize_q8(exec_, x.as<float>().data(), m, shape.cols, q8.data());
    AlignedBuffer y = activations(static_cast<size_t>(m * shape.rows) * sizeof(float));
    const MatmulInput input{.num_rows = m, .cols = shape.cols, .f32 = x.as<float>().data(), .q8 = q8.data()};
    const auto call = [&](size_t copy) {
      const MatmulOutput output{.weights = {format, shape.rows, shape.cols, weights.data() + stride * copy},
                                .y = y.as<float>().data(),
                                .y_stride = shape.rows};
      table_.matmul(exec_, input, &output, 1);
    };
    const auto bytes = static_cast<double>(table_.packed_bytes(format, shape.rows, shape.cols));
    const double operations = 2.0 * static_cast<double>(m * shape.rows * shape.cols);
    const size_t copies = weights.size() / stride;
    const auto num_calls = std::clamp<size_t>(static_cast<size_t>(2e10 / operations), 1, copies);
    std::vector<Round> rounds;
    size_t copy = 0;
    for (int round = 0; round < num_rounds_; ++round) {
      const double read = measure_read_roof(pool_, weights);
      const double rate = is_integer ? measure_dot_roof(pool_) : measure_fma_roof(pool_);
      const double start = now_s();
      for (size_t i = 0; i < num_calls; ++i) call(copy++ % copies);
      const double seconds = (now_s() - start) / static_cast<double>(num_calls);
      rounds.push_back({seconds, bytes / seconds / read, operations / seconds / rate});
    }
    const double seconds = median_of(rounds, &Round::seconds);
    fmt::print("  m {:4}: {:9.1f} us, {:6.2f} GB/s {:5.1f} %, {:7.1f} Gop/s {:5.1f} %\n", m, seconds * 1e6,
               bytes * 1e-9 / seconds, 100 * median_of(rounds, &Round::read_share), operations * 1e-9 / seconds,
               100 * median_of(rounds, &Round::operations_share));
    std::fflush(stdout);
  }

  const Kernels& table_;
  ThreadPool pool_;
  Exec exec_;
  int num_rounds_;
};

// ---- command line ---------------------------------------------------------------------------------------------------

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--threads") {
      options.threads = std::stoi(value);
    } else if (name == "--table") {
      options.table = value;
    } else if (name == "--formats") {
      options.formats = split(value);
    } else if (name == "--rows") {
      options.tokens.clear();
      for (const std::string& part : split(value)) options.tokens.push_back(std::stoll(part));
    } else if (name == "--shapes") {
      options.shapes.clear();
      for (const std::string& part : split(value)) {
        options.shapes.push_back({std::stoll(part), std::stoll(part.substr(part.find('x') + 1))});
      }
    } else if (name == "--rounds") {
      options.rounds = std::stoi(value);
    } else {
      return false;
    }
  }
  return argc % 2 == 1;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  using namespace quire;
  Options options;
  if (!parse(argc, argv, options)) {
    fmt::print(stderr,
               "usage: quire_matmul_bench [--threads N] [--table NAME] [--formats A,B] [--rows M,M] "
               "[--shapes RxC,RxC] [--rounds N]\n");
    return 2;
  }
  const Kernels& table = select_kernels(options.table);
  fmt::print("{}, {} threads\n", table.name, options.threads);
  Bench bench(table, options.threads, options.rounds);
  for (const std::string& name : options.formats) {
    const auto format = format_by_name(name);
    if (!format || table.packed_bytes(*format, 32, 256) == 0) {
      fmt::print(stderr, "{}: {} cannot multiply it\n", name, table.name);
      return 2;
    }
    for (const Shape& shape : options.shapes) bench.run(*format, shape, options.tokens);
  }
  return 0;
}
