// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zmq.hpp>

#include "bus/transport/context.hpp"

namespace insight::transport {

struct Context::Impl {
  zmq::context_t context{1};
};

}  // namespace insight::transport
