// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/metric_table.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "bus/base/text.hpp"
#include "bus/wire/decoder.hpp"
#include "bus/wire/limits.hpp"

namespace insight::native {

namespace {

constexpr size_t kPointsPerEnvelope = 1'000;
constexpr size_t kBytesPerEnvelope = 64 << 10;
constexpr size_t kCellsPerGather = 16'384;  // bounds how long the lock is held
constexpr size_t kMaxHelpBytes = 512;
constexpr std::string_view kOverflowKey = "insight_overflow";

constexpr double kLargest = std::numeric_limits<double>::max();
constexpr double kRounding = 1e-12;  // more than what the order of additions makes of a sum

// The sum of a histogram as it is sent: finite, and no smaller than before by rounding alone, which
// would look like a restart.  Observations below zero may make it smaller.
double steady_sum(double sum, double sent) noexcept {
  if (std::isnan(sum)) return sent;  // infinities of both signs
  sum = std::clamp(sum, -kLargest, kLargest);
  return sum < sent && sent - sum <= kRounding * sent ? sent : sum;
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= wire::kMaxNameBytes && is_utf8(name);
}

std::string_view without_total(std::string_view name) {
  if (name.ends_with("_total")) name.remove_suffix(6);
  return name;
}

// As UCUM writes it, which OpenTelemetry expects.
std::string_view unit_of(std::string_view name) {
  name = without_total(name);
  if (name.ends_with("_seconds")) return "s";
  if (name.ends_with("_ms")) return "ms";
  if (name.ends_with("_bytes")) return "By";
  if (name.ends_with("_tokens")) return "{token}";
  return "";
}

std::span<const double> default_bounds(std::string_view name) {
  if (name.ends_with("_ms")) return buckets::milliseconds;
  if (name.ends_with("_bytes")) return buckets::bytes;
  if (name.ends_with("_tokens")) return buckets::tokens;
  return buckets::seconds;
}

std::vector<double> sanitized(std::span<const double> bounds) {
  std::vector<double> clean;
  for (double bound : bounds) {
    if (std::isfinite(bound)) clean.push_back(bound + 0.0);  // no -0
  }
  std::ranges::sort(clean);
  clean.erase(std::unique(clean.begin(), clean.end()), clean.end());
  if (clean.size() >= wire::kMaxBuckets) clean.resize(wire::kMaxBuckets - 1);
  return clean;
}

std::string cut_help(std::string_view help) {
  std::string text = to_utf8(help);
  if (text.size() <= kMaxHelpBytes) return text;
  size_t end = kMaxHelpBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

std::string encode_family(const Metric& metric, std::vector<std::string> keys) {
  Family family;
  family.name = metric.name;
  family.kind = metric.kind;
  family.label_keys = std::move(keys);
  family.unit = metric.unit;
  family.help = metric.help;
  family.merge = metric.merge;
  family.bounds = metric.bounds;
  return wire::encode_family(family);
}

bool are_labels(const Labels& sorted) {
  if (sorted.size() > wire::kMaxLabels) return false;
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (!is_name(sorted[i].first) || !is_utf8(sorted[i].second)) return false;
    if (i > 0 && sorted[i].first == sorted[i - 1].first) return false;
  }
  return true;
}

std::string pack(const Labels& labels, std::string std::pair<std::string, std::string>::* part) {
  std::vector<std::string_view> views;
  views.reserve(labels.size());
  for (const auto& label : labels) views.push_back(label.*part);
  return wire::encode_labels(views);
}

}  // namespace

void MetricTable::give_back_cells() noexcept {
  for (LabelSet* set : order_) {
    if (set->metric->cells == 0) continue;
    for (const Instrument& instrument : set->series) {
      cells_.give_back(instrument.cell, set->metric->cells);
    }
  }
}

Instrument* MetricTable::find_or_add(const Request& request, const Labels& labels) {
  Metric* metric = find_or_add_metric(request);
  return metric == nullptr ? nullptr : resolve(*metric, labels);
}

Instrument* MetricTable::child(const Instrument& parent, const Labels& labels) {
  Metric& metric = *parent.label_set->metric;
  if (&parent == metric.overflow) return metric.overflow;
  std::vector<std::string_view> values;
  if (!wire::decode_labels(parent.labels, parent.label_set->keys.size(), values)) return nullptr;
  Labels all = labels;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string& key = parent.label_set->keys[i];
    if (std::ranges::none_of(labels, [&](const auto& label) { return label.first == key; })) {
      all.emplace_back(key, values[i]);
    }
  }
  return resolve(metric, all);
}

