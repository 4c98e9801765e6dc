// The part of a result that one multiplication keeps in registers. math.h says how the files of this folder are used.
#pragma once

namespace quire {
namespace {

struct TileShape {
  int tokens;  // the most tokens
  int sums;    // the most vectors of results: tokens times vectors of rows
};

}  // namespace
}  // namespace quire
