// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/aggregate/merge_key.hpp"
#include "bus/base/text.hpp"
#include "bus/pipeline/label_counts.hpp"

// Somebody waits for the lock of the aggregate meanwhile, so what one question may look at is
// bounded.
namespace insight {

namespace {

constexpr size_t kMaxContributions = 1'000'000;
constexpr size_t kMaxSeries = 100'000;
constexpr size_t kMaxPublishers = 10;
constexpr size_t kMaxCandidates = 5'000;
constexpr size_t kMaxNearest = 5;
constexpr size_t kMaxWordBytes = 100;  // to compare spellings takes the square of it

/// Every label of a text that label_text() made, with the value as it was before it was escaped.
template <typename Use>
void each_label(std::string_view text, Use&& use) {
  while (!text.empty()) {
    const size_t equals = text.find("=\"");
    if (equals == std::string_view::npos) return;
    const size_t begin = equals + 2;
    size_t end = begin;
    while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
    end = std::min(end, text.size());
    use(text.substr(0, equals), text.substr(begin, end - begin));
    text.remove_prefix(std::min(end + 2, text.size()));  // the quote and the comma
  }
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_escape = text[i] == '\\' && i + 1 < text.size();
    if (is_escape) ++i;
    out += is_escape && text[i] == 'n' ? '\n' : text[i];
  }
  return out;
}

class Lister {
 public:
  Lister(AggregateState& state, const Now& now)
      : state_(state), now_s_(static_cast<int64_t>(now.mono_ns / kSecond)) {
    for (auto& [id, contributor] : state_.contributors) contributor.number = 0;
  }

  MetricSummary summary(const MergedFamily& family) {
    MetricSummary out{.name = family.name,
                      .kind = std::string(to_string(family.kind)),
                      .unit = family.unit,
                      .help = family.help,
                      .series = family.live};
    ++family_number_;
    int32_t newest_s = 0;
    bool is_heard = false;
    for (const MergedSeries* series : family.in_order) {
      for (const Contribution* c = series->first; c != nullptr; c = c->next) {
        if (contributions_ == kMaxContributions) {
          out.is_at_least = true;
          break;
        }
        ++contributions_;
        newest_s = is_heard ? std::max(newest_s, c->heard_s) : c->heard_s;
        is_heard = true;
        if (c->owner->number == family_number_) continue;
        c->owner->number = family_number_;
        ++out.publishers;
      }
    }
    if (is_heard)
      out.silent_seconds = static_cast<uint64_t>(std::max<int64_t>(now_s_ - newest_s, 0));
    return out;
  }

  MetricDetail detail(const MergedFamily& family) {
    MetricDetail out;
    out.summary = summary(family);
    if (family.kind == Kind::gauge) out.merge = to_string(family.mode);
    out.declared = family.publisher;
    out.bounds = family.bounds;
    out.dormant = family.in_order.size() - family.live;
    LabelCounts labels;
    std::unordered_map<const Contributor*, uint64_t> series_of;
    size_t contributions = 0;
    for (const MergedSeries* series : family.in_order) {
      if (series->first == nullptr) continue;
      if (out.examined == kMaxSeries || contributions > kMaxContributions) break;
      ++out.examined;
      out.exemplars += series->exemplars().size();
      each_label(*series->labels, [&](auto name, auto value) { labels.add(name, value); });
      for (const Contribution* c = series->first; c != nullptr; c = c->next) {
        ++series_of[c->owner];
        ++contributions;
      }
    }
    out.labels = labels.labels();
    for (MetricDetail::Label& label : out.labels) {
      for (auto& [value, count] : label.top) value = unescaped(value);
    }
    out.publishers = publishers(series_of);
    return out;
  }

 private:
  static std::vector<MetricDetail::Publisher> publishers(
      const std::unordered_map<const Contributor*, uint64_t>& series_of) {
    std::vector<std::pair<uint64_t, const Contributor*>> all;
    for (const auto& [contributor, series] : series_of) all.emplace_back(series, contributor);
    const auto top =
        all.begin() + static_cast<std::ptrdiff_t>(std::min(kMaxPublishers, all.size()));
    std::ranges::partial_sort(
        all, top, {}, [](const auto& each) { return std::pair(~each.first, each.second->id); });
    std::vector<MetricDetail::Publisher> out;
    for (auto at = all.begin(); at != top; ++at) {
      const Contributor& contributor = *at->second;
      // After a restart nothing is known of it until it is heard again.
      out.push_back({contributor.incarnation != nullptr
                         ? describe(*contributor.incarnation)
                         : "?/?/? (" + to_hex(contributor.id.view().substr(0, 4)) + ")",
                     std::string(to_string(contributor.life)), at->first});
    }
    return out;
  }

  AggregateState& state_;
  const int64_t now_s_;
  uint32_t family_number_ = 0;
  size_t contributions_ = 0;
};

/// A counter is meant with and without the end of its name.
std::string_view without_total(std::string_view name) {
  if (name.ends_with(kTotal)) name.remove_suffix(kTotal.size());
  return name;
}

/// Names that contain the word, else the one that is spelled most like it.
std::vector<std::string> nearest_names(FamilyTable& families, std::string_view word) {
  word = without_total(word);
  std::vector<std::string> out;
  std::vector<std::string_view> candidates, names;
  for (const auto& [name, family] : families.families()) {
    if (family.live == 0) continue;
    if (names.size() == kMaxCandidates) break;
    names.push_back(name);
    candidates.push_back(without_total(name));
    const bool contains = word.size() > 2 && name.find(word) != std::string::npos;
    if (contains && out.size() < kMaxNearest) out.push_back(name);
  }
  if (!out.empty() || word.size() > kMaxWordBytes) return out;
  const std::string_view near = nearest(word, candidates);
  const auto at = std::ranges::find(candidates, near);
  if (!near.empty() && at != candidates.end())
    out.emplace_back(names[static_cast<size_t>(at - candidates.begin())]);
  return out;
}

}  // namespace

MetricList list_state(AggregateState& state, const MetricQuery& query, const Now& now) {
  MetricList out;
  std::vector<const MergedFamily*> matched;
  for (const auto& [name, family] : state.families.families()) {
    if (family.live == 0 || !matches_glob(query.name, name)) continue;
    matched.push_back(&family);
    out.series += family.live;
  }
  out.matched = matched.size();
  const size_t begin = std::min(query.offset, matched.size());
  const size_t end = begin + std::min(query.limit, matched.size() - begin);
  if (!query.by_name) {  // they come by name
    std::ranges::partial_sort(matched, matched.begin() + static_cast<std::ptrdiff_t>(end),
                              [](const auto* a, const auto* b) {
                                return a->live != b->live ? a->live > b->live : a->name < b->name;
                              });
  }
  Lister lister(state, now);
  for (size_t i = begin; i < end; ++i) out.metrics.push_back(lister.summary(*matched[i]));
  return out;
}

MetricAnswer explain_state(AggregateState& state, const std::string& name, const Now& now) {
  MetricAnswer out;
  const MergedFamily* family = state.families.find(name);
  if (family != nullptr) {
    out.metric = Lister(state, now).detail(*family);
  } else {
    out.nearest = nearest_names(state.families, name);
  }
  const std::string shown = family != nullptr ? family->name : metric_name(name);
  for (SinkSnapshot::Refusal& refusal : state.refusals.snapshot()) {
    const std::string refused = metric_name(refusal.metric);
    if (refused == shown || refused + std::string(kTotal) == shown) {
      out.refusals.push_back(std::move(refusal));
    }
  }
  return out;
}

}  // namespace insight
