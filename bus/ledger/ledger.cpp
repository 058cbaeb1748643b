// SPDX-License-Identifier: Apache-2.0
#include "bus/ledger/ledger.hpp"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "bus/base/text.hpp"
#include "bus/wire/limits.hpp"

namespace insight {

namespace {

// Nobody called for this long: the broker was stopped, its publishers were not silent.
constexpr uint64_t kStoppedAfterNs = 5 * kSecond;
constexpr uint64_t kStepNs = kSecond;
constexpr size_t kMaxDropReasons = 64;
constexpr size_t kMaxAccountNameBytes = 64;

bool is_gone(Life life) { return life == Life::ended || life == Life::lost; }

}  // namespace

uint64_t Ledger::every_ns_of(uint64_t every_ms) noexcept {
  return std::clamp(every_ms, wire::kMinEveryMs, wire::kMaxEveryMs) * kMillisecond;
}

size_t Ledger::KeyedIdHash::operator()(const IncarnationId& id) const noexcept {
  return keyed_hash(id.view(), key);
}

Ledger::Ledger(LedgerOptions options, std::shared_ptr<SeriesIds> ids)
    : options_(options), ids_(std::move(ids)), entries_(0, KeyedIdHash{random_key()}) {}

Ledger::~Ledger() = default;

uint64_t Ledger::listen(const Now& now) noexcept {
  if (last_call_ns_ != 0 && now.mono_ns > last_call_ns_ + kStoppedAfterNs) {
    stopped_ns_ += now.mono_ns - last_call_ns_ - kStepNs;
  }
  last_call_ns_ = std::max(last_call_ns_, now.mono_ns);
  return last_call_ns_ - stopped_ns_;
}

Ledger::Receipt Ledger::receive(const wire::EnvelopeView& envelope, const Now& now) {
  const uint64_t now_ns = listen(now);
  const auto found = entries_.find(envelope.inc);
  Entry* entry = found == entries_.end() ? nullptr : &found->second;
  if (entry == nullptr) {
    if (!make_room()) return {Verdict::full, nullptr};
    entry = enter(envelope, now_ns, now);
    if (entry == nullptr) return {Verdict::malformed, nullptr};
  } else if (entry->resource != envelope.resource) {
    ++totals_.resources_changed;
  }

  const uint64_t gaps = entry->sequence.gaps();
  const Sequence::Arrival arrival = entry->sequence.arrive(envelope.seq, now_ns);
  const bool is_fresh = arrival == Sequence::Arrival::fresh;
  if (is_fresh && entry->is_stale) {
    // What came between that broker's last snapshot and its death is not known, and not lost
    // either.
    entry->sequence.forgive();
    entry->is_spans_before_known = false;
    entry->is_stale = false;
  }
  totals_.gaps = add_capped(totals_.gaps, entry->sequence.gaps() - gaps);

  if (arrival == Sequence::Arrival::duplicate) {
    ++entry->duplicates;
  } else {
    ++entry->envelopes;
    if (!is_fresh) ++entry->late;
    entry->points += envelope.points.size();
    entry->spans += envelope.spans.size();
    count_spans(*entry, envelope, is_fresh);
    if (is_fresh) take_accounts(*entry, envelope);
  }
  hear(*entry, envelope, is_fresh, now_ns, now);
  settle(*entry, now_ns);
  if (const uint64_t at = next_wake_ns(*entry); at < entry->wake_ns) schedule(*entry, at);

  switch (arrival) {
    case Sequence::Arrival::fresh:
      return {Verdict::fresh, entry};
    case Sequence::Arrival::late:
      return {Verdict::late, entry};
    case Sequence::Arrival::duplicate:
      break;
  }
  return {Verdict::duplicate, entry};
}

bool Ledger::make_room() {
  while (entries_.size() >= options_.incarnations || bytes_ >= options_.bytes) {
    if (!forget_oldest_gone()) return false;
  }
  return true;
}

Ledger::Entry* Ledger::enter(const wire::EnvelopeView& envelope, uint64_t now_ns, const Now& now) {
  auto resource = wire::decode_resource(envelope.resource);
  if (!resource) return nullptr;
  Entry& entry = entries_[envelope.inc];
  entry.incarnation =
      std::make_shared<Incarnation>(envelope.inc, envelope.t0_ns, std::move(resource.value()),
                                    every_ns_of(wire::kDefaultEveryMs), ids_);
  entry.incarnation->set_life(Life::alive, now.mono_ns);
  entry.resource = envelope.resource;
  // The decoded form takes about twice the bytes besides.
  entry.bytes = 3 * entry.resource.size();
  entry.is_spans_before_known = envelope.seq == 1;
  entry.heard_ns = now_ns;
  insert_timers(entry);
  return &entry;
}

void Ledger::hear(Entry& entry, const wire::EnvelopeView& envelope, bool is_fresh, uint64_t now_ns,
                  const Now& now) {
  // A straggler does not bring back who has said bye.
  if (entry.incarnation->life() == Life::ended && envelope.seq <= entry.bye_seq) return;
  entry.heard_ns = now_ns;
  entry.last_seen_wall_ns = now.wall_ns;
  entry.last_seen_mono_ns = now.mono_ns;
  if (envelope.every_ms != 0 && is_fresh) {
    entry.incarnation->set_every_ns(every_ns_of(envelope.every_ms));
  }
  const bool is_bye = is_fresh && envelope.life == wire::LifeEvent::bye;
  if (is_bye) entry.bye_seq = envelope.seq;
  set_life(entry, is_bye ? Life::ended : Life::alive, now_ns, now.mono_ns);
}

void Ledger::take_accounts(Entry& entry, const wire::EnvelopeView& envelope) {
  for (const auto& [name, value] : envelope.accounts) {
    if (name.size() > kMaxAccountNameBytes) continue;
    auto known = std::find_if(entry.accounts.begin(), entry.accounts.end(),
                              [&](const auto& account) { return account.first == name; });
    if (known == entry.accounts.end()) {
      if (entry.accounts.size() >= wire::kMaxAccounts) continue;
      known = entry.accounts.emplace(known, name, 0);
      const uint64_t bytes = sizeof(*known) + name.size();
      entry.bytes += bytes;
      bytes_ += bytes;
    }
    if (value <= known->second) continue;
    constexpr std::string_view prefix = "drop.";
    if (name.starts_with(prefix)) {
      const std::string reason(name.substr(prefix.size()));
      auto& sums = totals_.dropped_at_publishers;
      const bool has_room = sums.contains(reason) || sums.size() < kMaxDropReasons;
      uint64_t& sum = sums[has_room ? reason : "other"];
      sum = add_capped(sum, value - known->second);
    }
    known->second = value;
  }
}

void Ledger::count_spans(Entry& entry, const wire::EnvelopeView& envelope, bool is_fresh) {
  if (!is_fresh) {
    if (envelope.seq < entry.account_seq) entry.spans_received += envelope.spans.size();
    // It was taken for one of before this broker's time.
    if (envelope.seq < entry.sequence.first()) {
      entry.spans_before -= std::min<uint64_t>(entry.spans_before, envelope.spans.size());
    }
    return;
  }
  const auto sent = std::find_if(envelope.accounts.begin(), envelope.accounts.end(),
                                 [](const auto& account) { return account.first == "spans_sent"; });
  if (sent == envelope.accounts.end()) return;
  entry.account_seq = envelope.seq;
  entry.spans_sent = std::max(entry.spans_sent, sent->second);
  entry.spans_received = entry.spans;
  if (!entry.is_spans_before_known) {
    const uint64_t known = entry.spans_received + entry.spans_lost;
    entry.spans_before = entry.spans_sent - std::min(entry.spans_sent, known);
    entry.is_spans_before_known = true;
  }
}

namespace {

uint64_t spans_missing(const Ledger::Entry& entry) {
  const uint64_t accounted = add_capped(entry.spans_before, entry.spans_received);
  return entry.spans_sent - std::min(entry.spans_sent, accounted);
}

}  // namespace

void Ledger::settle(Entry& entry, uint64_t now_ns) {
  const uint64_t gaps = entry.sequence.gaps();
  entry.sequence.settle(now_ns);
  totals_.gaps = add_capped(totals_.gaps, entry.sequence.gaps() - gaps);
  const uint64_t missing = spans_missing(entry);
  if (missing <= entry.spans_lost || entry.sequence.is_open_below(entry.account_seq)) return;
  totals_.spans_lost = add_capped(totals_.spans_lost, missing - entry.spans_lost);
  entry.spans_lost = missing;
}

void Ledger::set_life(Entry& entry, Life life, uint64_t now_ns, uint64_t mono_ns) {
  const Life before = entry.incarnation->life();
  if (before == life) return;
  --lives_[static_cast<size_t>(before)];
  ++lives_[static_cast<size_t>(life)];
  if (is_gone(before)) gone_.erase({entry.gone_ns, &entry});
  if (is_gone(life)) {
    entry.gone_ns = now_ns;
    gone_.emplace(now_ns, &entry);
  }
  if (entry.series && is_gone(before) != is_gone(life)) entry.series->set_gone(is_gone(life));
  entry.incarnation->set_life(life, mono_ns);
}

uint64_t Ledger::next_wake_ns(const Entry& entry) const noexcept {
  const uint64_t every = entry.incarnation->every_ns();
  uint64_t at = 0;
  switch (entry.incarnation->life()) {
    case Life::alive:
      at = entry.heard_ns + every / 2 * 3;
      break;
    case Life::late:
      at = entry.heard_ns + every * 3;
      break;
    case Life::lost:
    case Life::ended:
      at = entry.gone_ns + options_.forget_ended_after_ns;
      break;
  }
  const uint64_t holes_at = entry.sequence.settle_at_ns();
  return holes_at != 0 ? std::min(at, holes_at) : at;
}

void Ledger::insert_timers(Entry& entry) {
  const Life life = entry.incarnation->life();
  ++lives_[static_cast<size_t>(life)];
  if (is_gone(life)) gone_.emplace(entry.gone_ns, &entry);
  bytes_ += entry.bytes;
  entry.wake_ns = next_wake_ns(entry);
  wakes_.emplace(entry.wake_ns, &entry);
}

void Ledger::schedule(Entry& entry, uint64_t at_ns) {
  auto node = wakes_.extract({entry.wake_ns, &entry});
  node.value().first = entry.wake_ns = at_ns;
  wakes_.insert(std::move(node));
}

void Ledger::step(const Now& now) {
  const uint64_t now_ns = listen(now);
  while (!wakes_.empty() && wakes_.begin()->first <= now_ns) {
    Entry& entry = *wakes_.begin()->second;
    settle(entry, now_ns);
    const uint64_t every = entry.incarnation->every_ns();
    const Life life = entry.incarnation->life();
    if (is_gone(life)) {
      if (now_ns >= entry.gone_ns + options_.forget_ended_after_ns) {
        forget(entry);
        continue;
      }
    } else if (now_ns >= entry.heard_ns + every * 3) {
      set_life(entry, Life::lost, now_ns, now.mono_ns);
    } else if (now_ns >= entry.heard_ns + every / 2 * 3) {
      set_life(entry, Life::late, now_ns, now.mono_ns);
    }
    schedule(entry, next_wake_ns(entry));
  }
}

bool Ledger::forget_oldest_gone(const Entry* except) {
  auto oldest = gone_.begin();
  if (oldest != gone_.end() && oldest->second == except) ++oldest;
  if (oldest == gone_.end()) return false;
  forget(*oldest->second);
  return true;
}

void Ledger::forget(Entry& entry) {
  settle(entry, std::numeric_limits<uint64_t>::max());  // holes of its last seconds are gaps too
  const Life life = entry.incarnation->life();
  --lives_[static_cast<size_t>(life)];
  bytes_ -= entry.bytes;
  wakes_.erase({entry.wake_ns, &entry});
  if (is_gone(life)) gone_.erase({entry.gone_ns, &entry});
  entries_.erase(IncarnationId(entry.incarnation->id));
}

std::vector<PublisherView> Ledger::publishers(size_t limit) const {
  // To copy a view costs far more than to choose it.
  std::vector<std::tuple<Life, uint64_t, const Entry*>> wanted;
  wanted.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) {
    wanted.emplace_back(entry.incarnation->life(), ~entry.last_seen_wall_ns, &entry);
  }
  if (limit < wanted.size()) {
    std::ranges::nth_element(wanted, wanted.begin() + static_cast<std::ptrdiff_t>(limit));
    wanted.resize(limit);
  }
  std::vector<PublisherView> views;
  views.reserve(wanted.size());
  for (const auto& [life, unseen, chosen] : wanted) {
    const Entry& entry = *chosen;
    PublisherView view;
    view.incarnation = entry.incarnation;
    view.life = life;
    view.last_seen_wall_ns = entry.last_seen_wall_ns;
    view.last_seen_mono_ns = entry.last_seen_mono_ns;
    view.highest_seq = entry.sequence.highest();
    view.envelopes = entry.envelopes;
    view.points = entry.points;
    view.spans = entry.spans;
    view.gaps = entry.sequence.gaps();
    view.duplicates = entry.duplicates;
    view.late = entry.late;
    view.spans_lost = std::max(entry.spans_lost, spans_missing(entry));
    view.series = entry.incarnation->series_count();
    view.accounts.insert(entry.accounts.begin(), entry.accounts.end());
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace insight
