#include "jinja/filters.h"

#include "jinja/filter_tables.h"

namespace quire::jinja {

const Filter* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), number_filters(), sequence_filters(), selection_filters()}) {
    for (const Filter& filter : table) {
      if (filter.name == name) return &filter;
    }
  }
  return nullptr;
}

}  // namespace quire::jinja