Metric* MetricTable::find_or_add_metric(const Request& request) {
  const std::string name(request.name);
  if (auto it = metrics_.find(name); it != metrics_.end()) {
    Metric& metric = *it->second;
    const bool other_bounds = request.kind == Kind::histogram && !request.bounds.empty() &&
                              metric.bounds != sanitized(request.bounds);
    if (metric.kind == request.kind && !other_bounds) return &metric;
    drops_.add(Drop::conflict);
    return nullptr;
  }
  if (!is_name(name)) {
    drops_.add(Drop::bad_name);
    return nullptr;
  }
  if (series_count_ + metrics_.size() + 2 > kMaxSeries) {
    drops_.add(Drop::series_limit);
    return nullptr;
  }
  auto metric = std::make_unique<Metric>();
  metric->name = name;
  metric->help = cut_help(request.help);
  metric->unit = unit_of(name);
  metric->kind = request.kind;
  metric->merge = request.merge;
  metric->cells = request.kind == Kind::counter ? 1 : 0;
  if (request.kind == Kind::histogram) {
    metric->bounds = sanitized(request.bounds);
    if (metric->bounds.empty()) metric->bounds = sanitized(default_bounds(without_total(name)));
    metric->cells = static_cast<uint32_t>(metric->bounds.size()) + 2;
  }
  // The family of the overflow series must fit, whatever labels come.
  if (encode_family(*metric, {std::string(kOverflowKey)}).size() > wire::kMaxFamilyBytes) {
    drops_.add(Drop::bad_bounds);
    return nullptr;
  }
  return metrics_.emplace(name, std::move(metric)).first->second.get();
}

Instrument* MetricTable::resolve(Metric& metric, const Labels& labels) {
  Labels sorted = labels;
  std::ranges::sort(sorted);
  if (!are_labels(sorted)) {
    drops_.add(Drop::bad_label);
    return overflow(metric);
  }
  std::string key = pack(sorted, &Labels::value_type::first);
  key += pack(sorted, &Labels::value_type::second);
  if (auto it = metric.series.find(key); it != metric.series.end()) {
    it->second->is_live = true;
    return it->second;
  }
  if (metric.series.size() >= kMaxSeriesPerMetric ||
      series_count_ + metrics_.size() >= kMaxSeries) {
    return overflow(metric);
  }
  Instrument* instrument = add(metric, sorted, std::move(key));
  return instrument != nullptr ? instrument : overflow(metric);
}

// Null when the labels do not fit into an envelope, or when there are no cells left.
Instrument* MetricTable::add(Metric& metric, const Labels& sorted, std::string key) {
  std::string values = pack(sorted, &Labels::value_type::second);
  const std::string packed_keys = pack(sorted, &Labels::value_type::first);
  if (values.size() > wire::kMaxLabelBytes) {
    drops_.add(Drop::bad_label);
    return nullptr;
  }
  auto found = metric.label_sets.find(packed_keys);
  std::unique_ptr<LabelSet> fresh;
  if (found == metric.label_sets.end()) {
    fresh = std::make_unique<LabelSet>();
    fresh->metric = &metric;
    for (const auto& label : sorted) fresh->keys.push_back(label.first);
    fresh->family = encode_family(metric, fresh->keys);
    if (fresh->family.size() > wire::kMaxFamilyBytes) {
      drops_.add(Drop::bad_label);
      return nullptr;
    }
  }
  uint32_t cell = 0;
  if (metric.cells != 0) {
    cell = cells_.take(metric.cells);
    if (cell == 0) {
      drops_.add(Drop::memory);
      return nullptr;
    }
  }
  if (fresh != nullptr) {
    order_.push_back(fresh.get());
    found = metric.label_sets.emplace(packed_keys, std::move(fresh)).first;
  }
  LabelSet* set = found->second.get();
  std::unique_ptr<ExemplarSlot> slot;
  if (metric.kind == Kind::histogram) slot = std::make_unique<ExemplarSlot>();
  Instrument& instrument = set->series.emplace_back();
  instrument.core = core_;
  instrument.label_set = set;
  instrument.labels = std::move(values);
  instrument.cell = cell;
  instrument.gauge.store(kUnset, std::memory_order_relaxed);
  instrument.exemplar = std::move(slot);
  instrument.is_live = true;
  metric.series.emplace(std::move(key), &instrument);
  ++series_count_;
  return &instrument;
}

Instrument* MetricTable::overflow(Metric& metric) {
  if (metric.overflow == nullptr) {
    const Labels labels{{std::string(kOverflowKey), "true"}};
    std::string key = pack(labels, &Labels::value_type::first);
    key += pack(labels, &Labels::value_type::second);
    auto it = metric.series.find(key);
    metric.overflow = it != metric.series.end() ? it->second : add(metric, labels, std::move(key));
  }
  if (metric.overflow != nullptr) metric.overflow->is_live = true;
  return metric.overflow;
}

