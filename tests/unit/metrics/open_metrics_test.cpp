// SPDX-License-Identifier: Apache-2.0
#include "bus/metrics/open_metrics.hpp"

#include <doctest/doctest.h>

namespace insight {

TEST_CASE("a counter's family has no _total, its samples have") {
  CHECK(to_open_metrics("# HELP a_total Some.\n# TYPE a_total counter\na_total 1\n") ==
        "# HELP a Some.\n# TYPE a counter\na_total 1\n");
}

TEST_CASE("a name that ends with its unit says so") {
  CHECK(to_open_metrics("# HELP a_bytes_total Some.\n# TYPE a_bytes_total counter\n") ==
        "# HELP a_bytes Some.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n");
  CHECK(unit_of("a_seconds") == "seconds");
  CHECK(unit_of("aseconds").empty());
  CHECK(unit_of("a_seconds_max").empty());
}

TEST_CASE("a bound that is a whole number gets a point") {
  CHECK(to_open_metrics("a_bucket{x=\"1\",le=\"25\"} 3\n") == "a_bucket{x=\"1\",le=\"25.0\"} 3\n");
  for (const char* line :
       {"a_bucket{le=\"0.5\"} 3\n", "a_bucket{le=\"1e-05\"} 3\n", "a_bucket{le=\"+Inf\"} 3\n",
        "a{x=\"le=\\\"5\\\"\"} 3\n", "a{x=\"le=\"} 3\n", "a{x=\"le=\",y=\"5\"} 3\n", "a 3\n",
        "a{role=\"7\"} 3\n", "a{x=\"1\",role=\"7\"} 3\n"}) {
    CHECK(to_open_metrics(line) == line);
  }
}

}  // namespace insight
