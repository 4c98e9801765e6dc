// The main function of every test program. Tests name files from the folder of the checkout, so that their objects hold
// no other path and are shared among checkouts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (::chdir(QUIRE_CHECKOUT) != 0) std::perror("the folder of the sources, " QUIRE_CHECKOUT);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
