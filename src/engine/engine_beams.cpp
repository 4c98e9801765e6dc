// The part of the engine that deals with beams: when all beams of a search have been computed, they part.
#include <algorithm>
#include <utility>

#include "engine/engine.h"

namespace quire {
namespace {

// The events of one choice.
void add_answer(BeamSearch::Answer answer, OutputEvent last, std::vector<OutputEvent>& events) {
  last.finish = answer.is_stopped ? FinishReason::kStop : FinishReason::kLength;
  for (size_t i = 0; i < answer.tokens.size(); ++i) {
    OutputEvent& event = events.emplace_back();
    if (i + 1 == answer.tokens.size()) {
      event = last;
      event.is_stop_token = answer.is_stopped;
    }
    event.choice = last.choice;
    event.time_ms = last.timing.last_token_ms;
    event.num_cached_tokens = last.num_cached_tokens;
    event.has_token = true;
    event.token = std::move(answer.tokens[i]);
  }
}

}  // namespace

void Engine::settle_beams(const StartedStep& step) {
  std::vector<std::shared_ptr<BeamGroup>> ready;
  for (const StepPlan::Item& item : step.items) {
    if (item.sequence == nullptr || !item.samples) continue;
    const auto found = choices_.find(item.sequence);
    if (found == choices_.end()) continue;  // it has just ended with another beam, and is gone
    Choice& choice = *found->second;
    if (!choice.sequence.is_beam) continue;
    counter_.count_tokens(1);
    if (choice.update.candidates.empty()) {
      finish(choice.beams, FinishReason::kError);
      continue;
    }
    choice.beams->search.report(choice.beam, std::exchange(choice.update.candidates, {}));
    if (choice.beams->search.is_ready()) ready.push_back(choice.beams);
  }
  for (const std::shared_ptr<BeamGroup>& group : ready) advance(*group);
}

void Engine::advance(BeamGroup& group) {
  const std::shared_ptr<BeamGroup> kept = group.beams.front()->beams;
  const std::vector<BeamSearch::Extension> extensions = group.search.advance();
  if (extensions.empty()) return finish(kept, FinishReason::kStop);
  const std::vector<Choice*> before = group.beams;
  const auto is_extended = [&](size_t beam) {
    return std::ranges::count(extensions, static_cast<int>(beam), &BeamSearch::Extension::beam) > 0;
  };
  // Those that go no further leave their blocks and ids to others.
  for (size_t beam = 0; beam < before.size(); ++beam) {
    if (is_extended(beam)) continue;
    group.free_ids.push_back(before[beam]->sequence.id);
    loop_.finish(&before[beam]->sequence);
    choices_.erase(&before[beam]->sequence);
  }
  // The first extension of a beam is the beam itself, which goes on when the others have been copied from it.
  std::vector<Choice*> resumed(before.size(), nullptr);
  group.beams.clear();
  for (const auto& [beam, token] : extensions) {
    Choice& parent = *before[static_cast<size_t>(beam)];
    if (std::exchange(resumed[static_cast<size_t>(beam)], &parent) == nullptr) {
      group.beams.push_back(&parent);
      continue;
    }
    std::unique_ptr<Choice> copy = make_beam(parent, group.free_ids.back());
    group.free_ids.pop_back();
    scheduler_.branch(&parent.sequence, &copy->sequence, token);
    group.beams.push_back(copy.get());
    choices_.emplace(&group.beams.back()->sequence, std::move(copy));
  }
  for (size_t beam = 0; beam < group.beams.size(); ++beam) {
    Choice& choice = *group.beams[beam];
    choice.beam = static_cast<int>(beam);
    if (choice.sequence.state == SequenceState::kParked) scheduler_.resume(&choice.sequence, extensions[beam].token);
  }
}

// kStop: the search has ended.
void Engine::finish(std::shared_ptr<BeamGroup> group, FinishReason reason) {
  Choice& first = *group->beams.front();
  const double now = options_.now_ms();
  admission_.leave_queue(first);
  admission_.observe_finish(now);
  OutputEvent last;
  last.finish = reason;
  last.timing = first.timing;
  if (reason == FinishReason::kStop) last.timing.first_token_ms = last.timing.last_token_ms = now;
  last.num_cached_tokens = first.sequence.num_cached_tokens;
  for (const Choice* beam : group->beams) last.num_preemptions += beam->sequence.num_preemptions;

  std::vector<BeamSearch::Answer> answers;
  if (reason == FinishReason::kStop) answers = group->search.best(first.request->num_choices);
  std::vector<OutputEvent> events;
  for (int choice = 0; choice < first.request->num_choices; ++choice) {
    last.choice = choice;
    // A small vocabulary may have fewer answers than were asked for.
    const bool has_answer = choice < std::ssize(answers);
    if (has_answer) add_answer(std::move(answers[static_cast<size_t>(choice)]), last, events);
    if (!has_answer) events.push_back(last);
    counter_.count_finish(events.back().finish);
  }
  const std::shared_ptr<OutputStream> stream = first.stream;
  for (Choice* beam : group->beams) {
    if (store_client_ != nullptr) store_client_->forget(beam->sequence);
    loop_.finish(&beam->sequence);
    choices_.erase(&beam->sequence);
  }
  push(*stream, events);
}

}  // namespace quire
