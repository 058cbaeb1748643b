// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/aggregate/bytes.hpp"
#include "bus/base/text.hpp"

// The layout: magic, version, hash key, checksum of the body; the body: times and counters,
// families with their series, contributors with their contributions (which name a series by its
// number in the order of writing), tombstones.  Another layout is another version, and so is
// another keyed_hash() or instrument_hash().
namespace insight {

namespace {

constexpr std::string_view kMagic = "insight-aggregate";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kChecksumKey = 0x696e7369676874;
constexpr int64_t kForever_s = 1'000'000'000;
constexpr size_t kHeaderBytes = kMagic.size() + sizeof(uint32_t) + 2 * sizeof(uint64_t);

void save_totals(ByteWriter& writer, const HistogramTotals& totals) {
  writer.number(totals.sum);
  writer.numbers(totals.buckets);
}

void save_families(AggregateState& state, ByteWriter& writer) {
  uint32_t number = 0;
  auto& families = state.families.families();
  writer.number(static_cast<uint32_t>(families.size()));
  for (auto& [name, family] : families) {
    writer.text(name);
    writer.number(static_cast<uint8_t>(family.kind));
    writer.number(static_cast<uint8_t>(family.mode));
    writer.text(family.help);
    writer.text(family.publisher);
    writer.numbers(family.bounds);
    writer.number(static_cast<uint32_t>(family.names.size()));
    for (const std::string& held : family.names) writer.text(held);
    writer.number(static_cast<uint32_t>(family.series.size()));
    for (auto& [labels, series] : family.series) {
      series.number = number++;
      writer.text(labels);
      writer.number(series.retired);
      writer.number(series.exported);
      writer.number(series.dormant_wall_ns);
      save_totals(writer, series.retired_histogram ? *series.retired_histogram : HistogramTotals{});
    }
  }
}

void save_contributors(const AggregateState& state, const Now& now, ByteWriter& writer) {
  const auto now_s = static_cast<int64_t>(now.mono_ns / kSecond);
  writer.number(static_cast<uint32_t>(state.contributors.size()));
  for (const auto& [id, contributor] : state.contributors) {
    for (unsigned char byte : id.bytes) writer.number(byte);
    writer.number(contributor.every_ns);
    writer.number(static_cast<uint8_t>(contributor.life));
    writer.number(static_cast<uint8_t>(contributor.is_resync));
    // Monotonic time means nothing to the next boot.
    const int64_t age_ns = static_cast<int64_t>(now.mono_ns) - contributor.since_ns;
    writer.number(std::max<int64_t>(static_cast<int64_t>(now.wall_ns) - age_ns, 0));
    writer.number(static_cast<uint32_t>(contributor.contributions.size()));
    for (const auto& [instrument, contribution] : contributor.contributions) {
      writer.number(instrument);
      writer.number(contribution.merged->number);
      writer.number(static_cast<uint8_t>(contribution.taking));
      const int64_t age_s = std::max<int64_t>(now_s - contribution.heard_s, 0);
      writer.number(static_cast<int32_t>(std::min(age_s, kForever_s)));
      writer.number(contribution.value);
      writer.number(contribution.base);
      writer.number(contribution.arrival);
      if (contribution.histogram == nullptr) continue;
      save_totals(writer, contribution.histogram->value);
      save_totals(writer, contribution.histogram->base);
    }
  }
}

HistogramTotals load_totals(ByteReader& reader) {
  HistogramTotals totals;
  totals.sum = reader.real();
  totals.buckets.resize(reader.count(sizeof(uint64_t)));
  for (uint64_t& bucket : totals.buckets) bucket = reader.number<uint64_t>();
  if (!std::isfinite(totals.sum)) reader.fail();
  return totals;
}

/// True when these can be the values of a histogram with so many buckets, and `base` a part of
/// them.
bool is_histogram_of(size_t buckets, const HistogramTotals& value, const HistogramTotals& base) {
  if (value.buckets.size() != buckets) return false;
  if (base.buckets.empty()) return true;
  return base.buckets.size() == buckets &&
         std::ranges::equal(base.buckets, value.buckets, std::less_equal<>{});
}

/// The series by their numbers; null for those of a family whose name the bus uses itself by now.
std::vector<MergedSeries*> load_families(AggregateState& state, ByteReader& reader) {
  std::vector<MergedSeries*> numbered;
  const size_t families = reader.count(1);
  for (size_t i = 0; i < families && reader.is_good(); ++i) {
    MergedFamily read;
    read.name = reader.text();
    const auto kind = reader.number<uint8_t>();
    const auto mode = reader.number<uint8_t>();
    if (kind > static_cast<uint8_t>(Kind::histogram)) reader.fail();
    if (mode > static_cast<uint8_t>(GaugeMode::each)) reader.fail();
    read.kind = static_cast<Kind>(kind);
    read.mode = static_cast<GaugeMode>(mode);
    read.help = reader.text();
    read.publisher = reader.text();
    read.bounds.resize(reader.count(sizeof(double)));
    for (double& bound : read.bounds) bound = reader.real();
    read.names.resize(reader.count(sizeof(uint32_t)));
    for (std::string& held : read.names) held = reader.text();
    if (!reader.is_good()) break;

    const bool is_histogram = read.kind == Kind::histogram;
    const size_t buckets = is_histogram ? read.bounds.size() + 1 : 0;
    MergedFamily* family = state.families.restore(std::move(read));
    const size_t count = reader.count(1);
    for (size_t s = 0; s < count && reader.is_good(); ++s) {
      std::string labels(reader.text());
      labels.shrink_to_fit();
      const double retired = reader.real();
      const double exported = reader.real();
      const auto dormant_wall_ns = reader.number<uint64_t>();
      HistogramTotals totals = load_totals(reader);
      if (!totals.buckets.empty() && totals.buckets.size() != buckets) reader.fail();
      if (!(retired >= 0) || std::isnan(exported)) reader.fail();
      MergedSeries* series = nullptr;
      if (family != nullptr && reader.is_good()) {
        series = state.families.restore_series(*family, std::move(labels), dormant_wall_ns);
        if (series == nullptr) {
          reader.fail();
          break;
        }
        series->retired = retired;
        series->exported = exported;
        if (!totals.buckets.empty()) {
          series->retired_histogram = std::make_unique<HistogramTotals>(std::move(totals));
        }
      }
      numbered.push_back(series);
    }
  }
  return numbered;
}

bool is_right_kind(Taking taking, Kind kind) noexcept {
  switch (taking) {
    case Taking::counter:
    case Taking::counter_delta:
      return kind == Kind::counter;
    case Taking::gauge:
      return kind == Kind::gauge;
    case Taking::histogram:
    case Taking::histogram_delta:
      return kind == Kind::histogram;
    case Taking::refused:
      break;
  }
  return false;
}

void load_contribution(AggregateState& state, ByteReader& reader, Contributor& owner,
                       const std::vector<MergedSeries*>& numbered, const Now& now) {
  const auto instrument = reader.number<uint64_t>();
  const auto number = reader.number<uint32_t>();
  const auto taking = static_cast<Taking>(reader.number<uint8_t>());
  const auto age_s = reader.number<int32_t>();
  const double value = reader.real();
  const double base = reader.real();
  const auto arrival = reader.number<uint64_t>();
  const bool is_histogram = taking == Taking::histogram || taking == Taking::histogram_delta;
  HistogramTotals totals, totals_base;
  if (is_histogram) {
    totals = load_totals(reader);
    totals_base = load_totals(reader);
  }
  if (number >= numbered.size() || age_s < 0) reader.fail();
  if (!reader.is_good()) return;
  MergedSeries* merged = numbered[number];
  if (merged == nullptr) return;
  if (!is_right_kind(taking, merged->family->kind)) return reader.fail();
  const size_t buckets = merged->family->bounds.size() + 1;
  if (is_histogram && !is_histogram_of(buckets, totals, totals_base)) return reader.fail();
  if (taking != Taking::gauge && !(base >= 0 && value >= base)) return reader.fail();

  const auto [at, is_new] = owner.contributions.try_emplace(instrument);
  if (!is_new) return reader.fail();
  Contribution& contribution = at->second;
  contribution.taking = taking;
  contribution.owner = &owner;
  contribution.heard_s = static_cast<int32_t>(now.mono_ns / kSecond) - age_s;
  contribution.value = value;
  contribution.base = base;
  contribution.arrival = arrival;
  if (is_histogram) {
    contribution.histogram = std::make_unique<HistogramPart>();
    contribution.histogram->value = std::move(totals);
    contribution.histogram->base = std::move(totals_base);
  }
  if (merged->first == nullptr) state.families.wake(*merged);
  merged->link(contribution);
}

void load_contributors(AggregateState& state, ByteReader& reader,
                       const std::vector<MergedSeries*>& numbered, const Now& now) {
  const size_t contributors = reader.count(1);
  for (size_t i = 0; i < contributors && reader.is_good(); ++i) {
    IncarnationId id;
    for (unsigned char& byte : id.bytes) byte = reader.number<unsigned char>();
    const auto [at, is_new] = state.contributors.try_emplace(id);
    if (!is_new) return reader.fail();
    Contributor& contributor = at->second;
    contributor.id = id;
    contributor.every_ns = reader.number<uint64_t>();
    const auto life = reader.number<uint8_t>();
    contributor.is_resync = reader.number<uint8_t>() != 0;
    const auto since_wall_ns = reader.number<int64_t>();
    if (life > static_cast<uint8_t>(Life::ended)) return reader.fail();
    contributor.life = static_cast<Life>(life);
    contributor.since_ns = static_cast<int64_t>(now.mono_ns);
    if (contributor.life == Life::ended || contributor.life == Life::lost) {
      const auto wall_ns = static_cast<int64_t>(now.wall_ns);
      contributor.since_ns -= wall_ns - std::clamp<int64_t>(since_wall_ns, 0, wall_ns);
    } else {
      contributor.life = Life::late;
    }
    const size_t contributions = reader.count(1);
    for (size_t c = 0; c < contributions && reader.is_good(); ++c) {
      load_contribution(state, reader, contributor, numbered, now);
    }
  }
}

}  // namespace

std::string save_state(AggregateState& state, const Now& now) {
  std::string out;
  out.reserve(state.saved_bytes + state.saved_bytes / 16 + 4096);
  ByteWriter writer(out);
  out += kMagic;
  writer.number(kVersion);
  writer.number(state.families.hash_key());
  writer.number(uint64_t{0});  // the checksum, below

  writer.number(state.arrivals);
  writer.number(state.resyncs);
  save_families(state, writer);
  save_contributors(state, now, writer);
  writer.number(static_cast<uint32_t>(state.tombstones.size()));
  for (const auto& [wall_ns, id] : state.tombstones.oldest_first()) {
    for (unsigned char byte : id.bytes) writer.number(byte);
    writer.number(wall_ns);
  }

  const uint64_t checksum = keyed_hash(std::string_view(out).substr(kHeaderBytes), kChecksumKey);
  std::memcpy(out.data() + kHeaderBytes - sizeof checksum, &checksum, sizeof checksum);
  state.saved_bytes = out.size();
  return out;
}

Result<uint64_t> snapshot_hash_key(std::string_view bytes) {
  ByteReader reader(bytes);
  if (reader.take(kMagic.size()) != kMagic) return Error{"it is no snapshot of an aggregate"};
  const auto version = reader.number<uint32_t>();
  const auto key = reader.number<uint64_t>();
  const auto checksum = reader.number<uint64_t>();
  if (!reader.is_good()) return Error{"it ends too early"};
  if (version != kVersion) {
    return Error{"it has version " + std::to_string(version) + ", only version " +
                 std::to_string(kVersion) + " is known"};
  }
  if (checksum != keyed_hash(bytes.substr(kHeaderBytes), kChecksumKey)) {
    return Error{"its checksum is wrong: it was cut off or changed"};
  }
  return key;
}

Result<uint64_t> load_state(AggregateState& state, std::string_view bytes, const Now& now) {
  ByteReader reader(bytes.substr(kHeaderBytes));
  state.arrivals = reader.number<uint64_t>();
  state.resyncs = reader.number<uint64_t>();
  const std::vector<MergedSeries*> numbered = load_families(state, reader);
  load_contributors(state, reader, numbered, now);
  const size_t tombstones = reader.count(1);
  for (size_t i = 0; i < tombstones && reader.is_good(); ++i) {
    IncarnationId id;
    for (unsigned char& byte : id.bytes) byte = reader.number<unsigned char>();
    state.tombstones.add(id, reader.number<uint64_t>());
  }
  for (const MergedSeries* series : numbered) {
    if (series != nullptr && series->first == nullptr && series->dormant_wall_ns == 0) {
      reader.fail();
    }
  }
  if (!reader.is_good() || !reader.at_end()) return Error{"its contents contradict each other"};
  return state.families.live();
}

}  // namespace insight
