// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

namespace insight::transport {

/// A ZeroMQ context: its I/O threads.  Thread-safe; must outlive its sockets.
///
/// The destructor waits for what the closed sockets still linger over.
class Context {
 public:
  /// Throws std::runtime_error when the system has no threads or descriptors left.
  Context();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  struct Impl;

  Impl& impl() const noexcept { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace insight::transport
