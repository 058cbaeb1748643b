// SPDX-License-Identifier: Apache-2.0
#include "cli/resend.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <thread>
#include <utility>

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto kStep = 100ms;   // of a wait: so often `on_wait` is called
constexpr int kFinishStep = 5;  // ms: there is no event for what it waits for

std::chrono::milliseconds until(uint64_t mono_ns, std::chrono::milliseconds at_most) {
  const uint64_t now = mono_now_ns();
  if (mono_ns <= now) return 0ms;
  // Rounded up: a wait that is too short would spin.
  const std::chrono::milliseconds left((mono_ns - now + kMillisecond - 1) / kMillisecond);
  return std::min(left, at_most);
}

}  // namespace

Resender::Resender(Endpoint endpoint, std::chrono::nanoseconds patience,
                   std::function<void()> on_wait, std::function<void(const std::string&)> tell)
    : endpoint_(std::move(endpoint)),
      patience_(patience),
      on_wait_(std::move(on_wait)),
      tell_(std::move(tell)) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  context_ = std::make_unique<transport::Context>();
  socket_ = std::make_unique<transport::PushSocket>(*context_, endpoint_);
  away_since_ns_ = mono_now_ns();
}

Resender::Outcome Resender::connect() {
  while (away_since_ns_ != 0) {
    const Outcome outcome = wait(kStep, false);
    if (outcome != Outcome::sent) return outcome;
  }
  return Outcome::sent;
}

Resender::Outcome Resender::send(std::string_view message) {
  for (auto timeout = 0ms;; timeout = kStep) {
    // Also without any need to wait: what happened to the connection is only seen here.
    const Outcome outcome = wait(timeout, true);
    if (outcome != Outcome::sent) return outcome;
    if (away_since_ns_ == 0 && socket_->send(message) == transport::SendResult::accepted) {
      return Outcome::sent;
    }
  }
}

Resender::Outcome Resender::wait_until(uint64_t mono_ns) {
  for (;;) {
    const auto timeout = until(mono_ns, kStep);
    if (timeout == 0ms) return Outcome::sent;
    const Outcome outcome = wait(timeout, false);
    if (outcome != Outcome::sent) return outcome;
  }
}

Resender::Outcome Resender::finish() {
  if (!left_.valid()) {
    finish_until_ns_ = mono_now_ns() + static_cast<uint64_t>(patience_.count());
    connection_ = socket_->duplicate_connection();
    socket_->set_linger(-1ms);
    std::packaged_task<void()> close(
        [context = std::move(context_), socket = std::move(socket_)]() mutable {
          socket.reset();
          context.reset();  // waits until what was accepted has left
        });
    left_ = close.get_future();
    // It may wait for ever, and cannot be interrupted: a process that ends does not wait for it.
    std::thread(std::move(close)).detach();
  }
  while (left_.wait_for(0ms) != std::future_status::ready ||
         !transport::wait_until_read(connection_, 0ms)) {
    if (mono_now_ns() >= finish_until_ns_) return Outcome::not_taken;
    pollfd signal{.fd = signals_.get(), .events = POLLIN, .revents = 0};
    if (poll(&signal, 1, kFinishStep) > 0) return Outcome::stopped;
  }
  // Whether who has gone had read it, nobody knows.
  pollfd gone{.fd = connection_.get(), .events = 0, .revents = 0};
  return poll(&gone, 1, 0) > 0 ? Outcome::not_taken : Outcome::sent;
}

Resender::Outcome Resender::wait(std::chrono::milliseconds timeout, bool for_room) {
  using WaitFor = transport::PushSocket::WaitFor;
  const bool is_here = away_since_ns_ == 0;
  socket_->wait(timeout, signals_.get(),
                for_room && is_here ? WaitFor::events_or_room : WaitFor::events);
  pollfd item{.fd = signals_.get(), .events = POLLIN, .revents = 0};
  if (poll(&item, 1, 0) > 0) return Outcome::stopped;
  if (timeout > 0ms) on_wait_();
  const bool is_connected = socket_->is_connected();
  if (is_here && is_connected && socket_->connects() == connects_) return Outcome::sent;
  if (is_here) {
    away_since_ns_ = mono_now_ns();
    ++interruptions_;
    tell_("the broker at " + endpoint_.text() + " is gone; waiting up to " +
          format_duration(static_cast<uint64_t>(patience_.count())) + " for it to come back");
  } else if (is_connected) {
    if (connects_ != 0) tell_("the broker at " + endpoint_.text() + " is back");
    connects_ = socket_->connects();
    away_since_ns_ = 0;
    return Outcome::sent;
  }
  const bool has_patience =
      mono_now_ns() - away_since_ns_ < static_cast<uint64_t>(patience_.count());
  return has_patience ? Outcome::sent : Outcome::no_broker;
}

bool Resender::take_signal() noexcept {
  signalfd_siginfo info{};
  return read(signals_.get(), &info, sizeof info) == sizeof info;
}

}  // namespace insight::cli
