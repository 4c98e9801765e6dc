// The parts of the filter table.
#pragma once

#include <span>

#include "jinja/filters.h"

namespace quire::jinja {

std::span<const Filter> text_filters();
std::span<const Filter> number_filters();
std::span<const Filter> sequence_filters();
std::span<const Filter> selection_filters();

}  // namespace quire::jinja
