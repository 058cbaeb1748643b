// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>
#include <string_view>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/aggregate/merge_key.hpp"
#include "bus/base/text.hpp"

namespace insight {

namespace {

void append_count(std::string& out, uint64_t count) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), count).ptr;
  out.append(digits.data(), end);
}

void append_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else if (value >= 0 && value < 9007199254740992.0 && value == std::floor(value)) {
    append_count(out, static_cast<uint64_t>(value));
  } else {
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out.append(digits.data(), end);
  }
}

/// Seconds since 1970.
void append_time(std::string& out, uint64_t wall_ns) {
  append_count(out, wall_ns / kSecond);
  out += '.';
  out.append(std::to_string(wall_ns % kSecond / kMillisecond + 1'000), 1);
}

/// The word that a name ends with, for a unit's short form.
std::string_view spelled_out(std::string_view unit) noexcept {
  if (unit == "s") return "seconds";
  return unit == "By" ? "bytes" : unit;
}

constexpr std::string_view kTraceLabel = " # {trace_id=\"", kSpanLabel = "\",span_id=\"";
/// OpenMetrics allows so many characters in the names and values of an exemplar's labels.
static_assert(std::string_view("trace_idspan_id").size() +
                  2 * (sizeof(Exemplar::trace_id) + sizeof(Exemplar::span_id)) <=
              128);

void append_exemplar(std::string& out, const Exemplar& exemplar) {
  const auto hex = [](const auto& id) {
    return to_hex({reinterpret_cast<const char*>(id.data()), id.size()});
  };
  out += kTraceLabel;
  out += hex(exemplar.trace_id);
  out += kSpanLabel;
  out += hex(exemplar.span_id);
  out += "\"} ";
  append_number(out, exemplar.value);
  if (exemplar.time_ns == 0) return;
  out += ' ';
  append_time(out, exemplar.time_ns);
}

/// Writes the exposition of one family after the other.
class Renderer {
 public:
  /// `revision` grows when a value is shown that the snapshot does not know as shown.
  Renderer(const AggregateOptions& options, const Now& now, Exposition exposition,
           uint64_t& revision, std::string& out)
      : revision_(revision),
        out_(out),
        is_open_metrics_(exposition == Exposition::open_metrics),
        has_created_(is_open_metrics_ && options.created),
        oldest_s_(static_cast<int64_t>(now.mono_ns / kSecond) -
                  static_cast<int64_t>(options.keep_ended_ns / kSecond)) {}

  /// `has_own_names`: see FamilyTable.
  void family(MergedFamily& family, bool has_own_names) {
    family_ = &family;
    begin_family(family.name);
    if (is_open_metrics_) return open_metrics(family, has_own_names);
    samples(family);
  }

 private:
  void begin_family(std::string_view name) {
    shown_name_ = name;
    has_header_ = false;
  }

  void open_metrics(MergedFamily& family, bool has_own_names) {
    // OpenMetrics knows no histogram with a sum that may fall.
    const bool may_fall = !family.bounds.empty() && family.bounds.front() < 0;
    if (!has_own_names || may_fall) return unknown(family);
    if (family.kind == Kind::counter) shown_name_.remove_suffix(kTotal.size());
    const size_t begin = out_.size();
    has_negative_sum_ = false;
    samples(family);
    if (!has_negative_sum_) return;
    out_.resize(begin);
    unknown(family);
  }

  void samples(MergedFamily& family) {
    each_series([&](MergedSeries& series) {
      if (family.kind == Kind::counter) {
        counter(series);
      } else if (family.kind == Kind::histogram) {
        histogram(series);
      } else if (family.mode == GaugeMode::each) {
        each_gauge(series);
      } else {
        gauge(series);
      }
    });
  }

  bool is_current(const Contribution& contribution) const noexcept {
    return contribution.heard_s > oldest_s_;
  }

  bool is_shown(const Contribution& gauge) const noexcept {
    return gauge.owner->shows_gauges && is_current(gauge);
  }

  /// A sum of the same numbers in another order (after a retirement, after a restart) may come out
  /// smaller in its last digits; it must not be shown so.  `may_fall`: the sum of a histogram falls
  /// for good where values below zero are observed.
  double never_falling(double sum, MergedSeries& series, bool may_fall) {
    const double shown = series.exported;
    const bool is_rounding = shown - sum <= 1e-9 * std::abs(shown);
    if (sum == shown || (sum < shown && (!may_fall || is_rounding))) return shown;
    ++revision_;
    return series.exported = sum;
  }

  /// Starts a line: the name, and the labels but for the closing brace.
  void begin(const MergedSeries& series, std::string_view suffix, bool more_labels) {
    if (!has_header_) header();
    out_ += family_->name;
    out_ += suffix;
    if (series.labels->empty() && !more_labels) return;
    out_ += '{';
    out_ += *series.labels;
    if (more_labels && !series.labels->empty()) out_ += ',';
  }

  /// Starts a line up to the value.
  void begin(const MergedSeries& series, std::string_view suffix) {
    begin(series, suffix, false);
    out_ += series.labels->empty() ? " " : "} ";
  }

  void sample(const MergedSeries& series, std::string_view suffix, double value) {
    begin(series, suffix);
    append_number(out_, value);
    out_ += '\n';
  }

  void header() {
    has_header_ = true;
    const std::string name(shown_name_);
    const std::string& help = family_->help;
    if (!help.empty()) {
      out_ += "# HELP " + name + ' ' + (is_open_metrics_ ? escape_label(help) : escape_help(help)) +
              '\n';
    }
    const std::string_view type = is_unknown_ ? "unknown" : to_string(family_->kind);
    out_ += "# TYPE " + name + ' ' + std::string(type) + '\n';
    const std::string unit(spelled_out(family_->unit));
    if (is_open_metrics_ && !unit.empty() && name.ends_with("_" + unit)) {
      out_ += "# UNIT " + name + ' ' + unit + '\n';
    }
  }

  /// What OpenMetrics cannot show as what it is: the same samples as everywhere, each name a family
  /// of its own without a type.
  void unknown(const MergedFamily& family) {
    is_unknown_ = true;
    begin_family(family.name);
    if (family.kind == Kind::counter) {
      each_series([&](MergedSeries& series) { counter(series); });
    } else {
      const std::string bucket = family.name + "_bucket", sum = family.name + "_sum",
                        count = family.name + "_count";
      begin_family(bucket);
      each_series([&](MergedSeries& series) {
        if (add_up(series)) buckets(series);
      });
      begin_family(sum);
      each_series([&](MergedSeries& series) {
        if (add_up(series)) sum_of(series);
      });
      begin_family(count);
      each_series([&](MergedSeries& series) {
        if (add_up(series)) count_of(series, total_count());
      });
    }
    is_unknown_ = false;
  }

  template <typename Show>
  void each_series(Show&& show) {
    for (MergedSeries* series : family_->in_order) {
      if (series->first != nullptr) show(*series);
    }
  }

  void created(const MergedSeries& series) {
    if (!has_created_ || is_unknown_ || series.created_s == 0) return;
    out_ += shown_name_;
    out_ += "_created";
    if (!series.labels->empty()) {
      out_ += '{';
      out_ += *series.labels;
      out_ += '}';
    }
    out_ += ' ';
    append_count(out_, series.created_s);
    out_ += '\n';
  }

  void counter(MergedSeries& series) {
    double sum = series.retired;
    bool is_anyone_current = false;
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      sum += c->value - c->base;
      is_anyone_current = is_anyone_current || is_current(*c);
    }
    if (!is_anyone_current) return;
    begin(series, "");
    append_number(out_, never_falling(sum, series, false));
    if (is_open_metrics_) return end_counter(series);
    out_ += '\n';
  }

  void end_counter(const MergedSeries& series) {
    const auto exemplars = exemplars_of(series);
    if (!exemplars.empty()) append_exemplar(out_, exemplars.front().exemplar);
    out_ += '\n';
    created(series);
  }

  /// Those that are shown.
  std::span<const Exemplars::Entry> exemplars_of(const MergedSeries& series) const noexcept {
    if (!is_open_metrics_ || is_unknown_) return {};
    return series.exemplars();
  }

  /// Fills totals_; false when nobody sends the series any more.
  bool add_up(const MergedSeries& series) {
    totals_.sum = 0;
    totals_.buckets.assign(family_->bounds.size() + 1, 0);
    if (series.extras != nullptr) totals_.add(series.extras->retired, {});
    bool is_anyone_current = false;
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      totals_.add(c->histogram->value, c->histogram->base);
      is_anyone_current = is_anyone_current || is_current(*c);
    }
    return is_anyone_current;
  }

  uint64_t total_count() const {
    uint64_t count = 0;
    for (uint64_t bucket : totals_.buckets) count = add_bounded(count, bucket);
    return count;
  }

  void histogram(MergedSeries& series) {
    if (!add_up(series)) return;
    const uint64_t count = buckets(series);
    sum_of(series);
    count_of(series, count);
    created(series);
  }

  uint64_t buckets(const MergedSeries& series) {
    const auto& labels =
        is_open_metrics_ ? family_->open_metrics_bucket_labels : family_->bucket_labels;
    std::span<const Exemplars::Entry> exemplars = exemplars_of(series);
    uint64_t count = 0;
    for (size_t i = 0; i < totals_.buckets.size(); ++i) {
      count = add_bounded(count, totals_.buckets[i]);
      begin(series, "_bucket", true);
      out_ += labels[i];
      append_count(out_, count);
      if (!exemplars.empty() && exemplars.front().bucket == i) {
        append_exemplar(out_, exemplars.front().exemplar);
        exemplars = exemplars.subspan(1);
      }
      out_ += '\n';
    }
    return count;
  }

  void sum_of(MergedSeries& series) {
    const double sum = never_falling(totals_.sum, series, true);
    has_negative_sum_ = has_negative_sum_ || sum < 0;
    sample(series, "_sum", sum);
  }

  void count_of(const MergedSeries& series, uint64_t count) {
    begin(series, "_count");
    append_count(out_, count);
    out_ += '\n';
  }

  void gauge(const MergedSeries& series) {
    const Contribution* newest = nullptr;
    double sum = 0, smallest = 0, largest = 0;
    size_t count = 0;
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      if (!is_shown(*c)) continue;
      if (newest == nullptr || c->arrival > newest->arrival) newest = c;
      sum += c->value;
      smallest = count == 0 ? c->value : std::fmin(smallest, c->value);
      largest = count == 0 ? c->value : std::fmax(largest, c->value);
      ++count;
    }
    if (newest == nullptr) return;
    switch (family_->mode) {
      case GaugeMode::sum:
        return sample(series, "", sum);
      case GaugeMode::min:
        return sample(series, "", smallest);
      case GaugeMode::max:
        return sample(series, "", largest);
      case GaugeMode::mean:
        return sample(series, "", sum / static_cast<double>(count));
      default:
        return sample(series, "", newest->value);
    }
  }

  void each_gauge(const MergedSeries& series) {
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      if (!is_shown(*c)) continue;
      begin(series, "", true);
      out_ += "publisher=\"" + to_hex(c->owner->id.view()) + "\"} ";
      append_number(out_, c->value);
      out_ += '\n';
    }
  }

  uint64_t& revision_;
  std::string& out_;
  const bool is_open_metrics_;
  const bool has_created_;
  const int64_t oldest_s_;
  const MergedFamily* family_ = nullptr;
  std::string_view shown_name_;  ///< in the header
  bool has_header_ = false;
  bool is_unknown_ = false;
  bool has_negative_sum_ = false;
  HistogramTotals totals_;
};

}  // namespace

void render_state(AggregateState& state, const Now& now, Exposition exposition, std::string& out) {
  out.reserve(state.rendered_bytes + state.rendered_bytes / 16 + 4096);
  Renderer renderer(state.options, now, exposition, state.revision, out);
  const bool is_open_metrics = exposition == Exposition::open_metrics;
  for (auto& [name, family] : state.families.families()) {
    renderer.family(family, !is_open_metrics || state.families.has_own_names(family));
  }
  state.rendered_bytes = out.size();
}

}  // namespace insight
