// `quire compress report`: what compressed models of one original cost and bring, as a table and a plot.
#pragma once

namespace quire {

class Command;

// Below `quire compress`.
void add_compress_report(Command& compress);

}  // namespace quire