// Reads the instrument into `value` (and buckets_); false: nothing to send, or as it was sent.
bool MetricTable::is_changed(const Instrument& instrument, Sent& value) {
  const Metric& metric = *instrument.label_set->metric;
  if (metric.kind == Kind::gauge) {
    const uint64_t bits = instrument.gauge.load(std::memory_order_relaxed);
    value.value = std::bit_cast<double>(bits);
    return bits != std::bit_cast<uint64_t>(instrument.sent_value);
  }
  if (metric.kind == Kind::counter) {
    // When a thread ends, its cells are added in another order, and fractions may round down.
    value.value = std::clamp(cells_.total(instrument.cell), instrument.sent_value, kLargest);
    return value.value != instrument.sent_value;
  }
  const uint32_t buckets = metric.cells - 1;
  buckets_.resize(buckets);
  uint64_t count = 0;
  for (uint32_t i = 0; i < buckets; ++i) {
    buckets_[i] = static_cast<uint64_t>(cells_.total(instrument.cell + i));
    count += buckets_[i];
  }
  value.value = static_cast<double>(count);
  value.sum = steady_sum(cells_.total(instrument.cell + buckets), instrument.sent_sum);
  return value.value != instrument.sent_value || value.sum != instrument.sent_sum;
}

void MetricTable::gather(const Due& due, Cursor& cursor, wire::EnvelopeWriter& writer,
                         std::vector<Sent>& sent) {
  size_t looked_at = 0;
  for (; cursor.label_set < order_.size(); ++cursor.label_set, cursor.series = 0) {
    LabelSet& set = *order_[cursor.label_set];
    const Metric& metric = *set.metric;
    bool has_family = false;
    for (; cursor.series < set.series.size(); ++cursor.series) {
      if (looked_at >= kCellsPerGather || sent.size() >= kPointsPerEnvelope ||
          writer.bytes() >= kBytesPerEnvelope) {
        return;
      }
      looked_at += 1 + metric.cells;
      Instrument& instrument = set.series[cursor.series];
      Sent value{.instrument = &instrument};
      Exemplar exemplar;
      // Before the cells, which are written before it.
      if (instrument.exemplar != nullptr) value.exemplar = instrument.exemplar->read(exemplar);
      const bool is_changed_now = is_changed(instrument, value);
      if (metric.kind == Kind::gauge) {
        if (std::bit_cast<uint64_t>(value.value) == kUnset) continue;
      } else if (!instrument.is_live) {
        if (value.value == 0) continue;
        instrument.is_live = true;
      }
      const bool is_due = instrument.sent_mono_ns == 0 ||
                          instrument.sent_mono_ns < due.all_before_mono_ns ||
                          due.now_mono_ns - instrument.sent_mono_ns >= due.refresh_ns;
      if (!is_changed_now && !is_due) continue;
      if (!has_family) {
        writer.family(set.family);
        has_family = true;
      }
      if (metric.kind == Kind::histogram) {
        HistogramValue histogram;
        histogram.count = static_cast<uint64_t>(value.value);
        histogram.sum = value.sum;
        histogram.buckets = buckets_;
        writer.point(instrument.labels, histogram, value.exemplar != 0 ? &exemplar : nullptr);
      } else {
        writer.point(instrument.labels, value.value);
      }
      sent.push_back(value);
    }
  }
  cursor = {};
}

void MetricTable::sent(const std::vector<Sent>& sent, uint64_t now_mono_ns) noexcept {
  for (const Sent& one : sent) {
    one.instrument->sent_value = one.value;
    one.instrument->sent_sum = one.sum;
    one.instrument->sent_mono_ns = now_mono_ns;
    if (one.exemplar != 0) one.instrument->exemplar->forget(one.exemplar);
  }
}

bool MetricTable::has_live() const noexcept {
  for (const LabelSet* set : order_) {
    const Metric& metric = *set->metric;
    for (const Instrument& instrument : set->series) {
      if (metric.kind == Kind::gauge) {
        if (instrument.gauge.load(std::memory_order_relaxed) != kUnset) return true;
        continue;
      }
      if (instrument.is_live) return true;
      for (uint32_t i = 0; i + (metric.kind == Kind::histogram ? 1 : 0) < metric.cells; ++i) {
        if (cells_.total(instrument.cell + i) != 0) return true;
      }
    }
  }
  return false;
}

void MetricTable::restart() noexcept {
  for (LabelSet* set : order_) {
    for (Instrument& instrument : set->series) {
      instrument.gauge.store(kUnset, std::memory_order_relaxed);
      instrument.is_live = false;
      instrument.sent_value = 0;
      instrument.sent_sum = 0;
      instrument.sent_mono_ns = 0;
      if (instrument.exemplar != nullptr) instrument.exemplar->restart();
    }
  }
}

}  // namespace insight::native
