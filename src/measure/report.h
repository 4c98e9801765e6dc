// The results of a load test: the JSON file, the plots, and the comparison of two JSON files.
#pragma once

#include <string>
#include <vector>

#include "measure/summary.h"

namespace quire::load {

struct Run {
  LoadSummary summary;
  Samples samples;
};

// Index into `runs` of the knee of served against offered requests/s; -1 without one, and for closed loops. Runs are
// sorted by rate.
int64_t find_knee(const std::vector<Run>& runs);

json::object report_json(const json::object& workload, const std::vector<Run>& runs);
std::string report_svg(const std::string& title, const std::vector<Run>& runs);

// A table of B over A for the runs that both files have, matched by their labels. Throws Error for a file of another
// form.
std::string compare_reports(const std::string& path_a, const std::string& path_b);

}  // namespace quire::load
