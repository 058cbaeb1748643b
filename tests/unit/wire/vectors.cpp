// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/wire/vectors.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "bus/base/text.hpp"

namespace insight::test {

using namespace wire;

namespace {

using Json = nlohmann::json;

std::string from_hex(std::string_view digits) {
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(char(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

// Undoes "times".
Json spread(const Json& value) {
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [key, element] : value.items()) out[key] = spread(element);
    return out;
  }
  if (!value.is_array()) return value;
  Json out = Json::array();
  for (const Json& element : value) {
    Json one = spread(element);
    size_t times = 1;
    if (one.is_object() && one.contains("times")) {
      times = one["times"];
      one.erase("times");
    }
    out.insert(out.end(), times, one);
  }
  return out;
}

template <size_t N>
std::string hex(const std::array<unsigned char, N>& bytes) {
  return to_hex({reinterpret_cast<const char*>(bytes.data()), N});
}

constexpr uint64_t kExact = 1ull << 53;

Json number(uint64_t value) { return value <= kExact ? Json(value) : Json(std::to_string(value)); }

Json number(int64_t value) {
  if (value >= 0) return number(uint64_t(value));
  return value >= -int64_t(kExact) ? Json(value) : Json(std::to_string(value));
}

Json number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

Json typed(bool value) { return {"bool", value}; }

Json typed(double value) { return {"float", number(value)}; }

Json typed(int64_t value) { return {"int", number(value)}; }

Json typed(uint64_t value) { return {"int", number(value)}; }

Json typed(std::string_view value) { return {"text", value}; }

Json refused(Reason reason) { return {{"refused", to_string(reason)}}; }

Json numbers(std::span<const uint64_t> values) {
  Json out = Json::array();
  for (uint64_t value : values) out.push_back(number(value));
  return out;
}

void add_range(Json& out, double min, double max) {
  if (!std::isnan(min)) out["min"] = number(min);
  if (!std::isnan(max)) out["max"] = number(max);
}

Json value_of(const PointView& point) {
  if (point.is_scalar) return number(point.value);
  if (point.histogram) {
    Json out{{"count", number(point.histogram->count)},
             {"sum", number(point.histogram->sum)},
             {"buckets", numbers(point.histogram->buckets)}};
    add_range(out, point.histogram->min, point.histogram->max);
    return out;
  }
  const ExpHistogramValue& value = point.exponential.value();
  Json out{{"count", number(value.count)},
           {"sum", number(value.sum)},
           {"zero_count", number(value.zero_count)},
           {"scale", value.scale},
           {"positive_offset", value.positive_offset},
           {"positive", numbers(value.positive)},
           {"negative_offset", value.negative_offset},
           {"negative", numbers(value.negative)}};
  add_range(out, value.min, value.max);
  return out;
}

Json family_of(const Family& family) {
  Json out{{"name", family.name},
           {"kind", to_string(family.kind)},
           {"keys", family.label_keys},
           {"unit", family.unit},
           {"help", family.help}};
  if (family.kind == Kind::gauge) {
    out["merge"] = to_string(family.merge);
  } else {
    out["delta"] = family.delta;
  }
  if (family.kind == Kind::histogram) out["bounds"] = family.bounds;
  return out;
}

Json point_of(const Family& family, const PointView& point) {
  if (point.refused) return refused(*point.refused);
  std::vector<std::string_view> labels;
  if (!decode_labels(point.labels, family.label_keys.size(), labels)) {
    return refused(Reason::bad_value);
  }
  if (const auto reason = check_value(family, point)) return refused(*reason);
  Json out{{"labels", labels}, {"value", value_of(point)}};
  if (point.time_ns != 0) out["time"] = number(point.time_ns);
  if (point.exemplar) {
    out["exemplar"] = {{"value", number(point.exemplar->value)},
                       {"time", number(point.exemplar->time_ns)},
                       {"trace", hex(point.exemplar->trace_id)},
                       {"span", hex(point.exemplar->span_id)}};
  }
  return out;
}

Json metrics_of(const EnvelopeView& view) {
  Json out = Json::array();
  for (const FamilyView& entry : view.families) {
    const auto family = decode_family(entry.family);
    if (!family) {
      Json one = refused(family.error());
      one["points"] = entry.end - entry.begin;
      out.push_back(std::move(one));
      continue;
    }
    Json points = Json::array();
    for (size_t i = entry.begin; i < entry.end; ++i) {
      points.push_back(point_of(*family, view.points[i]));
    }
    out.push_back({{"family", family_of(*family)}, {"points", std::move(points)}});
  }
  return out;
}

Json attributes_of(std::span<const Attribute> attributes) {
  Json out = Json::object();
  for (const Attribute& attribute : attributes) {
    std::visit([&](auto value) { out[std::string(attribute.key)] = typed(value); },
               attribute.value);
  }
  return out;
}

Json span_of(const SpanView& view) {
  if (view.refused) return refused(*view.refused);
  const Span& span = view.span;
  Json out{{"what", to_string(span.what)},
           {"trace", hex(span.trace_id)},
           {"span", hex(span.span_id)},
           {"parent", span.has_parent ? Json(hex(span.parent_id)) : Json()},
           {"name", span.name},
           {"lane", span.lane},
           {"start", number(span.start_ns)},
           {"end", span.end_ns != 0 ? number(span.end_ns) : Json()},
           {"status", int(span.status)},
           {"attributes", attributes_of(span.attributes)}};
  for (const SpanEvent& event : span.events) {
    out["events"].push_back({{"time", number(event.time_ns)},
                             {"name", event.name},
                             {"attributes", attributes_of(event.attributes)}});
  }
  for (const SpanLink& link : span.links) {
    out["links"].push_back({{"trace", hex(link.trace_id)},
                            {"span", hex(link.span_id)},
                            {"attributes", attributes_of(link.attributes)}});
  }
  return out;
}

}  // namespace

std::vector<Vector> load_vectors() {
  std::vector<Vector> vectors;
  for (const auto& file : std::filesystem::directory_iterator(INSIGHT_VECTORS)) {
    if (file.path().extension() != ".json") continue;
    const Json group = Json::parse(std::ifstream(file.path()));
    for (const Json& entry : group["vectors"]) {
      Vector& vector = vectors.emplace_back();
      vector.name = entry["name"];
      if (entry["message"].is_string()) {
        vector.message = from_hex(entry["message"].get<std::string>());
      } else {
        for (const Json& segment : entry["message"]) {
          const std::string bytes = from_hex(segment[0].get<std::string>());
          for (size_t i = segment[1]; i > 0; --i) vector.message += bytes;
        }
      }
      if (entry.contains("now")) vector.now = std::stoull(entry["now"].get<std::string>());
      vector.expect = spread(entry["expect"]);
    }
  }
  return vectors;
}

Json observe(Decoder& decoder, std::string_view message, uint64_t now) {
  const auto result = decoder.decode(message, now);
  if (!result) return refused(result.error().reason);
  const EnvelopeView& view = **result;
  const auto resource = decode_resource(view.resource);
  if (!resource) return refused(resource.error().reason);
  Json out{{"inc", to_hex(view.inc.view())},
           {"seq", number(view.seq)},
           {"t0", number(view.t0_ns)},
           {"sent", number(view.sent_ns)},
           {"every", number(view.every_ms)}};
  out["res"] = Json::object();
  for (const auto& [key, scalar] : resource->attributes) {
    std::visit([&](const auto& value) { out["res"][key] = typed(value); }, scalar);
  }
  if (view.mono_ns) out["mono"] = number(*view.mono_ns);
  if (view.boot) out["boot"] = hex(*view.boot);
  if (view.clock) out["clk"] = {number(view.clock->first), number(view.clock->second)};
  if (view.oldest_ns != 0) out["old"] = number(view.oldest_ns);
  if (view.life == LifeEvent::hello) out["life"] = "hello";
  if (view.life == LifeEvent::beat) out["life"] = "beat";
  if (view.life == LifeEvent::bye) out["life"] = "bye";
  for (const auto& [key, count] : view.accounts) out["acc"][std::string(key)] = number(count);
  for (const auto& relay : view.via) out["via"].push_back(hex(relay));
  if (view.has_metrics) out["met"] = metrics_of(view);
  if (view.has_spans) {
    out["spn"] = Json::array();
    for (const SpanView& span : view.spans) out["spn"].push_back(span_of(span));
  }
  return out;
}

}  // namespace insight::test
