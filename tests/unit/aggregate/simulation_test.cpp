// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

// Publishers come, say bye, die, fall silent and return; envelopes are lost and come late; the
// broker is killed at any moment and goes on from the snapshot of its last scrape.  Beside the
// Aggregate runs a model without folding, links, caches and files: a table of what each incarnation
// brought.
namespace insight::test {
namespace {

constexpr uint64_t kEvery = 10 * kSecond;
constexpr int64_t kHour = 3'600 * int64_t{kSecond};

/// What one publisher has counted: values by sample, and its gauge.
struct Counted {
  std::map<std::string, double> counters;  ///< by the value of the label `x`
  std::vector<uint64_t> buckets;
  double sum = 0;
  double gauge = 0;
};

struct Envelope {
  uint64_t seq = 0;
  Counted state;
  bool is_bye = false;
};

struct Actor {
  uint64_t number = 0;
  std::vector<double> bounds;
  Counted truth;
  uint64_t seq = 0;
  bool is_running = true;
  bool is_silent = false;
  bool was_shown_as_ended = false;
  std::deque<Envelope> under_way;
  uint64_t delivered_seq = 0;

  // What the Ledger of the running broker knows of it.
  std::optional<TestPublisher> heard;
  uint64_t heard_mono_ns = 0;
  uint64_t newest_seq = 0;
};

/// The samples that a publisher's values are part of, in the merged bounds {1, 2}.
std::map<std::string, double> samples_of(const Actor& actor, const Counted& state) {
  std::map<std::string, double> samples;
  for (const auto& [x, value] : state.counters) samples["c_total{x=\"" + x + "\"}"] = value;
  for (size_t i = 0; i < state.buckets.size(); ++i) {
    const auto count = static_cast<double>(state.buckets[i]);
    const bool is_bounded = i < actor.bounds.size();
    samples["h_bucket{le=\"1\"}"] += is_bounded && actor.bounds[i] <= 1 ? count : 0;
    samples["h_bucket{le=\"2\"}"] += is_bounded ? count : 0;
    samples["h_bucket{le=\"+Inf\"}"] += count;
    samples["h_count"] += count;
  }
  samples["h_sum"] = state.sum;
  return samples;
}

/// One running total of one incarnation.
struct Share {
  double before = 0;  ///< from its lives that were retired
  double base = 0;
  double value = 0;
  bool is_retired = false;

  double total() const { return before + value - base; }
};

struct Model {
  struct One {
    bool is_known = false;  ///< not retired
    bool is_bound = false;  ///< its Ledger's decisions are seen
    bool was_retired = false;
    Life life = Life::alive;
    int64_t since_ns = 0;
    double gauge = 0;
  };

  std::map<std::string, std::map<uint64_t, Share>> shares;
  std::map<uint64_t, One> incarnations;

  static bool shows_gauge(const One& one, const Now& now) {
    if (one.life == Life::alive || one.life == Life::late) return true;
    return one.life == Life::ended &&
           static_cast<int64_t>(now.mono_ns) - one.since_ns < 60 * int64_t{kSecond};
  }

  void read_life(One& one, const Actor& actor) {
    one.life = actor.heard->incarnation->life();
    one.since_ns = static_cast<int64_t>(actor.heard->incarnation->life_since_mono_ns());
  }

  void take(const Actor& actor, const Counted& state) {
    One& one = incarnations[actor.number];
    one.is_known = true;
    if (!std::exchange(one.is_bound, true)) read_life(one, actor);
    one.gauge = state.gauge;
    for (const auto& [sample, value] : samples_of(actor, state)) {
      const auto [at, is_new] = shares[sample].try_emplace(actor.number);
      Share& share = at->second;
      if (is_new ? one.was_retired : share.is_retired) {
        share = {.before = share.total(), .base = value, .value = value};
      } else {
        share.value = std::max(share.value, value);
      }
    }
  }

  void step(const Now& now, const std::map<uint64_t, Actor>& actors) {
    const auto mono_ns = static_cast<int64_t>(now.mono_ns);
    for (auto& [number, one] : incarnations) {
      if (!one.is_known) continue;
      if (one.is_bound) {
        read_life(one, actors.at(number));
      } else if (one.life == Life::late && mono_ns - one.since_ns >= 3 * int64_t{kEvery}) {
        one.life = Life::lost;
        one.since_ns = mono_ns;
      }
      if (one.life != Life::ended && one.life != Life::lost) continue;
      if (!shows_gauge(one, now)) one.is_bound = false;
      if (mono_ns - one.since_ns < kHour) continue;
      one = {.was_retired = true};
      for (auto& [sample, all] : shares) {
        const auto share = all.find(number);
        if (share != all.end()) share->second.is_retired = true;
      }
    }
  }

