// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bus/model/batch.hpp"
#include "bus/model/series.hpp"
#include "bus/wire/encoder.hpp"
#include "publishers/native/cells.hpp"
#include "publishers/native/drops.hpp"
#include "publishers/native/exemplar_slot.hpp"
#include <insight/insight.hpp>

namespace insight::native {

struct Metric;

/// One label set's keys of a metric: what travels as one family.
struct LabelSet {
  Metric* metric = nullptr;
  std::vector<std::string> keys;  ///< sorted
  std::string family;             ///< P(family)
  std::deque<Instrument> series;  ///< never moves
};

/// One series of one publisher.
struct Instrument {
  Core* core = nullptr;
  LabelSet* label_set = nullptr;
  std::string labels;  ///< P([label values])
  uint32_t cell = 0;   ///< counter: its cell; histogram: buckets, then the sum
  /// Gauge: the bits of its value; see kUnset.  Written by any thread.
  std::atomic<uint64_t> gauge{0};
  std::unique_ptr<ExemplarSlot> exemplar;  ///< of a histogram

  // Process lock.
  bool is_live = false;  ///< registered or recorded in this incarnation

  // Flush thread only: what was accepted by the last send.
  double sent_value = 0;
  double sent_sum = 0;
  uint64_t sent_mono_ns = 0;  ///< 0: never
};

/// A gauge that nobody has set yet.  No arithmetic gives these bits; a NaN that is set is made
/// another one.
inline constexpr uint64_t kUnset = 0x7FF8'DEAD'0000'0001;

/// One name.
struct Metric {
  std::string name;
  std::string help;
  std::string unit;
  Kind kind = Kind::counter;
  GaugeMode merge = GaugeMode::last;
  std::vector<double> bounds;
  uint32_t cells = 0;                                                     ///< that a series takes
  std::unordered_map<std::string, std::unique_ptr<LabelSet>> label_sets;  ///< by keys
  std::unordered_map<std::string, Instrument*> series;                    ///< by keys and values
  Instrument* overflow = nullptr;
};

/// The series of one publisher, bounded whatever the application asks for.  Every method needs the
/// process lock, but for sent().
class MetricTable {
 public:
  static constexpr size_t kMaxSeriesPerMetric = 2'000;
  /// Each metric counts once more, for its overflow series.  What the broker takes from a
  /// publisher.
  static constexpr size_t kMaxSeries = 20'000;

  MetricTable(Core* core, CellSpace& cells, Drops& drops)
      : core_(core), cells_(cells), drops_(drops) {}

  MetricTable(const MetricTable&) = delete;
  MetricTable& operator=(const MetricTable&) = delete;

  struct Request {
    std::string_view name;
    Kind kind = Kind::counter;
    std::string_view help;
    GaugeMode merge = GaugeMode::last;
    std::span<const double> bounds;  ///< empty: by the suffix of the name
  };

  /// The instrument of that name with those labels.  Null when the request is refused; the reason
  /// is counted.
  Instrument* find_or_add(const Request& request, const Labels& labels);

  /// `parent` with further labels.
  Instrument* child(const Instrument& parent, const Labels& labels);

  /// Where a gather goes on.
  struct Cursor {
    size_t label_set = 0;
    size_t series = 0;

    bool is_at_start() const noexcept { return label_set == 0 && series == 0; }
  };

  /// A value that is on its way.
  struct Sent {
    Instrument* instrument = nullptr;
    double value = 0;
    double sum = 0;
    uint64_t exemplar = 0;  ///< its version; 0: none
  };

  struct Due {
    uint64_t now_mono_ns = 0;
    uint64_t refresh_ns = 0;          ///< sent longer ago than this: again
    uint64_t all_before_mono_ns = 0;  ///< sent before this moment: again
  };

  /// Writes points that changed, or are due, into `writer`, and what it wrote into `sent`.  Stops
  /// when the envelope is large enough or many series were looked at; the cursor is then not at the
  /// start.
  void gather(const Due& due, Cursor& cursor, wire::EnvelopeWriter& writer,
              std::vector<Sent>& sent);

  /// These were accepted by a send.  Flush thread; needs no lock.
  static void sent(const std::vector<Sent>& sent, uint64_t now_mono_ns) noexcept;

  /// Nobody records into these series any more.
  void give_back_cells() noexcept;

  /// True when any series has something to say in this incarnation.
  bool has_live() const noexcept;

  /// In a forked child: nothing was recorded, nothing was sent.
  void restart() noexcept;

  size_t size() const noexcept { return series_count_; }

 private:
  Metric* find_or_add_metric(const Request& request);
  Instrument* resolve(Metric& metric, const Labels& labels);
  Instrument* add(Metric& metric, const Labels& sorted, std::string key);
  Instrument* overflow(Metric& metric);
  bool is_changed(const Instrument& instrument, Sent& value);

  Core* core_;  ///< what its instruments belong to; never followed here
  CellSpace& cells_;
  Drops& drops_;
  std::unordered_map<std::string, std::unique_ptr<Metric>> metrics_;
  std::vector<LabelSet*> order_;
  size_t series_count_ = 0;
  std::vector<uint64_t> buckets_;  // of the histogram that is being read
};

}  // namespace insight::native
