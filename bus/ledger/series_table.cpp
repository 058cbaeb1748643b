// SPDX-License-Identifier: Apache-2.0
#include "bus/ledger/series_table.hpp"

#include <algorithm>
#include <array>

#include "bus/base/text.hpp"
#include "bus/wire/decoder.hpp"

namespace insight {

namespace {

// Enough to find the worst ten, however many metrics are over a limit.
constexpr size_t kMaxRefused = 64;

std::string_view to_string(SeriesLimit limit) noexcept {
  static constexpr std::array<std::string_view, 4> names{"series", "series_per_metric",
                                                         "series_per_publisher", "bytes"};
  return names[static_cast<size_t>(limit)];
}

// The bytes come twice: as they were sent, and decoded.
uint64_t cost_of_labels(std::string_view labels) {
  return sizeof(KnownSeries) + sizeof(Series) + 2 * labels.size();
}

uint64_t cost_of_family(std::string_view family) { return sizeof(Family) + 3 * family.size(); }

/// The series in which a publisher sums up what is over its own limit.
bool is_overflow(const Series& series) {
  const auto& keys = series.family->label_keys;
  for (size_t i = 0; i < keys.size() && i < series.label_values.size(); ++i) {
    if (keys[i] == "insight_overflow" && series.label_values[i] == "true") return true;
  }
  return false;
}

}  // namespace

SeriesTable::SeriesTable(SeriesLimits limits) : limits_(limits), key_(random_key()) {}

Result<KnownFamily*, Reason> SeriesTable::family(std::string_view bytes) {
  const uint64_t hash = keyed_hash(bytes, key_);
  const uint32_t found =
      index_.find(hash, [&](uint32_t position) { return families_[position]->bytes == bytes; });
  if (found != FlatIndex::kNone) {
    ++families_[found]->uses;
    return families_[found].get();
  }

  auto decoded = wire::decode_family(bytes);
  if (!decoded) return decoded.error();
  auto known = std::make_unique<KnownFamily>();
  known->family = std::make_shared<const Family>(std::move(decoded.value()));
  known->bytes = bytes;
  known->hash = hash;
  known->uses = 1;
  const auto [metric, is_new] = metrics_.try_emplace(known->family->name);
  if (is_new) metric->second.name = metric->first;
  ++metric->second.families;
  known->metric = &metric->second;
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(families_.size()));
    families_.emplace_back();
  }
  known->position = free_.back();
  free_.pop_back();
  index_.insert(hash, known->position);
  bytes_ += cost_of_family(bytes);
  KnownFamily* const result = known.get();
  families_[result->position] = std::move(known);
  return result;
}

void SeriesTable::release(KnownFamily* family) {
  if (--family->uses != 0) return;
  if (--family->metric->families == 0) metrics_.erase(metrics_.find(family->metric->name));
  bytes_ -= cost_of_family(family->bytes);
  index_.erase(family->hash, family->position);
  free_.push_back(family->position);
  families_[family->position].reset();
}

bool SeriesTable::is_held_by_gone(SeriesLimit limit, const KnownFamily& family) const noexcept {
  switch (limit) {
    case SeriesLimit::series:
    case SeriesLimit::bytes:
      return gone_series_ > 0;
    case SeriesLimit::series_per_metric:
      return family.metric->gone_series > 0;
    case SeriesLimit::series_per_publisher:
      break;
  }
  return false;
}

void SeriesTable::note_refused(SeriesLimit limit, const KnownFamily& family,
                               const IncarnationId& publisher, uint64_t points) {
  const std::string_view metric = family.family->name;
  auto row = std::find_if(refused_.begin(), refused_.end(), [&](const Refused& refused) {
    return refused.limit == limit && refused.metric == metric;
  });
  if (row == refused_.end()) {
    if (refused_.size() == kMaxRefused) {
      row = std::min_element(refused_.begin(), refused_.end(),
                             [](const auto& a, const auto& b) { return a.points < b.points; });
      *row = {};
    } else {
      row = refused_.emplace(row);
    }
    row->metric = metric;
    row->limit = limit;
  }
  row->publisher = publisher;
  row->points += points;
}

std::vector<CollectorStats::Offender> SeriesTable::offenders(size_t at_most) const {
  std::vector<CollectorStats::Offender> rows;
  for (const Refused& one : refused_) {
    rows.push_back(
        {one.metric, to_hex(one.publisher.view()), std::string(to_string(one.limit)), one.points});
  }
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.points > b.points; });
  if (rows.size() > at_most) rows.resize(at_most);
  for (const auto& [name, metric] : metrics_) {
    if (rows.size() == at_most) break;
    if (metric.overflow_series == 0) continue;
    rows.push_back({name, to_hex(metric.overflow_publisher.view()), "publisher overflow", 0});
  }
  return rows;
}

