// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/transform.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>

#include "bus/base/text.hpp"

namespace insight {

namespace {

constexpr size_t kMostHidden = 64;  // bits of Publisher::hidden

bool matches_any(const std::vector<std::string>& globs, std::string_view name) {
  return std::ranges::any_of(globs,
                             [&](const std::string& glob) { return matches_glob(glob, name); });
}

template <typename T>
T* copy_of(Arena& arena, const T& value) {
  return new (arena.take<T>(1).data()) T(value);
}

/// False when the buckets of the scaled values are not those of the values.
bool scale(ExpHistogramValue& value, double factor) {
  // The bounds are powers of 2^(2^-scale): by a whole number of those they can be moved.
  const double steps = std::ldexp(std::log2(factor), value.scale);
  if (steps != std::floor(steps) || std::abs(steps) > 1e9) return false;
  const auto moved = [steps](int32_t offset, int32_t& to) {
    const double sum = offset + steps;
    if (std::abs(sum) > std::numeric_limits<int32_t>::max()) return false;
    to = static_cast<int32_t>(sum);
    return true;
  };
  value.sum *= factor;
  value.min *= factor;
  value.max *= factor;
  return moved(value.positive_offset, value.positive_offset) &&
         moved(value.negative_offset, value.negative_offset);
}

template <typename Values>
void forget_expired(Values& values, size_t& next_at, auto is_expired) {
  if (values.size() < next_at) return;
  std::erase_if(values, [&](const auto& item) { return is_expired(item.second); });
  next_at = std::max<size_t>(64, 2 * values.size());
}

}  // namespace

Transform::Transform(TransformOptions options) : options_(std::move(options)) {}

bool Transform::passes(std::string_view name) const {
  return (options_.include.empty() || matches_any(options_.include, name)) &&
         !matches_any(options_.exclude, name);
}

std::string_view Transform::renamed(std::string_view name) const {
  for (const auto& [from, to] : options_.rename) {
    if (from == name) return to;
  }
  return name;
}

Transformed Transform::apply(const Batch& in) {
  // The batch before, with the incarnations that it held; the memory is used again.
  out_.segments.clear();
  out_.points.clear();
  out_.spans.clear();
  out_.arena = Arena();
  out_.signal = in.signal;
  return in.signal == Signal::metrics ? apply_to_points(in) : apply_to_spans(in);
}

/// `kept_before`: how many records before each one are kept.
void Transform::set_segments(const Batch& in, const std::vector<size_t>& kept_before) {
  out_.segments = in.segments;
  for (Segment& segment : out_.segments) {
    segment.begin = kept_before[segment.begin];
    segment.end = kept_before[segment.end];
  }
}

Transformed Transform::apply_to_points(const Batch& in) {
  bool is_same = true;
  for (const Segment& segment : in.segments) {
    if (segment.begin == segment.end) continue;
    Publisher& publisher = publisher_of(segment.incarnation);
    for (size_t i = segment.begin; i < segment.end; ++i) {
      is_same = entry_of(*in.points[i].series, publisher).target == in.points[i].series && is_same;
    }
  }
  if (is_same) return {.batch = &in};

  Transformed result{.batch = &out_};
  std::vector<size_t> kept_before(in.points.size() + 1);
  for (size_t i = 0; i < in.points.size(); ++i) {
    kept_before[i] = out_.points.size();
    const Entry& entry = entries_[in.points[i].series->id];
    if (entry.is_unsupported) {
      ++result.unsupported;
    } else if (entry.target == nullptr) {
      ++result.filtered;
    } else if (!add_point(in.points[i], entry)) {
      ++result.unsupported;
    }
  }
  kept_before.back() = out_.points.size();
  set_segments(in, kept_before);
  return result;
}

bool Transform::add_point(const Point& in, const Entry& entry) {
  Point point = in;
  point.series = entry.target;
  const double factor = entry.factor;
  if (factor != 1) {
    point.value *= factor;
    if (entry.target->family->kind == Kind::counter) {
      // A counter is finite, whatever the factor.
      point.value = std::min(point.value, std::numeric_limits<double>::max());
    }
    if (in.histogram != nullptr) {
      HistogramValue& value = *copy_of(out_.arena, *in.histogram);
      value.sum *= factor;
      value.min *= factor;
      value.max *= factor;
      point.histogram = &value;
    }
    if (in.exponential != nullptr) {
      ExpHistogramValue& value = *copy_of(out_.arena, *in.exponential);
      if (!scale(value, factor)) return false;
      point.exponential = &value;
    }
    if (in.exemplar != nullptr) {
      Exemplar& exemplar = *copy_of(out_.arena, *in.exemplar);
      exemplar.value *= factor;
      point.exemplar = &exemplar;
    }
  }
  out_.points.push_back(point);
  return true;
}

Transformed Transform::apply_to_spans(const Batch& in) {
  const bool is_same = std::ranges::all_of(in.spans, [&](const Span& span) {
    return passes(span.name) && renamed(span.name).data() == span.name.data();
  });
  if (is_same) return {.batch = &in};

  Transformed result{.batch = &out_};
  std::vector<size_t> kept_before(in.spans.size() + 1);
  for (size_t i = 0; i < in.spans.size(); ++i) {
    kept_before[i] = out_.spans.size();
    if (!passes(in.spans[i].name)) {
      ++result.filtered;
      continue;
    }
    out_.spans.push_back(in.spans[i]);
    out_.spans.back().name = renamed(in.spans[i].name);
  }
  kept_before.back() = out_.spans.size();
  set_segments(in, kept_before);
  return result;
}

Transform::Publisher& Transform::publisher_of(
    const std::shared_ptr<const Incarnation>& incarnation) {
  const auto known = publishers_.find(incarnation.get());
  if (known != publishers_.end()) {
    // While it lives nobody else has its address.
    if (!known->second.incarnation.expired()) return known->second;
    publishers_.erase(known);
  }
  forget_expired(publishers_, sweep_publishers_at_,
                 [](const Publisher& each) { return each.incarnation.expired(); });
  Publisher& publisher = publishers_[incarnation.get()];
  publisher.incarnation = incarnation;
  publisher.number = next_publisher_++;
  for (size_t i = 0; i < std::min(options_.labels.size(), kMostHidden); ++i) {
    const auto& [key, value] = options_.labels[i];
    if (value.empty() && incarnation->resource.find(key) != nullptr) {
      publisher.hidden |= uint64_t{1} << i;
    }
  }
  return publisher;
}

const Transform::Entry& Transform::entry_of(const Series& series, Publisher& publisher) {
  if (entries_.size() <= series.id) entries_.resize(series.id + 1);
  Entry& entry = entries_[series.id];
  if (entry.publisher != publisher.number) entry = resolve(series, publisher);
  return entry;
}

Transform::Entry Transform::resolve(const Series& series, Publisher& publisher) {
  const Rule& rule = rule_of(series.family, publisher.hidden);
  Entry entry{
      .publisher = publisher.number, .factor = rule.factor, .is_unsupported = rule.is_unsupported};
  if (rule.is_same) {
    entry.target = &series;
  } else if (rule.target != nullptr) {
    const std::span<std::string_view> values =
        publisher.values.take<std::string_view>(rule.slots.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const Slot& slot = rule.slots[i];
      const bool is_sent = slot.from < series.label_values.size();
      new (&values[i]) std::string_view(is_sent ? series.label_values[slot.from] : slot.constant);
    }
    entry.target = &publisher.series.emplace_back(
        Series{series.id, series.incarnation, rule.target, values, &series});
  }
  return entry;
}

const Transform::Rule& Transform::rule_of(const std::shared_ptr<const Family>& family,
                                          uint64_t hidden) {
  const std::pair key(family.get(), hidden);
  const auto known = rules_.find(key);
  if (known != rules_.end()) {
    if (!known->second.source.expired()) return known->second;
    rules_.erase(known);
  }
  forget_expired(rules_, sweep_rules_at_, [](const Rule& each) { return each.source.expired(); });
  return rules_.emplace(key, make_rule(family, hidden)).first->second;
}

Transform::Rule Transform::make_rule(const std::shared_ptr<const Family>& family,
                                     uint64_t hidden) const {
  Rule rule{.source = family};
  if (!passes(family->name)) return rule;
  for (const auto& [glob, factor] : options_.scale) {
    if (!matches_glob(glob, family->name)) continue;
    rule.factor = factor;
    break;
  }
  Family target = *family;
  target.name = options_.prefix + std::string(renamed(family->name));
  if (rule.factor != 1) {
    target.unit.clear();
    for (double& bound : target.bounds) bound *= rule.factor;
    // Bounds so large or so near to each other that they are the same number now.
    rule.is_unsupported =
        std::ranges::adjacent_find(target.bounds, std::greater_equal<>()) != target.bounds.end() ||
        std::ranges::any_of(target.bounds, [](double bound) { return !std::isfinite(bound); });
  }
  set_labels(*family, hidden, target, rule);
  rule.is_same =
      rule.factor == 1 && target.name == family->name &&
      rule.slots.size() == family->label_keys.size() &&
      std::ranges::none_of(rule.slots, [](const Slot& slot) { return slot.from == SIZE_MAX; });
  if (!rule.is_same) rule.target = std::make_shared<const Family>(std::move(target));
  return rule;
}

void Transform::set_labels(const Family& source, uint64_t hidden, Family& target,
                           Rule& rule) const {
  target.label_keys.clear();
  for (size_t i = 0; i < source.label_keys.size(); ++i) {
    const std::string& key = source.label_keys[i];
    const bool is_set =
        std::ranges::any_of(options_.labels, [&](const auto& label) { return label.first == key; });
    if (is_set) continue;
    target.label_keys.push_back(key);
    rule.slots.push_back({.from = i});
  }
  for (size_t i = 0; i < options_.labels.size(); ++i) {
    const auto& [key, value] = options_.labels[i];
    // An empty label hides the one that would come of the resource.
    const bool hides = i < kMostHidden && (hidden >> i & 1) != 0;
    if (value.empty() && !hides) continue;
    target.label_keys.push_back(key);
    rule.slots.push_back({.constant = value});
  }
}

}  // namespace insight
