// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bus/model/batch.hpp"
#include "publishers/native/drops.hpp"
#include "publishers/native/span_record.hpp"

namespace insight::native {

/// The states of one publisher: those that are open, and those that have ended and whose end was
/// not sent yet.  Bounded; a state that it took is never lost between its beginning and its end.
/// Every method needs the process lock.
class StateTable {
 public:
  static constexpr size_t kMaxStates = 4'096;
  static constexpr size_t kMaxBytes = 4 << 20;

  explicit StateTable(Drops& drops) : drops_(drops) {}

  /// The number of the state; 0, and counted, when there is no room for one more.
  uint64_t begin(const SpanRecord& record);

  /// Takes the encoded end; without room for it, or when it is empty, the state ends as it began.
  /// False: it has been ended already.
  bool end(uint64_t id, std::string encoded, SpanStatus status, uint64_t end_ns) noexcept;

  /// A record that is due.
  struct Due {
    uint64_t id = 0;
    SpanWhat what = SpanWhat::begin;
    std::string encoded;
    uint64_t time_ns = 0;  ///< when what it says happened; 0 of `open`
    bool is_new = false;   ///< not recorded by the application: made here
  };

  struct When {
    uint64_t now_mono_ns = 0;
    uint64_t refresh_ns = 0;          ///< sent longer ago than this: again
    uint64_t all_before_mono_ns = 0;  ///< sent before this moment: again
    uint64_t close_wall_ns = 0;       ///< not 0: what is open ends now
  };

  /// Adds what is due to `due`, from the state after `after` on, as far as one envelope goes.  The
  /// state that it came to; 0: there are no more.
  uint64_t gather(const When& when, uint64_t after, std::vector<Due>& due);

  /// These were sent.
  void sent(const std::vector<Due>& due, uint64_t now_mono_ns) noexcept;

  void clear() noexcept;

 private:
  struct State {
    SpanRecord record;          // as it began
    std::string end;            // encoded; empty: as it began
    uint64_t end_ns = 0;        // 0: open
    uint64_t sent_mono_ns = 0;  // 0: the broker does not know it
    size_t bytes = 0;
  };

  Drops& drops_;
  std::map<uint64_t, State> states_;  // in the order in which they began
  uint64_t last_id_ = 0;
  size_t bytes_ = 0;
};

}  // namespace insight::native
