// Results of `quire bench roof`, `kernel` and `offline`: a JSON array with an object per measurement, and the
// comparison of two such files.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace quire {

// A measurement: `bench` and `test` say what was measured, `value` with its `unit` how much of it per second: more is
// better. Sorted into both from the other members that a caller adds.
json::object bench_row(std::string_view bench, const std::string& test, double value, std::string_view unit);

double median_of(std::vector<double> values);

// "A against B": every measurement that both files hold, with value and ratio. Rows belong together when bench, test
// and the members model, isa and threads are equal; `across` names members of these that may differ. Throws Error when
// a file is no such file or nothing is in both.
std::string compare_rows(const std::string& path_a, const std::string& path_b, const std::vector<std::string>& across);

}  // namespace quire