  void restart(const Now& now) {
    for (auto& [number, one] : incarnations) {
      one.is_bound = false;
      if (one.life != Life::alive && one.life != Life::late) continue;
      one.life = Life::late;
      one.since_ns = static_cast<int64_t>(now.mono_ns);
    }
  }

  std::map<std::string, double> expected(const Now& now) const {
    std::map<std::string, double> samples;
    for (const auto& [sample, all] : shares) {
      for (const auto& [number, share] : all) samples[sample] += share.total();
    }
    for (const auto& [number, one] : incarnations) {
      if (one.is_known && shows_gauge(one, now)) samples["g"] += one.gauge;
    }
    return samples;
  }
};

class Simulation {
 public:
  explicit Simulation(unsigned seed) : random_(seed) {
    // The first one lives through it all, so that the bounds are its own and each series is shown.
    Actor& first = start({1, 2});
    for (const char* x : {"a", "b", "c", "d"}) first.truth.counters[x] = 0;
    tick(kSecond);
    scrape();
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      act();
      const unsigned dice = roll(200);
      const unsigned ticks = dice == 0 ? 500 : dice < 5 ? 60 : 1;
      for (unsigned t = 0; t < ticks; ++t) tick((1 + roll(9)) * kSecond);
    }
    finish();
  }

  int kills = 0;
  int returns = 0;
  int checked_against_truth = 0;

 private:
  unsigned roll(unsigned sides) { return static_cast<unsigned>(random_() % sides); }

  void act() {
    const unsigned dice = roll(100);
    if (dice < 5 && actors_.size() < 150) {
      using Bounds = std::vector<double>;
      start(roll(2) == 0 ? Bounds{1, 2} : Bounds{0.5, 1, 1.5, 2});
    } else if (dice < 7) {
      kill_broker();
    } else if (dice < 20) {
      scrape();
    } else if (dice < 24) {
      flush();
    } else {
      act(std::next(actors_.begin(), roll(static_cast<unsigned>(actors_.size())))->second);
    }
  }

  void act(Actor& actor) {
    if (!actor.under_way.empty() && roll(2) == 0) deliver(actor);
    if (!actor.is_running || actor.number == 1) return;
    actor.is_silent = actor.is_silent ? roll(6) != 0 : roll(10) == 0;
    if (actor.is_silent) return;
    for (unsigned i = roll(5); i > 0; --i) count(actor.truth);
    const unsigned dice = roll(40);
    if (dice < 2) actor.is_running = false;
    if (dice != 0) send(actor, dice == 1);
  }

  Actor& start(std::vector<double> bounds) {
    const uint64_t number = actors_.size() + 1;
    Actor& actor = actors_[number];
    actor.number = number;
    actor.truth.buckets.resize(bounds.size() + 1);
    actor.bounds = std::move(bounds);
    return actor;
  }

  void count(Counted& truth) {
    truth.counters[std::string(1, static_cast<char>('a' + roll(4)))] += 1 + roll(5);
    ++truth.buckets[roll(static_cast<unsigned>(truth.buckets.size()))];
    truth.sum += 1 + roll(3);
    truth.gauge = roll(10);
  }

  void send(Actor& actor, bool is_bye) {
    const unsigned fate = roll(10);
    ++actor.seq;
    if (fate == 0) return;  // lost on its way
    actor.under_way.push_back({actor.seq, actor.truth, is_bye});
    while (fate < 8 && !actor.under_way.empty()) deliver(actor);
  }

  /// An envelope reaches the broker; now and then one is overtaken.
  void deliver(Actor& actor) {
    const size_t which = actor.under_way.size() > 1 && roll(4) == 0 ? 1 : 0;
    const Envelope envelope = actor.under_way[which];
    actor.under_way.erase(actor.under_way.begin() + static_cast<std::ptrdiff_t>(which));
    const auto known = model_.incarnations.find(actor.number);
    const bool is_back =
        known != model_.incarnations.end() && !known->second.is_known && known->second.was_retired;
    // Nothing waits in a socket for longer than the hour after which an incarnation is retired.
    if (is_back && envelope.seq < actor.delivered_seq) return;
    actor.delivered_seq = std::max(actor.delivered_seq, envelope.seq);
    returns += is_back ? 1 : 0;

    if (!actor.heard) {
      actor.heard.emplace(actor.number, world_.ids);
      actor.newest_seq = 0;
    }
    actor.heard_mono_ns = world_.now.mono_ns;
    Incarnation& incarnation = *actor.heard->incarnation;
    if (envelope.is_bye) incarnation.set_life(Life::ended, world_.now.mono_ns);
    if (incarnation.life() != Life::ended && incarnation.life() != Life::alive) {
      incarnation.set_life(Life::alive, world_.now.mono_ns);
    }
    if (envelope.seq < actor.newest_seq) return;  // the Ledger drops its points
    actor.newest_seq = envelope.seq;
    apply(actor, envelope.state);
  }

