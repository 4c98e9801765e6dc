#include "server/served_models.h"

#include <algorithm>

#include "base/error.h"

namespace quire {

bool ModelCard::has_name(std::string_view name) const {
  return name == id || std::find(aliases.begin(), aliases.end(), name) != aliases.end();
}

ServedModel& ServedModels::add(ServedModel model) {
  std::vector<std::string> names = {model.card.id};
  names.insert(names.end(), model.card.aliases.begin(), model.card.aliases.end());
  for (size_t i = 0; i < names.size(); ++i) {
    const bool is_taken = std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
                              names.begin() + static_cast<std::ptrdiff_t>(i) ||
                          std::any_of(models_.begin(), models_.end(),
                                      [&](const ServedModel& other) { return other.card.has_name(names[i]); });
    if (is_taken) {
      fail(ErrorCode::kInvalidArgument, "two served models are called '{}'; give each a name of its own",
           printable(names[i]));
    }
  }
  return models_.emplace_back(std::move(model));
}

const ServedModel* ServedModels::find(std::string_view name) const {
  if (name.empty()) return models_.empty() ? nullptr : &models_.front();
  const auto first = [&](auto is_wanted) {
    const auto found = std::find_if(models_.begin(), models_.end(), is_wanted);
    return found != models_.end() ? &*found : nullptr;
  };
  if (const auto* named = first([&](const ServedModel& model) { return model.card.has_name(name); })) return named;
  if (const auto* from = first([&](const ServedModel& model) { return model.card.root == name; })) return from;
  constexpr std::string_view kTag = ":latest";
  return name.size() > kTag.size() && name.ends_with(kTag) ? find(name.substr(0, name.size() - kTag.size())) : nullptr;
}

std::string ServedModels::ids() const {
  std::string ids;
  for (const ServedModel& model : models_) ids += (ids.empty() ? "" : ", ") + model.card.id;
  return ids;
}

}  // namespace quire
