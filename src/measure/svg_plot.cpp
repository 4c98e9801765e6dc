#include "measure/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "measure/svg_axis.h"

namespace quire::load {
namespace {

constexpr double kPanelWidth = 560;
constexpr double kPanelHeight = 390;
constexpr double kLeft = 66, kRight = 18, kTop = 40, kBottom = 92;  // around the plotting area
constexpr double kTitleHeight = 44;
constexpr double kLegendLine = 17;
constexpr int kNumColours = 8;

// Of medium lightness, so that they stand out on white and on near-black; colour-blind readers can tell them apart.
constexpr std::string_view kStyle = R"(<style>
text{font-family:system-ui,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif;font-size:12px;fill:#1f2328}
.ground{fill:#ffffff}.title{font-size:16px;font-weight:600}.panel{font-size:13px;font-weight:600}
.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#6e7781;stroke-width:1}.mark{stroke:#6e7781;stroke-dasharray:2 3}.point{font-size:10px}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.dashed{stroke-dasharray:6 4}
.s0{stroke:#2f7ed8}.s1{stroke:#e8710a}.s2{stroke:#1a9e6f}.s3{stroke:#d6409f}
.s4{stroke:#8e6bd9}.s5{stroke:#b8860b}.s6{stroke:#14a0b5}.s7{stroke:#8a8f98}
.f0{fill:#2f7ed8}.f1{fill:#e8710a}.f2{fill:#1a9e6f}.f3{fill:#d6409f}
.sg{stroke:#6e7781}.f4{fill:#8e6bd9}.f5{fill:#b8860b}.f6{fill:#14a0b5}.f7{fill:#8a8f98}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.ground{fill:#0d1117}.grid{stroke:#2a313a}.axis,.mark{stroke:#8b949e}}
</style>
)";

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string number(double value) {
  if (value != 0 && std::abs(value) < 0.001) return fmt::format("{:.1e}", value);
  if (std::abs(value) >= 1e6) return fmt::format("{:g}M", value / 1e6);
  if (std::abs(value) >= 1e4) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:.6g}", value);
}

struct Box {
  double left, right, top, bottom;
  static Box around(double x, double y, double half_width, double half_height) {
    return {x - half_width, x + half_width, y - half_height, y + half_height};
  }
  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

struct LegendPlace {
  double x;  // within the panel
  int line;
};

std::vector<LegendPlace> legend_places(const Panel& panel) {
  std::vector<LegendPlace> places;
  LegendPlace at{kLeft, 0};
  for (const Series& series : panel.series) {
    const double width = 34 + 6.8 * static_cast<double>(series.name.size());
    if (at.x + width > kPanelWidth && at.x > kLeft) at = {kLeft, at.line + 1};
    places.push_back(at);
    at.x += width;
  }
  return places;
}

// With the space of its legend beyond two lines.
double height_of(const Panel& panel) {
  const std::vector<LegendPlace> places = legend_places(panel);
  return kPanelHeight + kLegendLine * std::max(0, (places.empty() ? 0 : places.back().line) - 1);
}

class PanelDrawing {
 public:
  PanelDrawing(const Panel& panel, double left, double top)
      : panel_(panel),
        left_(left),
        top_(top),
        x_(panel.has_log_x, left + kLeft, left + kPanelWidth - kRight),
        y_(panel.has_log_y, top + kPanelHeight - kBottom, top + kTop) {
    if (!panel.has_log_x) x_.include(0);
    if (!panel.has_log_y) y_.include(0);
    for (const Series& series : panel.series) {
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (!x_.can_show(series.x[i]) || !y_.can_show(series.y[i])) continue;
        x_.include(series.x[i]);
        y_.include(series.y[i]);
      }
    }
    x_.close(8);
    y_.close(6);
  }

  std::string draw() {
    draw_axes();
    if (panel_.mark_x && x_.can_show(*panel_.mark_x)) draw_mark();
    for (size_t i = 0; i < panel_.series.size(); ++i) draw_series(panel_.series[i], colour_of(i));
    draw_labels();
    draw_legend();
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  // The last letters of its classes, "s3" and "f3".
  std::string colour_of(size_t index) const {
    if (panel_.series[index].is_guide) return "g";
    const auto before = std::count_if(panel_.series.begin(), panel_.series.begin() + static_cast<int64_t>(index),
                                      [](const Series& series) { return !series.is_guide; });
    return std::to_string(before % kNumColours);
  }

  void draw_axes() {
    const double low_x = left_ + kLeft, high_x = left_ + kPanelWidth - kRight;
    const double low_y = top_ + kPanelHeight - kBottom, high_y = top_ + kTop;
    for (const double tick : y_.ticks()) {
      add("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", low_x, high_x,
          y_.px(tick), y_.px(tick));
      add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", low_x - 7, y_.px(tick) + 4, number(tick));
    }
    for (const double tick : x_.ticks()) {
      add("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", x_.px(tick), x_.px(tick),
          low_y, high_y);
      add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", x_.px(tick), low_y + 17, number(tick));
    }
    add("<path class=\"axis\" fill=\"none\" d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\"/>\n", low_x, high_y, low_y, high_x);
    add("<text class=\"panel\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", low_x, top_ + 24, escape(panel_.title));
    add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", (low_x + high_x) / 2, low_y + 37,
        escape(panel_.x_label));
    add("<text transform=\"translate({:.1f} {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n", left_ + 16,
        (low_y + high_y) / 2, escape(panel_.y_label));
  }

  void draw_mark() {
    const double at = x_.px(*panel_.mark_x);
    const double middle = left_ + kLeft + (kPanelWidth - kLeft - kRight) / 2;
    add("<line class=\"mark\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>\n", at,
        top_ + kPanelHeight - kBottom, top_ + kTop);
    add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", at, top_ + kTop - 5,
        at < middle ? "start" : "end", escape(panel_.mark_label));
  }

  void draw_series(const Series& series, const std::string& colour) {
    std::string path;
    std::string markers;
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!x_.can_show(series.x[i]) || !y_.can_show(series.y[i])) continue;
      const double at_x = x_.px(series.x[i]), at_y = y_.px(series.y[i]);
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", at_x, at_y);
      if (series.has_markers) {
        markers += fmt::format("<circle class=\"f{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"/>\n", colour, at_x, at_y);
      }
    }
    if (path.empty()) return;
    if (series.has_line)
      add("<path class=\"line s{}{}\" d=\"{}\"/>\n", colour, series.is_dashed ? " dashed" : "", path);
    out_ += markers;
  }

  // Above, below, right or left of each point, wherever no point and no earlier label is; else there is none.
  void draw_labels() {
    std::vector<Box> taken;
    for (const Series& series : panel_.series) {
      for (size_t i = 0; series.has_markers && i < series.x.size(); ++i) {
        if (is_shown(series, i)) taken.push_back(Box::around(x_.px(series.x[i]), y_.px(series.y[i]), 3, 3));
      }
    }
    std::multimap<std::string, Box> near;  // places of the texts drawn so far
    for (const Series& series : panel_.series) {
      for (size_t i = 0; i < series.labels.size(); ++i) {
        if (is_shown(series, i)) draw_label(series.labels[i], x_.px(series.x[i]), y_.px(series.y[i]), taken, near);
      }
    }
  }

  void draw_label(const std::string& text, double x, double y, std::vector<Box>& taken,
                  std::multimap<std::string, Box>& near) {
    const auto [first, last] = near.equal_range(text);
    const Box around = Box::around(x, y, 12, 24);
    if (std::any_of(first, last, [&](const auto& other) { return around.overlaps(other.second); })) return;
    const double half_width = 3.3 * static_cast<double>(text.size());
    const std::pair<double, double> places[] = {{0, -10}, {0, 11}, {half_width + 6, 0}, {-half_width - 6, 0}};
    for (const auto& [dx, dy] : places) {
      const Box box = Box::around(x + dx, y + dy, half_width, 5);
      if (std::any_of(taken.begin(), taken.end(), [&](const Box& other) { return box.overlaps(other); })) continue;
      taken.push_back(box);
      near.emplace(text, around);
      add("<text class=\"point\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", x + dx, y + dy + 4,
          escape(text));
      return;
    }
  }

  bool is_shown(const Series& series, size_t i) const { return x_.can_show(series.x[i]) && y_.can_show(series.y[i]); }

  void draw_legend() {
    const std::vector<LegendPlace> places = legend_places(panel_);
    for (size_t i = 0; i < panel_.series.size(); ++i) {
      const Series& series = panel_.series[i];
      const double x = left_ + places[i].x, y = top_ + kPanelHeight - kBottom + 56 + kLegendLine * places[i].line;
      if (series.has_line) {
        add("<line class=\"line s{}{}\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", colour_of(i),
            series.is_dashed ? " dashed" : "", x, x + 20, y, y);
      } else {
        add("<circle class=\"f{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"/>\n", colour_of(i), x + 12, y);
      }
      add("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x + 25, y + 4, escape(series.name));
    }
  }

  const Panel& panel_;
  double left_, top_;
  Axis x_, y_;
  std::string out_;
};

}  // namespace

Series cumulative(std::string name, std::vector<double> values, size_t max_points) {
  Series series{.name = std::move(name), .x = {}, .y = {}};
  std::sort(values.begin(), values.end());
  const size_t count = std::min(values.size(), max_points);
  for (size_t i = 0; i < count; ++i) {
    const size_t at = count > 1 ? i * (values.size() - 1) / (count - 1) : 0;
    series.x.push_back(values[at]);
    series.y.push_back(100.0 * static_cast<double>(at + 1) / static_cast<double>(values.size()));
  }
  return series;
}

std::string draw_svg(std::string_view title, const std::vector<Panel>& panels) {
  const size_t columns = std::clamp<size_t>(panels.size(), 1, 2);
  const double width = kPanelWidth * static_cast<double>(columns);
  double height = kTitleHeight;
  std::string drawn;
  for (size_t first = 0; first < panels.size(); first += columns) {
    double row_height = 0;
    for (size_t i = first; i < std::min(first + columns, panels.size()); ++i) {
      drawn += PanelDrawing(panels[i], kPanelWidth * static_cast<double>(i - first), height).draw();
      row_height = std::max(row_height, height_of(panels[i]));
    }
    height += row_height;
  }
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" height=\"{1:g}\" "
             "role=\"img\">\n<title>{2}</title>\n{3}<rect class=\"ground\" width=\"{0:g}\" height=\"{1:g}\"/>\n"
             "<text class=\"title\" x=\"18\" y=\"30\">{2}</text>\n",
             width, height, escape(title), kStyle) +
         drawn + "</svg>\n";
}

}  // namespace quire::load
