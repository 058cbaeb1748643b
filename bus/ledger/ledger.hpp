// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/base/result.hpp"
#include "bus/ledger/sequence.hpp"
#include "bus/ledger/series_table.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/publisher_view.hpp"
#include "bus/wire/decoder.hpp"

namespace insight {

struct LedgerOptions {
  size_t incarnations = 100'000;
  uint64_t bytes = 256 << 20;  ///< of resources and accounts, over all incarnations
  uint64_t forget_ended_after_ns = 3'600 * kSecond;  ///< also lost ones
};

/// Knows every incarnation: alive or ended, sequence numbers, gaps, losses.  It alone decides that
/// a publisher is late, lost or ended.  Pure; thread-bound to its collector.
///
/// Silence is measured on a clock that stands still while nobody calls receive() or step(): when
/// the broker itself was stopped, nobody is lost for that.
class Ledger {
 public:
  /// What an envelope is to the Ledger.
  enum class Verdict : uint8_t {
    fresh,      ///< newer than all before
    late,       ///< fills a gap: it came after a newer one
    duplicate,  ///< came before; drop it whole
    malformed,  ///< its resource is; drop it whole
    full,       ///< no room for another incarnation
  };

  /// One incarnation; stays where it is until it is forgotten.
  struct Entry {
    std::shared_ptr<Incarnation> incarnation;
    std::unique_ptr<PublisherSeries> series;  ///< for the collector's use; goes with the entry

    // The Ledger's own.
    std::string resource;  ///< P(resource), as first seen
    Sequence sequence;
    uint64_t bye_seq = 0;
    uint64_t heard_ns = 0;  ///< on the clock of silence
    uint64_t wake_ns = 0;
    uint64_t gone_ns = 0;
    uint64_t last_seen_wall_ns = 0;
    uint64_t last_seen_mono_ns = 0;
    uint64_t envelopes = 0;
    uint64_t points = 0;
    uint64_t spans = 0;
    uint64_t duplicates = 0;
    uint64_t late = 0;
    uint64_t bytes = 0;
    std::vector<std::pair<std::string, uint64_t>> accounts;
    // Spans sent as of envelope `account_seq`, those received up to it, and those of before this
    // broker knew the incarnation.
    uint64_t account_seq = 0;
    uint64_t spans_sent = 0;
    uint64_t spans_received = 0;
    uint64_t spans_before = 0;
    bool is_spans_before_known = false;
    uint64_t spans_lost = 0;  ///< counted for good
    bool is_stale =
        false;  ///< from the snapshot of a broker that did not stop cleanly, not heard since
  };

  struct Receipt {
    Verdict verdict = Verdict::full;
    Entry* entry = nullptr;  ///< null when malformed or full
  };

  /// Sums over all incarnations since the start of the process, also forgotten ones; they never
  /// fall.
  struct Totals {
    uint64_t gaps = 0;
    uint64_t spans_lost = 0;
    uint64_t resources_changed = 0;  ///< envelopes whose resource differs from the first one
    std::map<std::string, uint64_t> dropped_at_publishers;  ///< by the reason of `drop.<reason>`
  };

  Ledger(LedgerOptions options, std::shared_ptr<SeriesIds> ids);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  /// Books an envelope in.
  Receipt receive(const wire::EnvelopeView& envelope, const Now& now);

  /// Moves incarnations on to late and lost, closes gaps that are older than 5 s, forgets.  Call it
  /// about once a second; costs what is due, not what is known.
  void step(const Now& now);

  /// Forgets the incarnation (but not `except`) that ended or was lost first.  False when there is
  /// none.
  bool forget_oldest_gone(const Entry* except = nullptr);

  /// At most `limit` of them: those that live first, of each state the ones heard last.
  std::vector<PublisherView> publishers(size_t limit = SIZE_MAX) const;

  const Totals& totals() const noexcept { return totals_; }

  /// Incarnations by Life.
  const std::array<uint64_t, 4>& lives() const noexcept { return lives_; }

  /// The state as bytes, and back into an empty Ledger.  `is_clean`: nothing was received after
  /// this.
  std::string save(const Now& now, bool is_clean) const;
  /// Incarnations come back as late, ended and lost ones as they were.  Gives their number, or says
  /// what is wrong with the bytes and stays empty.
  Result<size_t> load(std::string_view bytes, const Now& now);

 private:
  struct KeyedIdHash {
    uint64_t key;
    size_t operator()(const IncarnationId& id) const noexcept;
  };

  static uint64_t every_ns_of(uint64_t every_ms) noexcept;
  uint64_t listen(const Now& now) noexcept;
  bool make_room();
  Entry* enter(const wire::EnvelopeView& envelope, uint64_t now_ns, const Now& now);
  void hear(Entry& entry, const wire::EnvelopeView& envelope, bool is_fresh, uint64_t now_ns,
            const Now& now);
  void take_accounts(Entry& entry, const wire::EnvelopeView& envelope);
  void count_spans(Entry& entry, const wire::EnvelopeView& envelope, bool is_fresh);
  void settle(Entry& entry, uint64_t now_ns);
  void set_life(Entry& entry, Life life, uint64_t now_ns, uint64_t mono_ns);
  uint64_t next_wake_ns(const Entry& entry) const noexcept;
  void schedule(Entry& entry, uint64_t at_ns);
  void insert_timers(Entry& entry);
  void forget(Entry& entry);

  const LedgerOptions options_;
  const std::shared_ptr<SeriesIds> ids_;
  std::unordered_map<IncarnationId, Entry, KeyedIdHash> entries_;
  std::set<std::pair<uint64_t, Entry*>> wakes_;  ///< every entry, by wake_ns
  std::set<std::pair<uint64_t, Entry*>> gone_;   ///< ended and lost ones, by gone_ns
  std::array<uint64_t, 4> lives_{};
  Totals totals_;
  uint64_t bytes_ = 0;
  uint64_t last_call_ns_ = 0;
  uint64_t stopped_ns_ = 0;
};

}  // namespace insight
