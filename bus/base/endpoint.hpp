// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace insight {

/// Where something listens: "tcp://host:port", "tcp://[::1]:5571", "tcp://*:5571",
/// "ipc:///path/to/socket".
struct Endpoint {
  enum class Kind : uint8_t { tcp, ipc };

  Kind kind = Kind::tcp;
  std::string host;   ///< tcp: without brackets
  uint16_t port = 0;  ///< tcp: 0 means any free port
  std::string path;   ///< ipc

  /// As ZeroMQ reads it.
  std::string text() const;

  /// True for ipc, 127.0.0.0/8, ::1 and "localhost": nobody off this machine can reach it.
  bool is_loopback() const;

  bool operator==(const Endpoint&) const = default;
};

/// Reads an endpoint; `{runtime_dir}` in an ipc path is replaced.
Result<Endpoint> parse_endpoint(std::string_view text);

/// "127.0.0.1:9092", "[::1]:9092" or ":9092": a tcp Endpoint.
Result<Endpoint> parse_http_address(std::string_view text);

/// $XDG_RUNTIME_DIR/insight; for root /run/insight; else insight-<uid> under the temporary
/// directory. Says where; creates nothing.
std::string runtime_directory();

/// "tcp://127.0.0.1:5571" and friends: the defaults that both sides share.
inline constexpr std::string_view kDefaultEndpoint = "tcp://127.0.0.1:5571";
inline constexpr std::string_view kDefaultControl = "tcp://127.0.0.1:5572";
inline constexpr std::string_view kDefaultHttp = "127.0.0.1:9092";
inline constexpr std::string_view kDefaultSocketName = "bus.ipc";

}  // namespace insight
