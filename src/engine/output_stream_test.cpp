#include "engine/output_stream.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

namespace quire {
namespace {

OutputEvent token(int choice, int32_t id, FinishReason finish = FinishReason::kNone) {
  OutputEvent event;
  event.choice = choice;
  event.has_token = true;
  event.token.id = id;
  event.finish = finish;
  return event;
}

TEST(OutputStream, ReturnsEventsInOrderAndThenNothing) {
  OutputStream stream(2);
  EXPECT_FALSE(stream.try_next().has_value());
  stream.push({token(0, 1), token(0, 2), token(1, 3, FinishReason::kStop)});
  EXPECT_EQ(stream.num_unread(), 3u);
  for (const int32_t id : {1, 2, 3}) EXPECT_EQ(stream.next()->token.id, id);
  EXPECT_FALSE(stream.is_drained()) << "choice 0 is open";
  stream.push({token(0, 4, FinishReason::kLength)});
  EXPECT_FALSE(stream.is_drained()) << "there is something to read";
  EXPECT_EQ(stream.next()->token.id, 4);
  EXPECT_TRUE(stream.is_drained());
  EXPECT_FALSE(stream.next().has_value()) << "it must not wait";
  EXPECT_FALSE(stream.try_next().has_value());
}

TEST(OutputStream, AReaderWaitsForTheNextEvent) {
  OutputStream stream(1);
  std::promise<void> first_read;
  std::vector<int32_t> ids;
  std::thread reader([&] {
    while (const auto event = stream.next()) {
      ids.push_back(event->token.id);
      if (ids.size() == 1) first_read.set_value();
    }
  });
  stream.push({token(0, 7)});
  first_read.get_future().wait();
  stream.push({token(0, 8), token(0, 9, FinishReason::kLength)});
  reader.join();
  EXPECT_EQ(ids, (std::vector<int32_t>{7, 8, 9}));
}

TEST(OutputStream, CallsTheListenerOncePerPush) {
  OutputStream stream(1);
  int heard = 0;
  stream.push({token(0, 1)});
  stream.set_listener([&] { ++heard; });
  EXPECT_EQ(heard, 1) << "of what was there before";
  stream.push({token(0, 2), token(0, 3)});
  EXPECT_EQ(heard, 2) << "the tokens of a step come together";
  stream.set_listener({});
  stream.push({token(0, 4, FinishReason::kStop)});
  EXPECT_EQ(heard, 2);
}

TEST(OutputStream, CallsTheListenerForManyEventsOrAnEnd) {
  OutputStream stream(2);
  int heard = 0;
  stream.set_listener([&] { ++heard; }, /*num_at_once=*/3);
  stream.push({token(0, 1)});
  stream.push({token(1, 2)});
  EXPECT_EQ(heard, 0);
  stream.push({token(0, 3)});
  EXPECT_EQ(heard, 1);
  while (stream.try_next()) {
  }
  stream.push({token(0, 4, FinishReason::kStop)});
  EXPECT_EQ(heard, 2) << "the end of one choice";
  stream.push({token(1, 5, FinishReason::kStop)});
  EXPECT_EQ(heard, 3);
}

TEST(OutputStream, CancelsEachChoiceByItself) {
  OutputStream stream(3);
  stream.cancel(1);
  EXPECT_FALSE(stream.is_cancelled(0));
  EXPECT_TRUE(stream.is_cancelled(1));
  stream.cancel();
  for (const int choice : {0, 1, 2}) EXPECT_TRUE(stream.is_cancelled(choice));
  EXPECT_FALSE(stream.is_drained()) << "the engine still says how each of them ended";
}

}  // namespace
}  // namespace quire
