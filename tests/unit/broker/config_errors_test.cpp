// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/broker/config.hpp"
#include "tests/unit/broker/fake_sinks.hpp"

namespace insight {
namespace {

struct WrongFile {
  const char* text;
  std::string errors;  // one a line, without "bus.toml:"
};

std::string errors_of(const char* text) {
  setenv("HOME", "/home/somebody", 1);
  unsetenv("XDG_STATE_HOME");
  unsetenv("INSIGHT_TEST_UNSET");
  setenv("INSIGHT_TEST_PORT", "5571", 1);
  const auto config = check_config(text, "bus.toml", test::kPlugins);
  if (config) return "none";
  std::string out;
  for (const ConfigError& error : config.error()) {
    out += (out.empty() ? "" : "\n") + error.text().substr(9);
  }
  return out;
}

void check_all(const std::vector<WrongFile>& files) {
  for (const WrongFile& file : files) {
    CAPTURE(std::string(file.text));
    CHECK(errors_of(file.text) == file.errors);
  }
}

// Every file here but the broken ones ends with a collector, so that only what is tested is wrong.
#define BUS "\n[collectors.bus]\n"

}  // namespace

TEST_CASE("of syntax errors the first is told with its place") {
  check_all({
      {"[broker\n", "1:8: Error while parsing table header: expected ']', saw '\\n'"},
      {"[broker]\nname = \n", "2:8: Error while parsing key-value pair: expected value, saw '\\n'"},
      {"[broker]\nname = 'a'\nname = 'b'\n",
       "3:8: Error while parsing key-value pair: cannot redefine existing string 'name'"},
      {"name = \"\xff\"\n", "1:8: Encountered invalid utf-8 sequence"},
  });
}

TEST_CASE("an unknown key is told with the nearest one that exists") {
  check_all({
      {"[broker]\nnmae = 'x'" BUS, "2:1: unknown key \"nmae\" in [broker]; did you mean \"name\"?"},
      {"[brokr]\nname = 'x'" BUS, "1:2: unknown table [brokr]; did you mean \"broker\"?"},
      {"name = 'x'" BUS,
       "1:1: unknown key \"name\" outside of a table; known: broker, http, limits, collectors, "
       "sinks"},
      {"[http]\nlisten_to = ':9092'" BUS,
       "2:1: unknown key \"listen_to\" in [http]; did you mean \"listen\"?"},
      {"[http]\nzzzzzzzzzzzzz = 1" BUS,
       "2:1: unknown key \"zzzzzzzzzzzzz\" in [http]; known: insecure, listen"},
      {"[limits]\nserie = 5" BUS,
       "2:1: unknown key \"serie\" in [limits]; did you mean \"series\"?"},
      {"[collectors.bus]\nendpoint = ['tcp://127.0.0.1:5571']",
       "2:1: unknown key \"endpoint\" in [collectors.bus]; did you mean \"endpoints\"?"},
      {"[collectors.bus]\ncontrol = 'tcp://127.0.0.1:5572'",
       "2:1: unknown key \"control\" in [collectors.bus]; known: endpoints, insecure, type"},
      {"[sinks.file]\ndirectry = '/x'" BUS,
       "2:1: unknown key \"directry\" in [sinks.file]; did you mean \"directory\"?"},
      {"[sinks.file]\nrotate = { byte = '1MiB' }" BUS,
       "2:12: unknown key \"byte\" in [sinks.file.rotate]; did you mean \"bytes\"?"},
      {"[sinks.file]\nqueue = { size = '1MiB' }" BUS,
       "2:11: unknown key \"size\" in [sinks.file.queue]; known: bytes"},
      {"[sinks.file]\nzzzzzzzzzzzzzz = ['rl_*']" BUS,
       "2:1: unknown key \"zzzzzzzzzzzzzz\" in [sinks.file]; known: directory, exclude, format, "
       "include, labels, linger, prefix, queue, ratio, rename, retry, rotate, scale, signals, "
       "snapshot, type, words"},
      {"[sinks.file]\nincluded = ['rl_*']" BUS,
       "2:1: unknown key \"included\" in [sinks.file]; did you mean \"include\"?"},
      {"[sinks.prometheus]\ndirectory = '/x'" BUS,
       "2:1: unknown key \"directory\" in [sinks.prometheus]; known: exclude, include, labels, "
       "prefix, queue, rename, retry, scale, signals, type"},
  });
}

TEST_CASE("what a sink's table would change is checked value by value, all at once") {
  check_all({
      {"[sinks.prometheus]\n"
       "include = 'rl_*'\n"
       "exclude = ['']\n"
       "rename = { a = 5, b = '' }\n"
       "prefix = 1\n"
       "labels = { le = 'x', __name__ = 'y' }\n"
       "scale = { a = 0, b = -1, c = 2 }" BUS,
       "2:11: sinks.prometheus.include: expected an array of strings, got \"rl_*\"\n"
       "3:12: sinks.prometheus.exclude: expected a name such as \"rl_*\", got \"\"\n"
       "4:16: sinks.prometheus.rename.a: expected a string, got 5\n"
       "5:10: sinks.prometheus.prefix: expected a string, got 1\n"
       "6:17: sinks.prometheus.labels.le: \"le\" is reserved by Prometheus\n"
       "6:33: sinks.prometheus.labels.__name__: \"__name__\" is reserved by Prometheus\n"
       "7:15: sinks.prometheus.scale.a: expected a number above 0, got 0\n"
       "7:22: sinks.prometheus.scale.b: expected a number above 0, got -1"},
      {"[sinks.prometheus]\nlabels = ['a']" BUS,
       "2:10: sinks.prometheus.labels: expected a table of strings, got an array"},
      {"[sinks.prometheus]\nrename = { a = '' }" BUS,
       "2:16: sinks.prometheus.rename.a: expected a name, got \"\""},
      {"[sinks.prometheus]\nscale = { a = '2' }" BUS,
       "2:15: sinks.prometheus.scale.a: expected a number, got \"2\""},
      {"[sinks.prometheus]\nlabels = { a = '${INSIGHT_TEST_UNSET}' }" BUS,
       "2:16: sinks.prometheus.labels.a: the environment variable INSIGHT_TEST_UNSET is not set; "
       "set it or write ${INSIGHT_TEST_UNSET:-default}"},
  });
}

TEST_CASE("a wrong type is told with the form that is expected") {
  check_all({
      {"broker = 5" BUS, "1:10: expected a table [broker], got 5"},
      {"[broker]\nname = 5" BUS, "2:8: broker.name: expected a string, got 5"},
      {"[broker]\nname = 1979-05-27" BUS, "2:8: broker.name: expected a string, got 1979-05-27"},
      {"[broker]\nstop_timeout = 5" BUS,
       "2:16: broker.stop_timeout: expected a duration such as \"5s\" (ns, us, ms, s, m, h, d), "
       "got 5"},
      {"[broker]\nresource_labels = 'run'" BUS,
       "2:19: broker.resource_labels: expected an array of strings, got \"run\""},
      {"[broker]\nresource_labels = ['run', 5]" BUS,
       "2:27: broker.resource_labels: expected an array of strings, got 5"},
      {"[http]\nlisten = 9092" BUS, "2:10: http.listen: expected a string, got 9092"},
      {"[http]\ninsecure = 'yes'" BUS, "2:12: http.insecure: expected true or false, got \"yes\""},
      {"[limits]\nseries = '1000'" BUS,
       "2:10: limits.series: expected a whole number, 0 or more, got \"1000\""},
      {"[limits]\nseries = 1.5" BUS,
       "2:10: limits.series: expected a whole number, 0 or more, got 1.5"},
      {"[limits]\nseries = -1" BUS,
       "2:10: limits.series: expected a whole number, 0 or more, got -1"},
      {"collectors = 1", "1:14: collectors: expected tables such as [collectors.NAME], got 1"},
      {"[collectors]\nbus = 1", "2:7: expected a table [collectors.bus], got 1"},
      {"[collectors.bus]\nendpoints = 'tcp://127.0.0.1:5571'",
       "2:13: collectors.bus.endpoints: expected an array of strings, got "
       "\"tcp://127.0.0.1:5571\""},
      {"[[sinks]]\ntype = 'file'" BUS,
       "1:1: sinks: expected tables such as [sinks.NAME], got an array"},
      {"[sinks.file]\nqueue = '64MiB'" BUS,
       "2:9: sinks.file.queue: expected a table, got \"64MiB\""},
      {"[sinks.file]\nratio = 'half'" BUS,
       "2:9: sinks.file.ratio: expected a number, got \"half\""},
      {"[sinks.file]\nratio = nan" BUS, "2:9: sinks.file.ratio: expected a number, got nan"},
      {"[sinks.file]\ntype = 5" BUS, "2:8: sinks.file.type: expected a string, got 5"},
  });
}

TEST_CASE("a wrong value is told with the form that is expected") {
  check_all({
      {"[broker]\nstop_timeout = '5 parsecs'" BUS,
       "2:16: broker.stop_timeout: expected a duration such as \"5s\" (ns, us, ms, s, m, h, d), "
       "got \"5 parsecs\""},
      {"[broker]\nstop_timeout = '2h'" BUS,
       "2:16: broker.stop_timeout: expected at most \"1h\", got \"2h\""},
      {"[broker]\nstate_dir = ''" BUS,
       "2:13: broker.state_dir: expected a path in quotes, got \"\""},
      {"[broker]\nresource_labels = ['run', 'run']" BUS,
       "2:27: broker.resource_labels: \"run\" stands here twice"},
      {"[broker]\nresource_labels = ['le', '__name__', '']" BUS,
       "2:20: broker.resource_labels: \"le\" is reserved by Prometheus\n"
       "2:26: broker.resource_labels: \"__name__\" is reserved by Prometheus\n"
       "2:38: broker.resource_labels: expected a resource key, got \"\""},
      {"[limits]\nseries = 0" BUS, "2:10: limits.series: expected 1 or more, got 0"},
      {"[http]\nlisten = '127.0.0.1'" BUS, "2:10: http.listen: \"127.0.0.1\": the port is missing"},
      {"[http]\nlisten = 'http://127.0.0.1:9092'" BUS,
       "2:10: http.listen: \"http://127.0.0.1:9092\": expected HOST:PORT, as in 127.0.0.1:9092"},
      {"[http]\nlisten = '127.0.0.1:99999'" BUS,
       "2:10: http.listen: \"127.0.0.1:99999\": the port must be a number from 0 to 65535, or *"},
      {"[http]\nlisten = '::1:9092'" BUS,
       "2:10: http.listen: \"::1:9092\": an IPv6 address stands in brackets, as in [::1]:5571"},
      {"[collectors.bus]\ntype = 'kafka'",
       "2:8: collectors.bus.type: no collector \"kafka\" is built in; known: zmq"},
      {"[collectors.bus]\nendpoints = []",
       "2:13: collectors.bus.endpoints: expected at least one endpoint"},
      {"[collectors.bus]\nendpoints = ['udp://127.0.0.1:1']",
       "2:14: collectors.bus.endpoints: \"udp://127.0.0.1:1\": expected tcp://HOST:PORT or "
       "ipc:///PATH"},
      {"[collectors.bus]\nendpoints = ['ipc://bus.ipc']",
       "2:14: collectors.bus.endpoints: \"ipc://bus.ipc\": an ipc path must be absolute, as in "
       "ipc:///run/insight/bus.ipc"},
      {"[collectors.bus]\nendpoints = ['tcp://127.0.0.1']",
       "2:14: collectors.bus.endpoints: \"tcp://127.0.0.1\": the port is missing"},
      {"[sinks.file]\nqueue = { bytes = '64 MB' }" BUS,
       "2:19: sinks.file.queue.bytes: expected a size such as \"64MiB\" (B, KiB, MiB, GiB), got "
       "\"64 MB\""},
      {"[sinks.file]\nqueue = { bytes = '1KiB' }" BUS,
       "2:19: sinks.file.queue.bytes: expected at least \"64KiB\", got \"1KiB\""},
      {"[sinks.file]\nretry = { initial = '0s' }" BUS,
       "2:21: sinks.file.retry.initial: expected more than \"0s\", got \"0s\""},
      {"[sinks.file]\nretry = { initial = '10s', max = '1s' }" BUS,
       "2:34: sinks.file.retry.max: expected at least retry.initial, got \"1s\""},
      {"[sinks.file]\nsignals = []" BUS, "2:11: sinks.file.signals: expected at least one signal"},
      {"[sinks.file]\nsignals = ['metric']" BUS,
       "2:12: sinks.file.signals: no signal \"metric\"; did you mean \"metrics\"?"},
      {"[sinks.prometheus]\nsignals = ['spans']" BUS,
       "2:12: sinks.prometheus.signals: the sink prometheus takes no spans"},
      {"[sinks.file]\nformat = 'xml'" BUS,
       "2:10: sinks.file.format: expected \"jsonl\" or \"csv\", got \"xml\""},
      {"[sinks.file]\nrotate = { keep = 10 }" BUS,
       "2:19: sinks.file.rotate.keep: expected at most 9, got 10"},
      {"[sinks.picky]" BUS, "1:8: sinks.picky: not on this machine"},
  });
}

TEST_CASE("a sink that is not built in is told with the nearest one") {
  check_all({
      {"[sinks.promtheus]" BUS,
       "1:8: sinks.promtheus: no sink \"promtheus\" is built in; did you mean \"prometheus\"?"},
      {"[sinks.tempo]\ntype = 'otlp'" BUS,
       "2:8: sinks.tempo: no sink \"otlp\" is built in; known: file, prometheus, picky"},
      {"[sinks.archive]\ntype = 'flie'" BUS,
       "2:8: sinks.archive: no sink \"flie\" is built in; did you mean \"file\"?"},
  });
}

TEST_CASE("what other machines could reach needs a word that says so") {
  check_all({
      {"[http]\nlisten = '0.0.0.0:9092'" BUS,
       "2:10: http.listen: \"0.0.0.0:9092\" can be reached from other machines, and nothing checks "
       "who reads; bind to 127.0.0.1 or [::1], or set insecure = true in [http]"},
      {"[http]\nlisten = ':9092'" BUS,
       "2:10: http.listen: \":9092\" can be reached from other machines, and nothing checks who "
       "reads; bind to 127.0.0.1 or [::1], or set insecure = true in [http]"},
      {"[http]\nlisten = '[::]:9092'" BUS,
       "2:10: http.listen: \"[::]:9092\" can be reached from other machines, and nothing checks "
       "who reads; bind to 127.0.0.1 or [::1], or set insecure = true in [http]"},
      {"[collectors.bus]\nendpoints = ['tcp://*:5571']",
       "2:14: collectors.bus.endpoints: \"tcp://*:5571\" can be reached from other machines, and "
       "nothing checks who writes; bind to 127.0.0.1 or [::1], or set insecure = true in "
       "[collectors.bus]"},
      {"[collectors.bus]\nendpoints = ['tcp://10.0.0.1:5571']",
       "2:14: collectors.bus.endpoints: \"tcp://10.0.0.1:5571\" can be reached from other "
       "machines, and nothing checks who writes; bind to 127.0.0.1 or [::1], or set insecure = "
       "true in [collectors.bus]"},
  });
}

TEST_CASE("an address that two things bind is told with both") {
  check_all({
      {"[http]\nlisten = '127.0.0.1:5571'" BUS,
       "3:13: collectors.bus.endpoints: \"tcp://127.0.0.1:5571\" is bound by [http] too, at line "
       "2"},
      {"[collectors.a]\nendpoints = ['tcp://127.0.0.1:1', 'tcp://127.0.0.1:1']",
       "2:35: collectors.a.endpoints: \"tcp://127.0.0.1:1\" is bound by [collectors.a] too, at "
       "line 2"},
      {"[collectors.a]\nendpoints = ['ipc:///run/a']\n[collectors.b]\nendpoints = ['ipc:///run/a']",
       "4:14: collectors.b.endpoints: \"ipc:///run/a\" is bound by [collectors.a] too, at line 2"},
      {"[collectors.a]\ninsecure = true\nendpoints = ['tcp://*:1']\n"
       "[collectors.b]\nendpoints = ['tcp://[::1]:1']",
       "5:14: collectors.b.endpoints: \"tcp://[::1]:1\" is bound by [collectors.a] too, at line 3"},
  });
}

TEST_CASE("two sinks that would put the same series on one page are told so") {
  check_all({
      {"[sinks.prometheus]\n[sinks.again]\ntype = 'prometheus'" BUS,
       "2:8: sinks.again: [sinks.prometheus] is on /metrics already; with two, each series would "
       "stand there twice"},
  });
}

TEST_CASE("an environment variable that is not there is told with the way to give a default") {
  check_all({
      {"[broker]\nname = '${INSIGHT_TEST_UNSET}'" BUS,
       "2:8: broker.name: the environment variable INSIGHT_TEST_UNSET is not set; set it or write "
       "${INSIGHT_TEST_UNSET:-default}"},
      {"[broker]\nname = '${INSIGHT_TEST_UNSET'" BUS, "2:8: broker.name: \"${\" without \"}\""},
      {"[broker]\nname = '${}'" BUS,
       "2:8: broker.name: \"${}\" does not name an environment variable"},
      {"[broker]\nname = '${a b}'" BUS,
       "2:8: broker.name: \"${a b}\" does not name an environment variable"},
      {"[collectors.bus]\nendpoints = ['tcp://127.0.0.1:${INSIGHT_TEST_PORT}', "
       "'tcp://127.0.0.1:5571']",
       "2:54: collectors.bus.endpoints: \"tcp://127.0.0.1:5571\" is bound by [collectors.bus] too, "
       "at line 2"},
  });
}

TEST_CASE("a file without a collector is told to add one") {
  check_all({{"[http]\n", " no collector: nothing could come in; add [collectors.bus]"}});
}

TEST_CASE("all errors of a file are told at once, in the order of its lines") {
  check_all(
      {{"[broker]\nstop_timeout = 'soon'\n[http]\nlisen = ''\n[sinks.file]\nformat = 'xml'\n"
        "[limits]\nseries = 'many'" BUS,
        "2:16: broker.stop_timeout: expected a duration such as \"5s\" (ns, us, ms, s, m, h, d), "
        "got \"soon\"\n"
        "4:1: unknown key \"lisen\" in [http]; did you mean \"listen\"?\n"
        "6:10: sinks.file.format: expected \"jsonl\" or \"csv\", got \"xml\"\n"
        "8:10: limits.series: expected a whole number, 0 or more, got \"many\""}});
}

}  // namespace insight
