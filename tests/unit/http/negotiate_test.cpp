// SPDX-License-Identifier: Apache-2.0
#include "bus/http/negotiate.hpp"

#include <string>

#include <doctest/doctest.h>

namespace insight {
namespace {

double text(std::string_view accept) { return wish_for(accept, "text/plain", "0.0.4").quality; }

Wish open_metrics(std::string_view accept) {
  return wish_for(accept, "application/openmetrics-text", "1.0.0");
}

}  // namespace

TEST_CASE("without a header everything is wanted, and nothing by its name") {
  CHECK(text("") == 1);
  CHECK(text(" ") == 1);
  CHECK(open_metrics("").quality == 1);
  CHECK_FALSE(open_metrics("").is_named);
}

TEST_CASE("the most exact range decides, wherever it stands") {
  CHECK(text("text/plain;q=0.2, */*") == 0.2);
  CHECK(text("*/*, text/*;q=0.5") == 0.5);
  CHECK(text("text/plain;version=0.0.4;q=0, text/plain") == 0);
  CHECK(text("text/plain, text/plain;version=0.0.4;q=0.3") == 0.3);
  CHECK(open_metrics("text/*").quality == 0);
  CHECK(open_metrics("*/*;q=0.1").quality == 0.1);
  CHECK_FALSE(open_metrics("application/*").is_named);
}

TEST_CASE("of two ranges that are as exact the larger quality counts") {
  CHECK(text("text/plain;q=0.5, text/plain;q=0.7") == 0.7);
  CHECK(text("text/plain;q=0.7, text/plain;q=0.5") == 0.7);
}

TEST_CASE("another version is another thing, and other parameters change nothing") {
  CHECK(open_metrics("application/openmetrics-text;version=0.0.1").quality == 0);
  CHECK(open_metrics("application/openmetrics-text; version=\"1.0.0\"; q=0.5").quality == 0.5);
  CHECK(open_metrics("application/openmetrics-text;version=1.0.0;charset=utf-8").quality == 1);
  CHECK(open_metrics("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8").is_named);
  CHECK(open_metrics("APPLICATION/OpenMetrics-Text").is_named);
}

TEST_CASE("what servers of several generations ask for is understood") {
  const std::string_view old =
      "application/openmetrics-text;version=1.0.0,application/"
      "openmetrics-text;version=0.0.1;q=0.75,"
      "text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
  CHECK(open_metrics(old).quality == 1);
  CHECK(text(old) == 0.5);
  const std::string_view later =
      "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
      "q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
      "text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
  CHECK(open_metrics(later).quality == 0.5);
  CHECK(text(later) == 0.2);
}

TEST_CASE("what cannot be understood is as if it were not there") {
  CHECK(text("text/plain;q=2, */*;q=0.4") == 0.4);
  CHECK(text("text/plain;q=x") == 0);
  CHECK(text("text/plain;q=") == 0);
  CHECK(text("text/plain;q=-1") == 0);
  CHECK(text("text/plain;q=nan") == 0);
  CHECK(text(",;,;;=,\"") == 0);
  CHECK(text("text/plain;x=\"a,b;q=0\";q=0.3") == 0.3);
  CHECK(text("text/plain;x=\"a\\\",b\";q=0.3, text/*") == 0.3);
  CHECK(text("text/plain;x=\"\\") == 1);
}

TEST_CASE("gzip is used where it is asked for and not less than no encoding") {
  CHECK(wants_gzip("gzip"));
  CHECK(wants_gzip("GZIP"));
  CHECK(wants_gzip("x-gzip"));
  CHECK(wants_gzip("deflate, gzip;q=0.5"));
  CHECK(wants_gzip("*"));
  CHECK(wants_gzip("identity;q=0.5, gzip;q=0.5"));
  CHECK_FALSE(wants_gzip(""));
  CHECK_FALSE(wants_gzip("identity"));
  CHECK_FALSE(wants_gzip("deflate, br"));
  CHECK_FALSE(wants_gzip("gzip;q=0"));
  CHECK_FALSE(wants_gzip("gzip;q=0.000"));
  CHECK_FALSE(wants_gzip("*;q=1, gzip;q=0"));
  CHECK_FALSE(wants_gzip("gzip;q=0.3, identity"));
  CHECK_FALSE(wants_gzip("gzip;q=x"));
}

}  // namespace insight
