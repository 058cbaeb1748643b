// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "cli/ask.hpp"
#include "cli/commands.hpp"

namespace insight::cli {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxLimit = 1'000;  // of one answer
constexpr const char* kNoList =
    "no sink of this broker shows metrics, so it keeps no list of series: \"insightctl status\" "
    "has "
    "the largest metrics, and [sinks.prometheus] in the configuration gives a list";

struct ListOptions {
  AskOptions ask;
  std::string name;  // a glob; empty: all
  std::string sort = "series";
  uint64_t limit = 50;
  uint64_t offset = 0;
};

struct ExplainOptions {
  AskOptions ask;
  std::string name;
};

/// "12", or "12+" where more were not counted.
std::string at_least(const json& object, const char* key, const char* is_at_least) {
  return grouped(count(object, key)) + (member(object, is_at_least) == true ? "+" : "");
}

std::string silence(const json& metric) {
  if (!member(metric, "silent_seconds").is_number_unsigned()) return "-";
  return format_duration(count(metric, "silent_seconds") * kSecond) + " ago";
}

bool has_list(const json& body) { return !member(body, "source").is_null(); }

void show_list(const json& body, const ListOptions& options, Terminal& out) {
  Table table{{{"METRIC"},
               {"KIND"},
               {"UNIT"},
               {"SERIES", true},
               {"PUBLISHERS", true},
               {"UPDATED", true},
               {"HELP"}},
              {}};
  for (const json& metric : member(body, "metrics")) {
    table.rows.push_back({text(metric, "metric"), text(metric, "kind"), text(metric, "unit"),
                          grouped(count(metric, "series")),
                          at_least(metric, "publishers", "publishers_at_least"), silence(metric),
                          text(metric, "help")});
  }
  const uint64_t matched = count(body, "matched");
  if (matched == 0) {
    out.line(options.name.empty() ? "no metrics yet" : "no metric matches " + options.name);
    return;
  }
  if (!table.rows.empty()) table.print(out);
  const uint64_t shown = std::min(matched, options.offset) + table.rows.size();
  out.line(
      grouped(matched) + (matched == 1 ? " metric, " : " metrics, ") +
      grouped(count(body, "series")) + " series" +
      (shown < matched ? "; " + grouped(matched - shown) + " more: see --limit and --offset" : ""));
}

int list(const ListOptions& options, Terminal& out) {
  if (options.limit > kMaxLimit) {
    complain("--limit: at most " + std::to_string(kMaxLimit) + "; see --offset for what follows");
    return kWrongUse;
  }
  int exit_code = kDone;
  const std::string name = options.name.empty() ? "*" : options.name;
  const std::optional<Answer> answer = ask(
      options.ask,
      "/api/v1/series?name=" + percent_encoded(name) + "&sort=" + options.sort +
          "&limit=" + std::to_string(options.limit) + "&offset=" + std::to_string(options.offset),
      exit_code);
  if (!answer) return exit_code;
  const bool is_nothing_known = !has_list(answer->json) && count(answer->json, "matched") == 0;
  if (options.ask.json) {
    out.raw(answer->body);
  } else if (!is_nothing_known) {
    show_list(answer->json, options, out);
  }
  if (is_nothing_known) complain(kNoList);
  return is_nothing_known ? kProblem : kDone;
}

std::string meaning(const json& metric) {
  const std::string kind = text(metric, "kind"), merge = text(metric, "merge");
  if (text(metric, "declared_by") == "the bus itself") return "the broker's own value";
  if (kind == "counter") return "totals of all publishers add up, those that ended included";
  if (kind == "histogram") return "buckets of all publishers add up, those that ended included";
  if (merge == "last") return "the newest change of a publisher that is alive";
  if (merge == "each") return "one series for each publisher that is alive";
  return merge + " over the publishers that are alive";
}

std::string bounds(const json& metric) {
  std::string out;
  for (const json& bound : member(metric, "bounds")) {
    out += (out.empty() ? "" : " ") + bound.dump();
  }
  return out.empty() ? out : out + " +Inf";
}

void show_labels(const json& metric, Terminal& out) {
  const json& labels = member(metric, "labels");
  if (labels.empty()) return;
  Table table{{{"LABEL"}, {"VALUES", true}, {"MOST SERIES"}}, {}};
  for (const json& label : labels) {
    std::string top;
    for (const json& each : member(label, "top")) {
      top += (top.empty() ? "" : ", ") + text(each, "value") + " (" +
             grouped(count(each, "series")) + ")";
    }
    if (count(label, "values") > member(label, "top").size()) top += ", ...";
    table.rows.push_back({text(label, "label"), at_least(label, "values", "values_at_least"), top});
  }
  out.line("");
  table.print(out);
}

void show_publishers(const json& metric, Terminal& out) {
  const json& publishers = member(metric, "top_publishers");
  if (publishers.empty()) return;
  Table table{{{"PUBLISHER"}, {"STATE"}, {"SERIES", true}}, {}};
  for (const json& publisher : publishers) {
    table.rows.push_back(
        {text(publisher, "name"), text(publisher, "state"), grouped(count(publisher, "series"))});
  }
  out.line("");
  table.print(out);
  const uint64_t all = count(metric, "publishers");
  if (all > publishers.size()) out.line(grouped(all - publishers.size()) + " more publishers");
}

/// True when something was refused.
bool show_refusals(const json& body, Terminal& out) {
  const json& refusals = member(body, "refusals");
  const json& offenders = member(body, "offenders");
  if (refusals.empty() && offenders.empty()) return false;
  out.line("");
  for (const json& refusal : refusals) {
    const std::string second = text(refusal, "second"), first = text(refusal, "first");
    out.line(out.paint(Colour::yellow, text(refusal, "metric") + ": " + text(refusal, "reason")) +
             ": " + grouped(count(refusal, "points_dropped")) + " points" +
             (second.empty() ? "" : " of " + second) + " not taken" +
             (first.empty() ? "" : "; declared before by " + first));
  }
  for (const json& offender : offenders) {
    out.line(out.paint(Colour::yellow, "over the limit " + text(offender, "limit")) + ": " +
             grouped(count(offender, "points_dropped")) + " points of publisher " +
             text(offender, "publisher") + " not taken");
  }
  return true;
}

void show_metric(const json& body, Terminal& out) {
  const json& metric = member(body, "metric");
  const std::string unit = text(metric, "unit"), help = text(metric, "help");
  out.line(out.paint(Colour::bold, text(metric, "metric")) + "  " + text(metric, "kind") +
           (unit.empty() ? "" : ", unit " + unit));
  if (!help.empty()) out.line(help);
  out.line("");
  const uint64_t dormant = count(metric, "dormant"), series = count(metric, "series");
  const bool is_own = text(metric, "declared_by") == "the bus itself";
  out.line("series     " + grouped(series) +
           (is_own ? "" : " of at most " + grouped(count(body, "series_per_metric_limit"))) +
           (dormant == 0
                ? ""
                : "; " + grouped(dormant) + " more that nobody sends now, totals are kept"));
  if (!is_own) {
    out.line("from       " + at_least(metric, "publishers", "publishers_at_least") +
             (count(metric, "publishers") == 1 ? " publisher" : " publishers"));
    out.line("updated    " + silence(metric));
  }
  out.line("declared   by " + text(metric, "declared_by"));
  out.line("merged     " + meaning(metric));
  if (const std::string all = bounds(metric); !all.empty()) out.line("bounds     " + all);
  if (count(metric, "exemplars") > 0) out.line("exemplars  " + grouped(count(metric, "exemplars")));
  show_labels(metric, out);
  show_publishers(metric, out);
  if (count(metric, "series_examined") < series) {
    out.line("");
    out.line("labels and publishers: of the first " + grouped(count(metric, "series_examined")) +
             " series");
  }
}

int explain(const ExplainOptions& options, Terminal& out) {
  int exit_code = kDone;
  const std::optional<Answer> answer =
      ask(options.ask, "/api/v1/series?explain=" + percent_encoded(options.name), exit_code);
  if (!answer) return exit_code;
  const json& body = answer->json;
  const bool is_known = member(body, "metric").is_object();
  if (options.ask.json) {
    out.raw(answer->body);
    return is_known ? kDone : kProblem;
  }
  if (is_known) {
    show_metric(body, out);
    show_refusals(body, out);
    return kDone;
  }
  std::string near;
  for (const json& name : member(body, "nearest")) {
    near += (near.empty() ? "; did you mean " : ", ") + printable(name.get<std::string>());
  }
  const bool is_refused = show_refusals(body, out);
  if (!has_list(body)) {
    complain("the bus has no metric " + options.name + " of its own" + near + "; " + kNoList);
  } else if (is_refused) {
    complain("all points of " + options.name + " are refused");
  } else {
    complain("nobody sends a metric " + options.name + near + (near.empty() ? "" : "?"));
  }
  return kProblem;
}

}  // namespace

