// SPDX-License-Identifier: Apache-2.0
#include "bus/aggregate/merge_key.hpp"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

#include "bus/base/text.hpp"

namespace insight {

namespace {

bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// One `_` per character that is not allowed, however many bytes of UTF-8 it has.
std::string sanitize(std::string_view name, bool allow_colon) {
  std::string out;
  out.reserve(name.size());
  for (char c : name) {
    if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;
    const bool is_digit = c >= '0' && c <= '9' && !out.empty();
    out += is_letter(c) || is_digit || (c == ':' && allow_colon) ? c : '_';
  }
  if (out.empty()) out.push_back('_');
  return out;
}

/// Prometheus' parser takes a NUL for the end of its input, and the format cannot escape it.
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::string escape(std::string_view text, bool escape_quotes) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && escape_quotes) {
      out += "\\\"";
    } else if (c == '\0') {
      out += kReplacement;
    } else {
      out += c;
    }
  }
  return out;
}

struct Label {
  std::string name;
  std::string_view key;  ///< as the publisher said it
  std::string value;
};

void join_equal_names(std::vector<Label>& labels) {
  size_t kept = 0;
  for (size_t i = 1; i < labels.size(); ++i) {
    if (labels[i].name != labels[kept].name) {
      if (++kept != i) labels[kept] = std::move(labels[i]);
    } else if (!labels[i].value.empty()) {
      if (!labels[kept].value.empty()) labels[kept].value += ';';
      labels[kept].value += labels[i].value;
    }
  }
  if (!labels.empty()) labels.resize(kept + 1);
}

}  // namespace

std::string metric_name(std::string_view name) { return sanitize(name, true); }

std::string label_name(std::string_view name) {
  std::string out = sanitize(name, false);
  if (out.starts_with("__")) out.erase(0, std::min(out.find_first_not_of('_'), out.size()) - 1);
  return out;
}

std::string exposed_name(const Family& family) {
  std::string name = metric_name(family.name);
  if (family.kind == Kind::counter && !name.ends_with(kTotal)) name += kTotal;
  return name;
}

std::string_view reserved_label(Kind kind, GaugeMode mode) noexcept {
  if (kind == Kind::histogram) return "le";
  if (kind == Kind::gauge && mode == GaugeMode::each) return "publisher";
  return {};
}

std::string label_text(const Series& series, const Resource& resource,
                       std::span<const std::string> resource_labels, std::string_view reserved) {
  const auto exposed = [&](std::string_view key) {
    std::string name = label_name(key);
    return name == reserved ? std::string("exported_").append(name) : name;
  };
  const std::vector<std::string>& keys = series.family->label_keys;
  std::vector<Label> labels;
  for (size_t i = 0; i < std::min(keys.size(), series.label_values.size()); ++i) {
    labels.push_back({exposed(keys[i]), keys[i], std::string(series.label_values[i])});
  }
  const auto before = [](const Label& a, const Label& b) {
    return std::tie(a.name, a.key, a.value) < std::tie(b.name, b.key, b.value);
  };
  std::ranges::sort(labels, before);
  join_equal_names(labels);
  const size_t own = labels.size();
  for (const std::string& key : resource_labels) {
    const Scalar* value = resource.find(key);
    if (value == nullptr) continue;
    std::string name = exposed(key);
    const auto has_name = [&](const Label& label) { return label.name == name; };
    if (std::ranges::any_of(labels, has_name)) continue;
    labels.push_back({std::move(name), key, to_text(*value)});
  }
  if (labels.size() > own) std::ranges::sort(labels, before);

  std::string text;
  for (const Label& label : labels) {
    if (label.value.empty()) continue;
    if (!text.empty()) text += ',';
    text += label.name;
    text += "=\"";
    text += escape_label(label.value);
    text += '"';
  }
  text.shrink_to_fit();
  return text;
}

uint64_t instrument_hash(const Series& shown, uint64_t key) {
  const Series& series = shown.sent_as != nullptr ? *shown.sent_as : shown;
  const Family& family = *series.family;
  std::vector<std::pair<std::string_view, std::string_view>> labels;
  for (size_t i = 0; i < std::min(family.label_keys.size(), series.label_values.size()); ++i) {
    labels.emplace_back(family.label_keys[i], series.label_values[i]);
  }
  std::ranges::sort(labels);
  uint64_t hash = keyed_hash(family.name, key);
  for (const auto& [name, value] : labels) {
    hash = keyed_hash(value, keyed_hash(name, hash));
  }
  return hash;
}

std::string escape_label(std::string_view text) { return escape(text, true); }

std::string escape_help(std::string_view text) { return escape(text, false); }

}  // namespace insight
