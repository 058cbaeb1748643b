// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/sender.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace insight::native {

namespace {

using transport::PushSocket;
using transport::SendResult;

constexpr uint64_t kRefresh = 15 * kSecond;  // the envelope's promise
constexpr uint64_t kSearchInterval = kSecond;
constexpr uint64_t kSearchIntervalClosing = 100 * kMillisecond;
constexpr uint64_t kTellOutageAfter = 10 * kSecond;
constexpr uint64_t kRebuildAfter = 120 * kSecond;  // connected, but without room for this long
constexpr uint64_t kMinLinger = 50 * kMillisecond;
constexpr uint64_t kDoneGrace = 250 * kMillisecond;
constexpr size_t kSpansPerEnvelope = 1'000;
constexpr size_t kSpanBytesPerEnvelope = 64 << 10;
constexpr int kSpanEnvelopesPerRound = 16;  // then metrics have their turn again

UniqueFd make_eventfd() {
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) throw std::runtime_error("no eventfd: out of file descriptors");
  return fd;
}

void signal_fd(const UniqueFd& fd) noexcept {
  const uint64_t one = 1;
  // It only fails when it is signalled to the brim already.
  [[maybe_unused]] const ssize_t written = write(fd.get(), &one, sizeof one);
}

void clear_fd(const UniqueFd& fd) noexcept {
  uint64_t count;
  [[maybe_unused]] const ssize_t got = read(fd.get(), &count, sizeof count);
}

void tell(const std::string& sentence) noexcept {
  // One call, so that lines of several processes do not mix; a closed stderr is nobody's loss.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, sentence.data(), sentence.size());
}

