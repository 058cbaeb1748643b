// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "bus/base/endpoint.hpp"
#include "bus/base/unique_fd.hpp"

namespace insight {

struct ListenSocket {
  UniqueFd fd;
  uint16_t port = 0;  ///< as bound
};

/// Listens on a tcp endpoint; "*" is every address, IPv6 and IPv4.  Throws std::runtime_error that
/// names address, holder and remedy.
ListenSocket listen_on(const Endpoint& address);

}  // namespace insight
