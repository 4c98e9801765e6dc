// Ctrl-C as a flag that a loop can read, instead of the end of the program.
#pragma once

namespace quire {

// From now on SIGINT only sets a flag; a second one before the flag was read ends the program as usual.
void catch_interrupts();
bool is_interrupted();
void clear_interrupt();

}  // namespace quire
