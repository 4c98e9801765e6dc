#include "server/apis/apis.h"

#include <array>

namespace quire {
namespace {

constexpr std::array kApis = {&kChatApi,      &kCompletionsApi, &kEmbeddingsApi, &kMessagesApi,
                              &kResponsesApi, &kTokenizeApi,    &kDetokenizeApi};

}  // namespace

std::span<const Api* const> apis() { return kApis; }

}  // namespace quire