  void apply(Actor& actor, const Counted& state) {
    BatchBuilder batch;
    for (const auto& [x, value] : state.counters) {
      batch.counter(*actor.heard, "c", {{"x", x}}, value);
    }
    batch.histogram(*actor.heard, "h", actor.bounds, state.buckets, state.sum);
    batch.gauge(*actor.heard, "g", {}, state.gauge, GaugeMode::sum);
    const ReasonArray reasons = world_.apply(batch);
    CHECK(dropped(reasons, Reason::schema) == 0);
    CHECK(dropped(reasons, Reason::conflict) == 0);
    model_.take(actor, state);
  }

  /// Time goes by; the Ledger decides who lives, then the Aggregate does its work.
  void tick(uint64_t ns) {
    world_.now.mono_ns += ns;
    world_.now.wall_ns += ns;
    Actor& first = actors_.at(1);
    first.under_way = {{++first.seq, first.truth, false}};
    deliver(first);
    for (auto& [number, actor] : actors_) {
      if (!actor.heard) continue;
      const Life life = actor.heard->incarnation->life();
      const uint64_t silence_ns = world_.now.mono_ns - actor.heard_mono_ns;
      if (life == Life::alive && silence_ns > kEvery * 3 / 2)
        world_.set_life(*actor.heard, Life::late);
      if (life == Life::late && silence_ns > 3 * kEvery) world_.set_life(*actor.heard, Life::lost);
    }
    step();
    for (auto& [number, actor] : actors_) {
      if (!actor.heard) continue;
      const Incarnation& incarnation = *actor.heard->incarnation;
      const bool is_gone = incarnation.life() == Life::lost || incarnation.life() == Life::ended;
      const uint64_t age_ns = world_.now.mono_ns - incarnation.life_since_mono_ns();
      if (is_gone && age_ns >= static_cast<uint64_t>(kHour)) actor.heard.reset();
    }
  }

  void step() {
    world_.aggregate->step(world_.now);
    model_.step(world_.now, actors_);
  }

  void scrape() {
    step();
    const std::string text = world_.aggregate->render(world_.now);
    save();
    std::map<std::string, double> shown;
    for (const auto& [sample, value] : samples(text)) shown[sample] = std::stod(value);
    CHECK(shown == model_.expected(world_.now));
    for (const auto& [sample, value] : shown) {
      if (sample == "g") continue;
      CHECK_MESSAGE(value >= highest_[sample], sample);
      highest_[sample] = value;
    }
  }

  /// Who asks now is shown as ended who said bye: all that it sent is in the snapshot.
  void flush() {
    save();
    for (auto& [number, actor] : actors_) {
      if (actor.heard && actor.heard->incarnation->life() == Life::ended) {
        actor.was_shown_as_ended = true;
      }
    }
  }

  void save() {
    snapshot_ = world_.aggregate->save(world_.now);
    snapshot_model_ = model_;
  }

  void kill_broker() {
    ++kills;
    world_.ids = std::make_shared<SeriesIds>();
    world_.aggregate = std::make_unique<Aggregate>(world_.options);
    REQUIRE(world_.aggregate->load(snapshot_, world_.now));
    model_ = snapshot_model_;
    model_.restart(world_.now);
    for (auto& [number, actor] : actors_) actor.heard.reset();
  }

  void finish() {
    for (auto& [number, actor] : actors_) {
      actor.under_way.clear();
      if (!actor.is_running) continue;
      actor.under_way.push_back({++actor.seq, actor.truth, false});
      deliver(actor);
    }
    scrape();
    for (const auto& [number, actor] : actors_) {
      const auto one = model_.incarnations.find(number);
      if (one == model_.incarnations.end()) continue;
      const bool is_complete = actor.is_running || actor.was_shown_as_ended;
      for (const auto& [sample, truth] : samples_of(actor, actor.truth)) {
        const Share& share = model_.shares[sample][number];
        // What a returning incarnation counted unseen is not known.
        if (!is_complete || share.before != 0 || share.base != 0) continue;
        CHECK(share.total() == truth);
        ++checked_against_truth;
      }
    }
  }

  World world_;
  std::mt19937 random_;
  std::map<uint64_t, Actor> actors_;
  Model model_;
  std::string snapshot_;
  Model snapshot_model_;
  std::map<std::string, double> highest_;
};

}  // namespace

TEST_CASE("no exported counter or bucket ever falls and every total is right, whatever happens") {
  int kills = 0, returns = 0, checked = 0;
  for (unsigned seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    Simulation simulation(seed);
    simulation.run(3'000);
    kills += simulation.kills;
    returns += simulation.returns;
    checked += simulation.checked_against_truth;
  }
  MESSAGE(kills << " kills of the broker, " << returns << " returns after a retirement, " << checked
                << " totals compared with the truth");
  CHECK(kills > 100);
  CHECK(returns > 100);
  CHECK(checked > 100);
}

}  // namespace insight::test
