// What one multiplication keeps in registers. See math.h for how files of this folder are used.
#pragma once

namespace quire {
namespace {

struct TileShape {
  int tokens;  // at most
  int sums;    // vectors of results at most: of tokens times vectors of rows
};

}  // namespace
}  // namespace quire
