// SPDX-License-Identifier: Apache-2.0
#include "bus/aggregate/family_table.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "bus/aggregate/merge_key.hpp"

namespace insight {

namespace {

std::string shortest(double number, std::chars_format format = {}) {
  std::array<char, 64> digits;
  char* const end = digits.data() + digits.size();
  const auto stop = format == std::chars_format{}
                        ? std::to_chars(digits.data(), end, number).ptr
                        : std::to_chars(digits.data(), end, number, format).ptr;
  return {digits.data(), stop};
}

/// A bound as OpenMetrics writes it in `le`: always with a point or an exponent, so that each
/// program gives it the same name.
std::string canonical(double bound) {
  const double size = std::abs(bound);
  if (size != 0 && (size < 1e-4 || size >= 1e6)) {
    return shortest(bound, std::chars_format::scientific);
  }
  std::string text = shortest(bound, std::chars_format::fixed);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

void add_bucket_labels(MergedFamily& family) {
  if (family.kind != Kind::histogram) return;
  for (double bound : family.bounds) {
    family.bucket_labels.push_back("le=\"" + shortest(bound) + "\"} ");
    family.open_metrics_bucket_labels.push_back("le=\"" + canonical(bound) + "\"} ");
  }
  family.bucket_labels.emplace_back("le=\"+Inf\"} ");
  family.open_metrics_bucket_labels.emplace_back("le=\"+Inf\"} ");
}

/// Every name that a declaration asks for.  A counter `x` asks for `x` too, so that a gauge `x` of
/// somebody else is seen as what it is: another kind of the same metric.
std::vector<std::string> wanted_names(const Family& family, const std::string& exposed) {
  std::vector<std::string> names = derived_names(exposed, family.kind);
  names.push_back(exposed);
  std::string declared = metric_name(family.name);
  if (declared != exposed) names.push_back(std::move(declared));
  return names;
}

/// Of a counter with what stands around it.
constexpr uint64_t kCostOfExemplar = sizeof(Exemplars::Entry) + sizeof(SeriesExtras);

/// What a histogram's running buckets need; of a series as total, of a contribution as value.
uint64_t cost_of_buckets(const MergedFamily& family) {
  return family.kind == Kind::histogram ? 128 + 8 * (family.bounds.size() + 1) : 0;
}

uint64_t cost_of_contribution(const MergedFamily& family) {
  return sizeof(Contribution) + 32 + cost_of_buckets(family);
}

uint64_t cost_of_series(const MergedFamily& family, std::string_view labels) {
  return sizeof(MergedSeries) + sizeof(std::string) + 64 + labels.size() + cost_of_buckets(family);
}

uint64_t cost_of_family(const MergedFamily& family) {
  return sizeof(MergedFamily) + 4 * family.name.size() + family.help.size() + family.unit.size() +
         family.publisher.size() + 512 + 80 * family.bounds.size();
}

}  // namespace

std::vector<std::string> derived_names(const std::string& name, Kind kind) {
  if (kind != Kind::histogram) return {};
  return {name + "_bucket", name + "_sum", name + "_count"};
}

FamilyTable::FamilyTable(const std::vector<std::string>& reserved, const FamilyLimits& limits,
                         uint64_t hash_key)
    : limits_(limits), hash_key_(hash_key) {
  for (const std::string& name : reserved) {
    holders_[name] = nullptr;
    for (const std::string& derived : derived_names(name, Kind::histogram)) {
      holders_[derived] = nullptr;
    }
  }
}

const MergedFamily* FamilyTable::other_holder(const MergedFamily* own, const std::string& name,
                                              bool& is_held) {
  const auto at = holders_.find(name);
  is_held = at != holders_.end() && (at->second == nullptr || at->second != own);
  if (is_held && at->second != nullptr && at->second->live == 0) {
    erase(*at->second);
    is_held = false;
  }
  return is_held ? at->second : nullptr;
}

MergedFamily* FamilyTable::declare(const Family& family, const Incarnation& publisher,
                                   const MergedFamily*& holder, bool& is_schema) {
  std::string name = exposed_name(family);
  is_schema = false;
  const auto find_own = [&]() -> MergedFamily* {
    const auto at = families_.find(name);
    return at == families_.end() ? nullptr : &at->second;
  };
  MergedFamily* own = find_own();
  if (own != nullptr) {
    std::vector<uint16_t> fold;
    const bool is_other_kind = own->kind != family.kind;
    is_schema = !is_other_kind && !fold_bounds(own->bounds, family.bounds, fold);
    if (is_other_kind || is_schema) {
      if (own->live != 0) {
        holder = own;
        return nullptr;
      }
      erase(*own);
      own = nullptr;
      is_schema = false;
    }
  }
  for (const std::string& wanted : wanted_names(family, name)) {
    bool is_held = false;
    holder = other_holder(own, wanted, is_held);
    if (is_held) return nullptr;
  }
  if (own == nullptr) {
    own = add(family, name, publisher);
  }
  for (std::string& wanted : wanted_names(family, name)) {
    if (holders_.try_emplace(wanted, own).second) own->names.push_back(std::move(wanted));
  }
  if (own->help.empty()) {
    own->help = family.help;
    bytes_ += own->help.size();
  }
  if (own->unit.empty()) {
    own->unit = family.unit;
    bytes_ += own->unit.size();
  }
  return own;
}

MergedFamily* FamilyTable::add(const Family& family, const std::string& name,
                               const Incarnation& publisher) {
  MergedFamily& own = families_.try_emplace(name).first->second;
  own.name = name;
  own.kind = family.kind;
  own.mode = family.merge;
  own.bounds = family.bounds;
  own.publisher = describe(publisher);
  add_bucket_labels(own);
  own.series = decltype(own.series)(0, KeyedTextHash{hash_key_});
  bytes_ += cost_of_family(own);
  return &own;
}

const MergedFamily* FamilyTable::find(const std::string& name) const {
  const std::string plain = metric_name(name);
  for (const std::string& each : {plain, plain + std::string(kTotal)}) {
    const auto at = holders_.find(each);
    if (at != holders_.end() && at->second != nullptr && at->second->live > 0) return at->second;
  }
  return nullptr;
}

std::pair<MergedSeries*, bool> FamilyTable::find_or_add(MergedFamily& family, std::string labels) {
  const auto known = family.series.find(labels);
  const bool is_new = known == family.series.end();
  if (is_new || known->second.first == nullptr) {
    if (family.live >= limits_.series_per_metric || live_ >= limits_.series)
      return {nullptr, false};
  }
  uint64_t bytes = cost_of_contribution(family);
  if (is_new) bytes += cost_of_series(family, labels);
  if (!is_new) return {bytes_ + bytes <= limits_.bytes ? &known->second : nullptr, false};
  if (!make_room(family, bytes)) return {nullptr, false};
  return {add_series(family, std::move(labels)), true};
}

/// Live data is worth more than the totals of those who have been gone longest.
bool FamilyTable::make_room(const MergedFamily& family, uint64_t bytes) {
  const auto is_full = [&] {
    return bytes_ + bytes > limits_.bytes || live_ + dormant_.size() >= limits_.series;
  };
  while (is_full() && !dormant_.empty()) {
    MergedSeries& longest = *dormant_.begin()->second;
    MergedFamily& of = *longest.family;
    erase(longest);
    if (&of != &family) drop_if_empty(of);
  }
  return !is_full();
}

MergedSeries* FamilyTable::add_series(MergedFamily& family, std::string labels) {
  const auto [at, is_new] = family.series.try_emplace(std::move(labels));
  if (!is_new) return nullptr;
  at->second.family = &family;
  at->second.labels = &at->first;
  at->second.position = static_cast<uint32_t>(family.in_order.size());
  family.in_order.push_back(&at->second);
  bytes_ += cost_of_series(family, at->first);
  return &at->second;
}

void FamilyTable::link(MergedSeries& series, Contribution& contribution) {
  if (series.dormant_wall_ns != 0) {
    dormant_.erase({series.dormant_wall_ns, &series});
    series.dormant_wall_ns = 0;
  }
  if (series.first == nullptr) {
    ++series.family->live;
    ++live_;
  }
  contribution.merged = &series;
  contribution.previous = series.last;
  contribution.next = nullptr;
  (series.last != nullptr ? series.last->next : series.first) = &contribution;
  series.last = &contribution;
  bytes_ += cost_of_contribution(*series.family);
}

void FamilyTable::unlink(Contribution& contribution, uint64_t wall_ns) {
  MergedSeries& series = *contribution.merged;
  Contribution *const previous = contribution.previous, *const next = contribution.next;
  (previous != nullptr ? previous->next : series.first) = next;
  (next != nullptr ? next->previous : series.last) = previous;
  contribution.previous = contribution.next = nullptr;
  contribution.merged = nullptr;
  bytes_ -= cost_of_contribution(*series.family);
  ++generation_;
  if (series.first != nullptr) return;

  drop_exemplars(series);
  MergedFamily& family = *series.family;
  --family.live;
  --live_;
  if (family.kind == Kind::gauge) {
    erase(series);
    drop_if_empty(family);
    return;
  }
  series.dormant_wall_ns = std::max<uint64_t>(wall_ns, 1);
  dormant_.insert({series.dormant_wall_ns, &series});
}

void FamilyTable::keep(MergedSeries& series, const Exemplar& exemplar) {
  const MergedFamily& family = *series.family;
  if (family.kind == Kind::gauge) return;
  uint32_t bucket = 0;
  if (family.kind == Kind::histogram) {
    const auto at = std::ranges::lower_bound(family.bounds, exemplar.value);
    bucket = static_cast<uint32_t>(at - family.bounds.begin());
  }
  Exemplars* exemplars = series.extras != nullptr ? &series.extras->exemplars : nullptr;
  if (std::isnan(exemplar.value)) {
    ++exemplars_dropped_;
  } else if (exemplars != nullptr && exemplars->replace(bucket, exemplar)) {
    return;
  } else if (bytes_ + kCostOfExemplar > limits_.bytes) {
    ++exemplars_dropped_;
  } else {
    series.own_extras().exemplars.add(bucket, exemplar);
    bytes_ += kCostOfExemplar;
    ++exemplars_;
  }
}

void FamilyTable::drop_exemplars(MergedSeries& series) {
  const size_t count = series.exemplars().size();
  if (count == 0) return;
  bytes_ -= count * kCostOfExemplar;
  exemplars_ -= count;
  series.extras->exemplars = {};
}

bool FamilyTable::is_held_by_another(const MergedFamily& family, const std::string& name) const {
  const auto at = holders_.find(name);
  return at != holders_.end() && at->second != &family;
}

bool FamilyTable::has_own_names(const MergedFamily& family) const {
  if (family.kind == Kind::gauge) return true;
  std::string name = family.name;
  if (family.kind == Kind::counter) {
    if (!name.ends_with(kTotal)) return false;  // of a snapshot that somebody made
    name.resize(name.size() - kTotal.size());
    if (name.empty() || is_held_by_another(family, name)) return false;
  }
  name += "_created";
  return !is_held_by_another(family, name) && !families_.contains(name.append(kTotal));
}

void FamilyTable::expire(uint64_t wall_ns) {
  while (!dormant_.empty() && dormant_.begin()->first < wall_ns) {
    MergedSeries& series = *dormant_.begin()->second;
    MergedFamily& family = *series.family;
    erase(series);
    drop_if_empty(family);
  }
}

void FamilyTable::erase(MergedSeries& series) {
  if (series.dormant_wall_ns != 0) dormant_.erase({series.dormant_wall_ns, &series});
  drop_exemplars(series);
  MergedFamily& family = *series.family;
  bytes_ -= cost_of_series(family, *series.labels);
  family.in_order.back()->position = series.position;
  std::swap(family.in_order[series.position], family.in_order.back());
  family.in_order.pop_back();
  family.series.erase(family.series.find(*series.labels));
}

void FamilyTable::drop_if_empty(MergedFamily& family) {
  if (family.series.empty()) erase(family);
}

void FamilyTable::erase(MergedFamily& family) {
  for (auto& [labels, series] : family.series) {
    if (series.dormant_wall_ns != 0) dormant_.erase({series.dormant_wall_ns, &series});
    drop_exemplars(series);
    bytes_ -= cost_of_series(family, labels);
  }
  bytes_ -= cost_of_family(family);
  for (const std::string& name : family.names) holders_.erase(name);
  families_.erase(families_.find(family.name));
}

bool FamilyTable::can_restore(const MergedFamily& family) const {
  return !families_.contains(family.name) &&
         std::ranges::none_of(family.names,
                              [&](const std::string& name) { return holders_.contains(name); });
}

MergedFamily& FamilyTable::restore(MergedFamily family) {
  MergedFamily& own = families_.try_emplace(family.name).first->second;
  own = std::move(family);
  own.series = decltype(own.series)(0, KeyedTextHash{hash_key_});
  add_bucket_labels(own);
  for (const std::string& name : own.names) holders_[name] = &own;
  bytes_ += cost_of_family(own);
  return own;
}

MergedSeries* FamilyTable::restore_series(MergedFamily& family, std::string labels,
                                          uint64_t dormant_wall_ns) {
  MergedSeries* series = add_series(family, std::move(labels));
  if (series != nullptr && dormant_wall_ns != 0) {
    series->dormant_wall_ns = dormant_wall_ns;
    dormant_.insert({dormant_wall_ns, series});
  }
  return series;
}

}  // namespace insight