int to_ms(uint64_t ns) noexcept {
  return static_cast<int>(std::min<uint64_t>((ns + kMillisecond - 1) / kMillisecond, 60'000));
}

}  // namespace

Sender::Sender(Core& core, Identity identity)
    : core_(core),
      identity_(std::move(identity)),
      boot_(std::bit_cast<std::array<unsigned char, 16>>(boot_id())),
      wake_(make_eventfd()),
      done_(make_eventfd()) {}

Sender::~Sender() = default;

void Sender::start() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Sender::wake() noexcept { signal_fd(wake_); }

void Sender::request_close(uint64_t deadline_mono_ns) noexcept {
  uint64_t old = close_at_ns_.load(std::memory_order_relaxed);
  while ((old == 0 || deadline_mono_ns < old) &&
         !close_at_ns_.compare_exchange_weak(old, deadline_mono_ns, std::memory_order_release)) {
  }
  wake();
}

bool Sender::wait_done(uint64_t deadline_mono_ns) const noexcept {
  for (;;) {
    const uint64_t now = mono_now_ns();
    const uint64_t until = deadline_mono_ns + kDoneGrace;
    pollfd item{.fd = done_.get(), .events = POLLIN, .revents = 0};
    if (poll(&item, 1, now < until ? to_ms(until - now) : 0) > 0) return true;
    if (mono_now_ns() >= until) return false;
  }
}

void Sender::run() noexcept {
  pthread_setname_np(pthread_self(), "insight-flush");
  for (;;) {
    try {
      while (step()) {
      }
      break;
    } catch (const std::exception&) {
      // No memory or no descriptors: what is recorded stays, and the next round tries again.
      core_.accounts.drops.add(Drop::memory);
      pollfd item{.fd = wake_.get(), .events = POLLIN, .revents = 0};
      poll(&item, 1, 100);
      clear_fd(wake_);
      const uint64_t close_at = close_at_ns_.load(std::memory_order_acquire);
      if (close_at != 0 && mono_now_ns() >= close_at) break;
    }
  }
  finish();
  signal_fd(done_);
}

// Everything is in libzmq's hands; gives it, and the broker, the time that is left to take it.
void Sender::finish() noexcept {
  const uint64_t close_at = close_at_ns_.load(std::memory_order_acquire);
  const auto left = [&] {
    const uint64_t now = mono_now_ns();
    return std::chrono::milliseconds(
        to_ms(std::max(close_at > now ? close_at - now : 0, kMinLinger)));
  };
  UniqueFd connection;
  if (socket_ != nullptr && has_connected_) {
    connection = socket_->duplicate_connection();
    socket_->set_linger(left());
  }
  socket_.reset();
  context_.reset();  // waits until what was accepted has left
  transport::wait_until_read(connection, left());
}

bool Sender::step() {
  const Now now = read_clocks();
  const uint64_t close_at = close_at_ns_.load(std::memory_order_acquire);
  clear_fd(wake_);
  watch_connection(now);
  last_ = Progress::done;
  if (was_connected_) {
    if (close_at != 0 && !is_closing_) {
      is_closing_ = true;
      cursor_ = {};  // a pass that began before may have left out what changed since
      next_flush_ns_ = 0;
    }
    last_ = flush(now);
    if (close_at != 0 && last_ == Progress::done) return false;
  }
  if (close_at != 0 && (now.mono_ns >= close_at || may_give_up())) return false;

  const std::chrono::milliseconds timeout(wait_ms(now, close_at));
  if (socket_ == nullptr) {
    pollfd item{.fd = wake_.get(), .events = POLLIN, .revents = 0};
    poll(&item, 1, static_cast<int>(timeout.count()));
  } else {
    socket_->wait(timeout, wake_.get(),
                  last_ == Progress::blocked ? PushSocket::WaitFor::events_or_room
                                             : PushSocket::WaitFor::events);
  }
  return true;
}

int Sender::wait_ms(const Now& now, uint64_t close_at) const noexcept {
  if (last_ == Progress::more) return 0;
  uint64_t next = was_connected_ ? next_flush_ns_ : next_search_ns_;
  if (last_ == Progress::blocked) next = now.mono_ns + core_.settings.flush_interval_ns;
  if (close_at != 0) next = std::min(next, close_at);
  return next > now.mono_ns ? to_ms(next - now.mono_ns) : 0;
}

// A program that ends where there has never been a broker shall not wait for one.
bool Sender::may_give_up() const noexcept {
  return !has_connected_ && (socket_ == nullptr || socket_->failures() >= 2);
}

void Sender::watch_connection(const Now& now) {
  const bool is_stuck = blocked_since_ns_ != 0 && now.mono_ns - blocked_since_ns_ >= kRebuildAfter;
  if (is_stuck) open_socket(now);
  const bool is_connected = socket_ != nullptr && socket_->is_connected() && !socket_->is_broken();
  if (is_connected) {
    if (socket_->connects() != connects_seen_) {
      // Another broker, or the same one after a restart: it may know nothing of us.
      connects_seen_ = socket_->connects();
      all_before_ns_ = now.mono_ns;
      next_flush_ns_ = 0;
      has_connected_ = true;
      outage_since_ns_ = 0;
      is_outage_told_ = false;
    }
  } else {
    blocked_since_ns_ = 0;
    if (outage_since_ns_ == 0) outage_since_ns_ = now.mono_ns;
    if (now.mono_ns >= next_search_ns_) open_socket(now);
    if (!is_outage_told_ && now.mono_ns - outage_since_ns_ >= kTellOutageAfter) {
      is_outage_told_ = true;
      tell("insight: nobody listens at " + (endpoint_ ? endpoint_->text() : "any endpoint") +
           "; the newest values are kept until a broker comes, spans as far as their buffers go\n");
    }
  }
  if (is_connected != was_connected_) {
    was_connected_ = is_connected;
    publish_connection();
  }
}

// Searches again, and makes a socket where there is none, it is of no use, or the broker is
// elsewhere.
void Sender::open_socket(const Now& now) {
  const bool is_closing = close_at_ns_.load(std::memory_order_relaxed) != 0;
  next_search_ns_ = now.mono_ns + (is_closing ? kSearchIntervalClosing : kSearchInterval);
  Result<Endpoint> found = find_endpoint(core_.settings);
  if (!found) {
    if (!is_outage_told_) tell("insight: " + found.error().message + "; nothing is sent\n");
    is_outage_told_ = true;
    return;
  }
  const bool is_usable = socket_ != nullptr && !socket_->is_broken() && blocked_since_ns_ == 0;
  if (is_usable && endpoint_ == *found) return;
  if (context_ == nullptr) context_ = std::make_unique<transport::Context>();
  socket_.reset();
  socket_ = std::make_unique<PushSocket>(*context_, *found);
  endpoint_ = *found;
  connects_seen_ = 0;
  blocked_since_ns_ = 0;
  publish_connection();
}

void Sender::publish_connection() {
  MutexLock lock(core_.process.mutex);
  core_.set_connection(was_connected_, endpoint_ ? endpoint_->text() : std::string());
}

bool Sender::has_news() const {
  MutexLock lock(core_.process.mutex);
  return core_.table.has_live() || core_.accounts.spans.load(std::memory_order_relaxed) != 0;
}

Sender::Progress Sender::flush(const Now& now) {
  if (!said_hello_) {
    if (identity_.is_child && !has_news()) {
      next_flush_ns_ = now.mono_ns + core_.settings.flush_interval_ns;
      return Progress::done;
    }
    if (!send_life(wire::LifeEvent::hello, now)) return Progress::blocked;
    said_hello_ = true;
  }
  if (now.mono_ns >= next_flush_ns_) {
    if (!send_metrics(now) || !send_states(now)) return Progress::blocked;
    next_flush_ns_ = now.mono_ns + core_.settings.flush_interval_ns;
  }
  if (const Progress progress = send_spans(now); progress != Progress::done) return progress;
  if (is_closing_) {
    if (!send_life(wire::LifeEvent::bye, now)) return Progress::blocked;
    core_.accounts.has_said_bye.store(true, std::memory_order_relaxed);
    return Progress::done;
  }
  if (now.mono_ns >= last_sent_ns_ + core_.settings.beat_interval_ns / 10 * 9) {
    if (!send_life(wire::LifeEvent::beat, now)) return Progress::blocked;
  }
  return Progress::done;
}

// Less than the promise by what a round may come late.
uint64_t Sender::refresh_ns() const noexcept {
  return kRefresh - std::min(core_.settings.flush_interval_ns + kSecond / 2, kRefresh);
}

bool Sender::send_metrics(const Now& now) {
  const MetricTable::Due due{
      .now_mono_ns = now.mono_ns, .refresh_ns = refresh_ns(), .all_before_mono_ns = all_before_ns_};
  do {
    if (!has_room(now)) return false;
    begin(wire::LifeEvent::none, 0, 0);
    sent_.clear();
    const MetricTable::Cursor before = cursor_;
    {
      MutexLock lock(core_.process.mutex);
      core_.table.gather(due, cursor_, writer_, sent_);
    }
    if (sent_.empty()) continue;
    if (!transmit()) {
      cursor_ = before;
      return false;
    }
    MetricTable::sent(sent_, last_sent_ns_);
  } while (!cursor_.is_at_start());
  return true;
}

bool Sender::send_states(const Now& now) {
  const StateTable::When when{.now_mono_ns = now.mono_ns,
                              .refresh_ns = refresh_ns(),
                              .all_before_mono_ns = all_before_ns_,
                              .close_wall_ns = is_closing_ ? now.wall_ns : 0};
  uint64_t after = 0;
  do {
    states_.clear();
    {
      MutexLock lock(core_.process.mutex);
      after = core_.states.gather(when, after, states_);
    }
    if (states_.empty()) continue;
    uint64_t oldest = 0;
    uint64_t made = 0;
    for (const StateTable::Due& one : states_) {
      if (one.time_ns != 0) oldest = oldest == 0 ? one.time_ns : std::min(oldest, one.time_ns);
      made += one.is_new ? 1 : 0;
    }
    if (!has_room(now)) return false;
    begin(wire::LifeEvent::none, states_.size(), oldest, made);
    for (const StateTable::Due& one : states_) writer_.span(one.encoded);
    if (!transmit()) return false;
    core_.accounts.spans.fetch_add(made, std::memory_order_relaxed);
    core_.accounts.spans_sent.fetch_add(states_.size(), std::memory_order_relaxed);
    MutexLock lock(core_.process.mutex);
    core_.states.sent(states_, last_sent_ns_);
  } while (after != 0);
  return true;
}

Sender::Progress Sender::send_spans(const Now& now) {
  std::vector<std::shared_ptr<SpanRing>> rings;
  {
    MutexLock lock(core_.process.mutex);
    rings = core_.rings();
  }
  for (const auto& ring : rings) ring->ring.rewind();  // of a round that failed half way
  for (int round = 0; round < kSpanEnvelopesPerRound; ++round) {
    spans_.clear();
    size_t bytes = 0;
    uint64_t oldest = 0;
    // Each envelope begins with another ring, so that one busy thread does not keep out the others.
    for (size_t i = 0; i < rings.size(); ++i) {
      SpscRing& ring = rings[(first_ring_ + i) % rings.size()]->ring;
      while (spans_.size() < kSpansPerEnvelope && bytes < kSpanBytesPerEnvelope) {
        const auto record = ring.next();
        if (!record) break;
        uint64_t end_ns;
        std::memcpy(&end_ns, record->data(), sizeof end_ns);
        oldest = oldest == 0 ? end_ns : std::min(oldest, end_ns);
        spans_.push_back(record->substr(sizeof end_ns));
        bytes += record->size();
      }
    }
    if (spans_.empty()) return Progress::done;
    ++first_ring_;
    bool is_sent = false;
    if (has_room(now)) {
      begin(wire::LifeEvent::none, spans_.size(), oldest);
      for (std::string_view span : spans_) writer_.span(span);
      is_sent = transmit();
    }
    for (const auto& ring : rings) {
      if (is_sent) {
        ring->ring.release();
        ring->wake_asked.store(false, std::memory_order_relaxed);
      } else {
        ring->ring.rewind();
      }
    }
    if (!is_sent) return Progress::blocked;
    core_.accounts.spans_sent.fetch_add(spans_.size(), std::memory_order_relaxed);
  }
  return Progress::more;
}

bool Sender::send_life(wire::LifeEvent life, const Now& now) {
  if (!has_room(now)) return false;
  begin(life, 0, 0);
  return transmit();
}

bool Sender::has_room(const Now& now) {
  if (socket_->has_room()) {
    blocked_since_ns_ = 0;
    return true;
  }
  core_.accounts.again.fetch_add(1, std::memory_order_relaxed);
  if (blocked_since_ns_ == 0) blocked_since_ns_ = now.mono_ns;
  return false;
}

void Sender::begin(wire::LifeEvent life, uint64_t spans, uint64_t oldest_ns, uint64_t made) {
  const Accounts& accounts = core_.accounts;
  acc_.clear();
  acc_.emplace_back("spans_sent", accounts.spans_sent.load(std::memory_order_relaxed) + spans);
  for (size_t i = 0; i < kDropCount; ++i) {
    const uint64_t n = accounts.drops.get(static_cast<Drop>(i));
    if (n != 0) acc_.emplace_back(kDropNames[i], n);
  }
  acc_.emplace_back("spans", accounts.spans.load(std::memory_order_relaxed) + made);
  acc_.emplace_back("bytes_sent", accounts.bytes_sent.load(std::memory_order_relaxed));
  acc_.emplace_back("again", accounts.again.load(std::memory_order_relaxed));

  wire::EnvelopeHead head;
  head.inc = identity_.inc;
  head.seq = seq_ + 1;
  head.t0_ns = identity_.t0_ns;
  head.resource = identity_.resource;
  if (boot_ != decltype(boot_){}) head.boot = boot_;
  head.oldest_ns = oldest_ns;
  head.every_ms = core_.settings.beat_interval_ns / kMillisecond;
  head.life = life;
  head.accounts = acc_;
  writer_.start(head);
}

bool Sender::transmit() {
  const Now now = read_clocks();
  const std::string_view message = writer_.finish(now);
  switch (socket_->send(message)) {
    case SendResult::accepted:
      ++seq_;  // only an accepted envelope uses up a number: a gap is a loss in transport
      last_sent_ns_ = now.mono_ns;
      core_.accounts.envelopes_sent.fetch_add(1, std::memory_order_relaxed);
      core_.accounts.bytes_sent.fetch_add(message.size(), std::memory_order_relaxed);
      return true;
    case SendResult::again:
      core_.accounts.again.fetch_add(1, std::memory_order_relaxed);
      return false;
    case SendResult::failed:
      break;
  }
  socket_.reset();  // the next round makes another one
  throw std::runtime_error("the socket is of no use");
}

}  // namespace insight::native
