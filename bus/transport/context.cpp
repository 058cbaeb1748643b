// SPDX-License-Identifier: Apache-2.0
#include "bus/transport/context.hpp"

#include <stdexcept>
#include <string>

#include "bus/transport/context_impl.hpp"

namespace insight::transport {

namespace {

// libzmq starts its threads with the first socket, so a failure would show late; one throw-away
// socket makes it show here.
std::unique_ptr<Context::Impl> make() {
  try {
    auto impl = std::make_unique<Context::Impl>();
    zmq::socket_t probe(impl->context, zmq::socket_type::pair);
    return impl;
  } catch (const zmq::error_t& error) {
    throw std::runtime_error(std::string("ZeroMQ does not start: ") + error.what());
  }
}

}  // namespace

Context::Context() : impl_(make()) {}

Context::~Context() = default;

}  // namespace insight::transport