std::vector<std::pair<std::string, uint64_t>> SeriesTable::largest_metrics(size_t at_most) const {
  std::vector<const Metric*> all;
  all.reserve(metrics_.size());
  for (const auto& [name, metric] : metrics_) all.push_back(&metric);
  const auto end = all.begin() + static_cast<ptrdiff_t>(std::min(at_most, all.size()));
  std::partial_sort(all.begin(), end, all.end(), [](const Metric* a, const Metric* b) {
    return a->series != b->series ? a->series > b->series : a->name < b->name;
  });
  std::vector<std::pair<std::string, uint64_t>> rows;
  for (auto one = all.begin(); one != end; ++one) rows.emplace_back((*one)->name, (*one)->series);
  return rows;
}

void SeriesTable::count(const KnownSeries& series, bool is_gone) noexcept {
  Metric& metric = *series.family->metric;
  ++metric.series;
  ++series_;
  if (is_gone) {
    ++metric.gone_series;
    ++gone_series_;
  }
  bytes_ += cost_of_labels(series.labels);
  if (is_overflow(*series.series)) {
    ++metric.overflow_series;
    metric.overflow_publisher = series.series->incarnation->id;
  }
}

void SeriesTable::discount(const KnownSeries& series, bool is_gone) {
  KnownFamily* family = families_[series.family->position].get();
  Metric& metric = *family->metric;
  --metric.series;
  --series_;
  if (is_gone) {
    --metric.gone_series;
    --gone_series_;
  }
  bytes_ -= cost_of_labels(series.labels);
  if (is_overflow(*series.series)) --metric.overflow_series;
  release(family);
}

PublisherSeries::PublisherSeries(SeriesTable& table, std::shared_ptr<Incarnation> incarnation)
    : table_(table), incarnation_(std::move(incarnation)) {}

PublisherSeries::~PublisherSeries() {
  for (const KnownSeries& series : known_) table_.discount(series, is_gone_);
}

uint64_t PublisherSeries::hash(const KnownFamily& family, std::string_view labels) const noexcept {
  return keyed_hash(labels, table_.key_ ^ family.hash);
}

KnownSeries* PublisherSeries::find(const KnownFamily& family, std::string_view labels) noexcept {
  const auto is_it = [&](size_t position) {
    const KnownSeries& known = known_[position];
    return known.family == &family && known.labels == labels;
  };
  // Publishers send their series in the same order again and again.
  if (next_ >= known_.size() || !is_it(next_)) {
    next_ = index_.find(hash(family, labels), is_it);
    if (next_ == FlatIndex::kNone) return nullptr;
  }
  return &known_[next_++];
}

PublisherSeries::Added PublisherSeries::add(KnownFamily& family, std::string_view labels) {
  const SeriesLimits& limits = table_.limits_;
  const auto over = [](SeriesLimit limit) { return Added{nullptr, true, limit}; };
  if (known_.size() >= limits.series_per_publisher) return over(SeriesLimit::series_per_publisher);
  if (family.metric->series >= limits.series_per_metric)
    return over(SeriesLimit::series_per_metric);
  if (table_.series_ >= limits.series) return over(SeriesLimit::series);
  if (table_.bytes_ + cost_of_labels(labels) > limits.bytes) return over(SeriesLimit::bytes);

  std::vector<std::string_view> values;
  if (!wire::decode_labels(labels, family.family->label_keys.size(), values)) return {};
  KnownSeries known;
  known.series = &incarnation_->add_series(family.family, values);
  known.family = &family;
  known.labels = labels_.copy(labels);
  index_.insert(hash(family, labels), static_cast<uint32_t>(known_.size()));
  known_.push_back(known);
  next_ = known_.size();
  ++family.uses;
  table_.count(known, is_gone_);
  return {&known_.back()};
}

void PublisherSeries::set_gone(bool is_gone) {
  if (is_gone_ == is_gone) return;
  is_gone_ = is_gone;
  for (const KnownSeries& series : known_) {
    if (is_gone) {
      ++series.family->metric->gone_series;
    } else {
      --series.family->metric->gone_series;
    }
  }
  is_gone ? table_.gone_series_ += known_.size() : table_.gone_series_ -= known_.size();
}

}  // namespace insight
