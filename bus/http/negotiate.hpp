// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

/// What a client says that it wants (RFC 9110, 12.5).  Pure functions; whatever a client sends is a
/// valid argument, and what cannot be understood is as if it were not there.
namespace insight {

/// What an Accept header says of one media type.  Value.
struct Wish {
  double quality = 0;     ///< 0 unwanted, 1 as much as possible
  bool is_named = false;  ///< by its full name, not by a wildcard
};

/// How much `type` ("text/plain") in this `version` is wanted: the range that describes it most
/// exactly decides.  A range that asks for another version does not mean it; other parameters
/// change nothing.  No header: everything is wanted.
Wish wish_for(std::string_view accept, std::string_view type, std::string_view version);

/// Whether an Accept-Encoding header asks for gzip, and not rather for no encoding.
bool wants_gzip(std::string_view accept_encoding);

}  // namespace insight
