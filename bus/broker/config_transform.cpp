// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config_transform.hpp"

namespace insight {

namespace {

std::vector<std::string> read_globs(const ConfigTable& sink, std::string_view key) {
  std::vector<std::string> globs = sink.texts(key);
  for (size_t i = 0; i < globs.size(); ++i) {
    if (globs[i].empty()) sink.report(key, "expected a name such as \"rl_*\", got \"\"", i);
  }
  return globs;
}

}  // namespace

TransformOptions read_transform(const ConfigTable& sink) {
  TransformOptions out;
  out.include = read_globs(sink, "include");
  out.exclude = read_globs(sink, "exclude");
  out.prefix = sink.text("prefix");
  for (const auto& [name, node] : sink.members("rename")) {
    if (node.text.empty()) sink.report_member("rename", name, "expected a name, got \"\"");
    out.rename.emplace_back(name, node.text);
  }
  for (const auto& [name, node] : sink.members("labels")) {
    if (name.empty()) sink.report_member("labels", name, "a label needs a name");
    if (name == "le" || name.starts_with("__")) {
      sink.report_member("labels", name, "\"" + name + "\" is reserved by Prometheus");
    }
    out.labels.emplace_back(name, node.text);
  }
  for (const auto& [glob, node] : sink.members("scale")) {
    const double factor = ConfigTable::number_of(node);
    if (!(factor > 0)) {
      sink.report_member("scale", glob, "expected a number above 0, got " + show(node));
    }
    out.scale.emplace_back(glob, factor);
  }
  return out;
}

}  // namespace insight
