// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "cli/ask.hpp"
#include "cli/commands.hpp"

namespace insight::cli {

namespace {

using nlohmann::json;

struct PublishersOptions {
  AskOptions ask;
  std::string state;  // empty: all
  uint64_t limit = 100;
};

std::string cell(const json& publisher, const char* key) {
  const json& value = publisher.at(key);
  return value.is_string() ? printable(value.get<std::string>()) : printable(value.dump());
}

std::string resource(const json& publisher, const char* key) {
  const json& attributes = publisher.at("resource");
  return attributes.contains(key) ? cell(attributes, key) : "";
}

std::string silence(const json& publisher) {
  const auto whole = static_cast<uint64_t>(publisher.at("silent_seconds").get<double>());
  return format_duration(whole * kSecond) + " ago";
}

Colour colour_of(std::string_view state) {
  if (state == "alive") return Colour::green;
  return state == "ended" ? Colour::none : Colour::yellow;
}

void show(const json& body, Terminal& out) {
  Table table{{{"STATE"},
               {"PUBLISHER"},
               {"RUN"},
               {"ROLE"},
               {"RANK"},
               {"SERIES", true},
               {"POINTS", true},
               {"SPANS", true},
               {"GAPS", true},
               {"HEARD", true},
               {"INCARNATION"}},
              {}};
  for (const json& publisher : body.at("publishers")) {
    const std::string state = cell(publisher, "state");
    table.rows.push_back(
        {out.paint(colour_of(state), state), cell(publisher, "name"), resource(publisher, "run"),
         resource(publisher, "role"), resource(publisher, "rank"), cell(publisher, "series"),
         cell(publisher, "points"), cell(publisher, "spans"), cell(publisher, "sequence_gaps"),
         silence(publisher), cell(publisher, "incarnation")});
  }
  const size_t matched = body.at("matched").get<size_t>();
  if (matched == 0) {
    out.line("no publishers");
    return;
  }
  table.print(out);
  if (matched > table.rows.size()) {
    out.line(std::to_string(matched - table.rows.size()) + " more; see --limit and --state");
  }
}

int publishers(const PublishersOptions& options, Terminal& out) {
  std::string path = "/api/v1/publishers?limit=" + std::to_string(options.limit);
  if (!options.state.empty()) path += "&state=" + options.state;
  int exit_code = kDone;
  const std::optional<Answer> answer = ask(options.ask, path, exit_code);
  if (!answer) return exit_code;
  if (options.ask.json) {
    out.raw(answer->body);
  } else {
    show(answer->json, out);
  }
  return kDone;
}

}  // namespace

Command publishers_command() {
  const auto options = std::make_shared<PublishersOptions>();
  return {.name = "publishers",
          .does = "Who sends",
          .examples = {"insightctl publishers --state alive"},
          .arguments = ask_arguments(options->ask, {{.name = "--state",
                                                     .value = "STATE",
                                                     .does = "only those in this state",
                                                     .target = &options->state,
                                                     .choices = {"alive", "late", "lost", "ended"}},
                                                    {.name = "--limit",
                                                     .value = "N",
                                                     .does = "at most so many (100)",
                                                     .target = &options->limit}}),
          .run = [options](Terminal& out) { return publishers(*options, out); }};
}

}  // namespace insight::cli
