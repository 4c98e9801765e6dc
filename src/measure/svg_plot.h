// Line plots as one SVG file without other files: axes with units, legend, light and dark by the reader's
// setting. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire::load {

struct Series {
  std::string name = {};
  std::vector<double> x = {}, y = {};  // of one length
  bool has_markers = false;
  bool has_line = true;
  std::vector<std::string> labels =
      {};  // beside the points, where there is space and no equal label is near; none or one for each
  bool is_dashed = false;
  bool is_guide = false;  // drawn in grey
};

struct Panel {
  std::string title = {};
  std::string x_label = {};  // with its unit
  std::string y_label = {};
  bool has_log_x = false;  // points at or below 0 are left out
  bool has_log_y = false;
  std::vector<Series> series = {};
  std::optional<double> mark_x = {};  // a vertical line
  std::string mark_label = {};
};

// The share of values at or below each value, with at most `max_points` points.
Series cumulative(std::string name, std::vector<double> values, size_t max_points = 300);

std::string draw_svg(std::string_view title, const std::vector<Panel>& panels);

}  // namespace quire::load
