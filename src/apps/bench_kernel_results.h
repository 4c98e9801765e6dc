// Results of `quire bench kernel` and how they are written: a line, a row of JSON or CSV, a point under the roofline.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "apps/bench_kernel_cases.h"
#include "apps/bench_rows.h"

namespace quire {

// What one round measured: the roofs, then the kernel.
struct KernelRound {
  double seconds;          // of one call
  double read;             // the read roof, bytes/s
  double operations;       // the roof of the operation's arithmetic, per second
  double against_seconds;  // of one call of the alternative; 0: there is none
};

struct KernelMeasurement {
  KernelCase what;  // without its call
  const char* isa;
  int threads;
  std::vector<KernelRound> rounds;

  // The median over the rounds of a figure that one round gives.
  template <typename F>
  double median(const F& figure) const {
    std::vector<double> values;
    for (const KernelRound& round : rounds) values.push_back(figure(round));
    return median_of(std::move(values));
  }
  double seconds() const {
    return median([](const KernelRound& round) { return round.seconds; });
  }
  double bytes_per_second() const { return what.bytes / seconds(); }
  double operations_per_second() const { return what.operations / seconds(); }
  double intensity() const { return what.operations / what.bytes; }
  double read_share() const {
    return median([&](const KernelRound& round) { return what.bytes / round.seconds / round.read; });
  }
  double operations_share() const {
    return median([&](const KernelRound& round) {
      return round.operations > 0 ? what.operations / round.seconds / round.operations : 0.0;
    });
  }
  // How many times faster than the alternative.
  double speedup() const {
    return median([](const KernelRound& round) { return round.against_seconds / round.seconds; });
  }
  // Share of what the roofline allows: of the nearer of both roofs.
  double roof_share() const { return std::max(read_share(), operations_share()); }
};

json::object row_of(const KernelMeasurement& m);
std::string csv_line(const json::object& row, bool is_header);
void print_line(const KernelMeasurement& m);

// The roofline (Williams, Waterman and Patterson 2009), a panel per instruction set and number of threads, as an SVG
// file. Throws Error kIo.
void write_roofline(const std::string& path, const std::string& title,
                    const std::vector<KernelMeasurement>& measurements);

}  // namespace quire