Command metrics_command() {
  const auto listing = std::make_shared<ListOptions>();
  const auto explaining = std::make_shared<ExplainOptions>();
  Command list_command{
      .name = "list",
      .does =
          "The metrics that publishers send, those with most series first. With a name that "
          "begins with \"insight\" also the bus's own",
      .examples = {"insightctl metrics list", "insightctl metrics list 'rl_*' --sort name",
                   "insightctl metrics list 'insight_*' --json"},
      .arguments = ask_arguments(
          listing->ask, {{.name = "name",
                          .value = "GLOB",
                          .does = "only those whose name matches ('*' any text, '?' any letter)",
                          .target = &listing->name},
                         {.name = "--sort",
                          .value = "KEY",
                          .does = "by series or by name (series)",
                          .target = &listing->sort,
                          .choices = {"series", "name"}},
                         {.name = "--limit",
                          .value = "N",
                          .does = "at most so many, up to 1000 (50)",
                          .target = &listing->limit},
                         {.name = "--offset",
                          .value = "N",
                          .does = "leave out so many at the start (0)",
                          .target = &listing->offset}}),
      .run = [listing](Terminal& out) { return list(*listing, out); }};
  Command explain_command{
      .name = "explain",
      .does =
          "Says what one metric means: kind, unit, help, how many series, their labels, from "
          "whom, and what was refused",
      .examples = {"insightctl metrics explain insight_publishers"},
      .arguments = ask_arguments(explaining->ask, {{.name = "name",
                                                    .value = "NAME",
                                                    .does = "as declared, or as /metrics shows it",
                                                    .target = &explaining->name,
                                                    .is_required = true}}),
      .run = [explaining](Terminal& out) { return explain(*explaining, out); }};
  return {.name = "metrics",
          .does = "Which metrics there are, and what they mean",
          .examples = {"insightctl metrics list", "insightctl metrics explain insight_publishers"},
          .commands = {std::move(list_command), std::move(explain_command)}};
}

}  // namespace insight::cli
