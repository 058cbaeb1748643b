// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/transport/context.hpp"
#include "bus/transport/push_socket.hpp"
#include "bus/wire/encoder.hpp"
#include "publishers/native/core.hpp"

namespace insight::native {

/// The flush thread of one incarnation and all that only it touches: the socket, what was sent, the
/// consumer end of the span rings.
///
/// Everything is encoded from current state at the moment the socket is connected and has room, so
/// nothing old is ever queued here, and nothing here blocks the application.
class Sender {
 public:
  /// Throws std::runtime_error when the system has no descriptors left.
  Sender(Core& core, Identity identity);
  ~Sender();

  /// Starts the thread `insight-flush` with all signals blocked.  Throws std::system_error.
  void start();

  // Thread-safe:

  /// Makes the thread look at the rings now.
  void wake() noexcept;
  /// Send what is there, say bye, end; at the latest at `deadline_mono_ns`.  An earlier deadline
  /// wins.
  void request_close(uint64_t deadline_mono_ns) noexcept;
  /// False: the thread still runs a moment after `deadline_mono_ns`.
  bool wait_done(uint64_t deadline_mono_ns) const noexcept;

  void join() { thread_.join(); }

  void detach() { thread_.detach(); }

  std::shared_ptr<Sender> previous;  ///< see Process::abandon()

 private:
  enum class Progress : uint8_t { done, more, blocked };

  void run() noexcept;
  /// One round; false when the thread shall end.
  bool step();
  void finish() noexcept;

  void watch_connection(const Now& now);
  void open_socket(const Now& now);
  void publish_connection();
  bool may_give_up() const noexcept;
  int wait_ms(const Now& now, uint64_t close_at) const noexcept;

  Progress flush(const Now& now);
  uint64_t refresh_ns() const noexcept;
  bool send_metrics(const Now& now);
  bool send_states(const Now& now);
  Progress send_spans(const Now& now);
  bool send_life(wire::LifeEvent life, const Now& now);
  bool has_news() const;

  /// `made`: how many of the spans nobody has counted as recorded yet.
  void begin(wire::LifeEvent life, uint64_t spans, uint64_t oldest_ns, uint64_t made = 0);
  bool has_room(const Now& now);
  bool transmit();

  // Constant after construction.
  Core& core_;
  const Identity identity_;
  const std::array<unsigned char, 16> boot_;
  UniqueFd wake_;
  UniqueFd done_;

  std::thread thread_;
  std::atomic<uint64_t> close_at_ns_{0};  ///< 0: go on

  // Flush thread only.
  std::unique_ptr<transport::Context> context_;
  std::unique_ptr<transport::PushSocket> socket_;
  std::optional<Endpoint> endpoint_;
  uint64_t connects_seen_ = 0;
  bool was_connected_ = false;    ///< as told to the core
  bool has_connected_ = false;    ///< once in this incarnation
  uint64_t outage_since_ns_ = 0;  ///< 0: connected
  bool is_outage_told_ = false;
  uint64_t next_search_ns_ = 0;
  uint64_t next_flush_ns_ = 0;
  uint64_t blocked_since_ns_ = 0;  ///< 0: there is room
  uint64_t all_before_ns_ = 0;     ///< series sent before this are sent again
  uint64_t last_sent_ns_ = 0;
  uint64_t seq_ = 0;
  bool said_hello_ = false;
  bool is_closing_ = false;  ///< the last pass has begun
  Progress last_ = Progress::done;
  MetricTable::Cursor cursor_;
  size_t first_ring_ = 0;
  wire::EnvelopeWriter writer_;
  std::vector<MetricTable::Sent> sent_;
  std::vector<StateTable::Due> states_;
  std::vector<std::string_view> spans_;
  std::vector<std::pair<std::string_view, uint64_t>> acc_;
};

}  // namespace insight::native
