// Results of `quire bench roof`, `kernel` and `offline`: a JSON array with an object per measurement, and the
// comparison of two such files.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace quire {

// A measurement: `bench` and `test` say what was measured; `value` is an amount per second in `unit`, and more is
// better. The caller adds further members.
json::object bench_row(std::string_view bench, const std::string& test, double value, std::string_view unit);

double median_of(std::vector<double> values);

// "A against B": every measurement in both files, with values and ratio. Two rows match when bench, test
// and the members model, isa and threads are equal; `across` names members of these that may differ. Throws Error when
// a file has another form, or no measurement is in both.
std::string compare_rows(const std::string& path_a, const std::string& path_b, const std::vector<std::string>& across);

}  // namespace quire
