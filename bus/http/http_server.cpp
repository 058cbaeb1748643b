// SPDX-License-Identifier: Apache-2.0
#include "bus/http/http_server.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <map>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <microhttpd.h>
#include <strings.h>

#include "bus/base/clock.hpp"
#include "bus/base/mutex.hpp"
#include "bus/http/gzip.hpp"
#include "bus/http/http_stream.hpp"
#include "bus/http/listen_socket.hpp"
#include "bus/http/negotiate.hpp"

namespace insight {

namespace {

constexpr size_t kBlockBytes = 64 << 10;

/// What fits into one packet gains nothing by being smaller.
constexpr size_t kLeastGzipBytes = 1'400;

/// One request from its first line to its answer.
struct Exchange {
  std::string uri;  // as sent
  size_t body_bytes = 0;
  bool is_started = false;
};

/// An answer on its way; libmicrohttpd owns it until the last byte is sent or the client is gone.
struct Outgoing {
  Outgoing(std::string text, bool as_gzip, uint64_t deadline, std::atomic<size_t>& total)
      : body(std::move(text)), deadline_mono_ns(deadline), bytes_on_their_way(total) {
    if (as_gzip) gzip.emplace(body);
    bytes = body.size() + (as_gzip ? GzipReader::kBytes : 0);
    bytes_on_their_way += bytes;
  }

  ~Outgoing() { bytes_on_their_way -= bytes; }

  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;

  std::string body;
  std::optional<GzipReader> gzip;
  uint64_t deadline_mono_ns;
  std::atomic<size_t>& bytes_on_their_way;
  size_t bytes = 0;
};

ssize_t read_body(void* context, uint64_t position, char* out, size_t size) {
  auto& outgoing = *static_cast<Outgoing*>(context);
  // A client that takes one byte now and then is never silent, so silence alone does not end it.
  if (mono_now_ns() > outgoing.deadline_mono_ns) return MHD_CONTENT_READER_END_WITH_ERROR;
  if (outgoing.gzip) {
    const size_t n = outgoing.gzip->read({out, size});
    return n > 0 ? static_cast<ssize_t>(n) : MHD_CONTENT_READER_END_OF_STREAM;
  }
  if (position >= outgoing.body.size()) return MHD_CONTENT_READER_END_OF_STREAM;
  const size_t n = std::min(size, outgoing.body.size() - static_cast<size_t>(position));
  std::memcpy(out, outgoing.body.data() + position, n);
  return static_cast<ssize_t>(n);
}

void free_body(void* context) { delete static_cast<Outgoing*>(context); }

struct Streaming {
  std::shared_ptr<HttpStream> stream;
};

ssize_t read_stream(void* context, uint64_t, char* out, size_t size) {
  const ssize_t n = static_cast<const Streaming*>(context)->stream->take(out, size);
  if (n == HttpStream::kEnd) return MHD_CONTENT_READER_END_OF_STREAM;
  return n == HttpStream::kCut ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

void free_stream(void* context) {
  const std::unique_ptr<Streaming> streaming(static_cast<Streaming*>(context));
  streaming->stream->detach();
}

void add_headers(MHD_Response* raw, const std::string& content_type, std::string vary) {
  MHD_add_response_header(raw, "Content-Type", content_type.c_str());
  // What is served changes with every second.
  MHD_add_response_header(raw, "Cache-Control", "no-store");
  MHD_add_response_header(raw, "X-Content-Type-Options", "nosniff");
  vary += vary.empty() ? "Accept-Encoding" : ", Accept-Encoding";
  MHD_add_response_header(raw, "Vary", vary.c_str());
}

void* on_uri(void*, const char* uri, MHD_Connection*) {
  try {
    return new Exchange{uri};
  } catch (...) {
    return nullptr;
  }
}

void on_completed(void*, MHD_Connection*, void** context, MHD_RequestTerminationCode) {
  delete static_cast<Exchange*>(*context);
  *context = nullptr;
}

/// All values of a header: it may stand in several lines.
std::string header(MHD_Connection* connection, const char* name) {
  std::pair<const char*, std::string> found{name, {}};
  const auto add = [](void* context, MHD_ValueKind, const char* key, const char* value) {
    auto& [wanted, out] = *static_cast<decltype(found)*>(context);
    if (value != nullptr && strcasecmp(key, wanted) == 0) {
      try {
        if (!out.empty()) out += ',';
        out += value;
      } catch (...) {
        return MHD_NO;
      }
    }
    return MHD_YES;
  };
  MHD_get_connection_values(connection, MHD_HEADER_KIND, add, &found);
  return std::move(found.second);
}

bool is_loopback_client(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  if (info == nullptr || info->client_addr == nullptr) return false;
  if (info->client_addr->sa_family == AF_INET) {
    sockaddr_in address{};
    std::memcpy(&address, info->client_addr, sizeof address);
    return (ntohl(address.sin_addr.s_addr) >> 24) == 127;
  }
  if (info->client_addr->sa_family == AF_INET6) {
    sockaddr_in6 address{};
    std::memcpy(&address, info->client_addr, sizeof address);
    const bool is_mapped_v4 = IN6_IS_ADDR_V4MAPPED(&address.sin6_addr);
    return IN6_IS_ADDR_LOOPBACK(&address.sin6_addr) ||
           (is_mapped_v4 && address.sin6_addr.s6_addr[12] == 127);
  }
  return false;
}

struct Routes {
  std::map<std::string, std::map<std::string, HttpHandler>> by_path;

  HttpResponse answer(const HttpRequest& request, std::string& allow) const {
    const auto path = by_path.find(request.path);
    if (path == by_path.end()) {
      return {404, "text/plain; charset=utf-8", "there is nothing at " + request.path + "\n"};
    }
    const auto handler = path->second.find(request.method == "HEAD" ? "GET" : request.method);
    if (handler == path->second.end()) {
      for (const auto& [method, unused] : path->second) {
        allow += (allow.empty() ? "" : ", ") + method + (method == "GET" ? ", HEAD" : "");
      }
      return {405, "text/plain; charset=utf-8", request.path + " takes " + allow + "\n"};
    }
    try {
      return handler->second(request);
    } catch (const std::exception& e) {
      return {500, "text/plain; charset=utf-8", std::string("internal error: ") + e.what() + "\n"};
    }
  }
};

}  // namespace

struct HttpServer::Impl {
  HttpLimits limits;
  Routes routes;
  MHD_Daemon* daemon = nullptr;
  uint16_t port = 0;
  std::atomic<size_t> bytes_on_their_way{0};

  Mutex streams_mutex;
  std::vector<std::weak_ptr<HttpStream>> streams INSIGHT_GUARDED_BY(streams_mutex);
  bool is_stopping INSIGHT_GUARDED_BY(streams_mutex) = false;

  /// False when the server stops.
  bool keep(const std::shared_ptr<HttpStream>& stream) {
    const MutexLock lock(streams_mutex);
    std::erase_if(streams, [](const auto& each) { return each.expired(); });
    if (!is_stopping) streams.push_back(stream);
    return !is_stopping;
  }

  /// libmicrohttpd ends only when no connection is suspended.
  void cut_streams() {
    const MutexLock lock(streams_mutex);
    is_stopping = true;
    for (const auto& each : streams) {
      if (const auto stream = each.lock()) stream->cut();
    }
  }

  MHD_Result send_stream(MHD_Connection* connection, const HttpResponse& response) {
    if (!keep(response.stream)) {
      response.stream->detach();
      return MHD_NO;
    }
    auto streaming = std::make_unique<Streaming>(Streaming{response.stream});
    response.stream->attach([connection] { MHD_suspend_connection(connection); },
                            [connection] { MHD_resume_connection(connection); });
    MHD_Response* raw = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, kBlockBytes, read_stream, streaming.get(), free_stream);
    if (raw == nullptr) {
      response.stream->detach();
      return MHD_NO;
    }
    (void)streaming.release();
    const std::unique_ptr<MHD_Response, void (*)(MHD_Response*)> owned(raw, MHD_destroy_response);
    add_headers(raw, response.content_type, response.vary);
    return MHD_queue_response(connection, static_cast<unsigned>(response.status), raw);
  }

  MHD_Result send(MHD_Connection* connection, HttpResponse response, const std::string& allow,
                  bool can_gzip) {
    if (bytes_on_their_way.load() + response.body.size() > limits.response_bytes) {
      response = {503, "text/plain; charset=utf-8",
                  "too many answers wait for slow clients; try again later\n"};
    }
    const bool as_gzip = can_gzip && response.body.size() >= kLeastGzipBytes;
    const uint64_t deadline =
        mono_now_ns() + static_cast<uint64_t>(limits.response.count()) * kSecond;
    auto outgoing =
        std::make_unique<Outgoing>(std::move(response.body), as_gzip, deadline, bytes_on_their_way);
    const uint64_t size = as_gzip ? MHD_SIZE_UNKNOWN : outgoing->body.size();
    MHD_Response* raw = MHD_create_response_from_callback(
        size, std::clamp<size_t>(outgoing->body.size(), 1, kBlockBytes), read_body, outgoing.get(),
        free_body);
    if (raw == nullptr) return MHD_NO;
    outgoing.release();
    const std::unique_ptr<MHD_Response, void (*)(MHD_Response*)> owned(raw, MHD_destroy_response);
    add_headers(raw, response.content_type, response.vary);
    if (as_gzip) MHD_add_response_header(raw, "Content-Encoding", "gzip");
    if (!allow.empty()) MHD_add_response_header(raw, "Allow", allow.c_str());
    return MHD_queue_response(connection, static_cast<unsigned>(response.status), raw);
  }

  MHD_Result respond(MHD_Connection* connection, const char* method, Exchange& exchange) {
    HttpRequest request;
    request.method = method;
    const size_t question = exchange.uri.find('?');
    request.path = exchange.uri.substr(0, question);
    if (question != std::string::npos) request.query = exchange.uri.substr(question + 1);
    request.accept = header(connection, "Accept");
    request.accept_encoding = header(connection, "Accept-Encoding");
    request.is_loopback = is_loopback_client(connection);
    std::string allow;
    HttpResponse response = routes.answer(request, allow);
    if (response.stream) return send_stream(connection, response);
    return send(connection, std::move(response), allow, wants_gzip(request.accept_encoding));
  }

  static MHD_Result on_request(void* self, MHD_Connection* connection, const char*,
                               const char* method, const char*, const char*, size_t* body_size,
                               void** context) {
    auto* exchange = static_cast<Exchange*>(*context);
    if (exchange == nullptr) return MHD_NO;  // no memory for it: the connection is closed
    auto& impl = *static_cast<Impl*>(self);
    try {
      if (!exchange->is_started) {
        exchange->is_started = true;
        return MHD_YES;
      }
      if (*body_size != 0) {
        // No route reads a body; it is taken so that the client gets its answer.
        exchange->body_bytes += *body_size;
        if (exchange->body_bytes > impl.limits.request_body_bytes) return MHD_NO;
        *body_size = 0;
        return MHD_YES;
      }
      return impl.respond(connection, method, *exchange);
    } catch (...) {
      return MHD_NO;
    }
  }
};

HttpServer::HttpServer(HttpLimits limits) : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::route(std::string method, std::string path, HttpHandler handler) {
  impl_->routes.by_path[std::move(path)][std::move(method)] = std::move(handler);
}

void HttpServer::start(const Endpoint& address) {
  ListenSocket socket = listen_on(address);
  const auto silence = static_cast<unsigned>(impl_->limits.silence.count());
  // The socket is listening already, so libmicrohttpd needs no port.
  impl_->daemon = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr,
      &Impl::on_request, impl_.get(), MHD_OPTION_LISTEN_SOCKET,
      static_cast<MHD_socket>(socket.fd.get()), MHD_OPTION_CONNECTION_LIMIT,
      impl_->limits.connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, impl_->limits.connection_bytes,
      MHD_OPTION_CONNECTION_TIMEOUT, silence, MHD_OPTION_URI_LOG_CALLBACK, &on_uri, nullptr,
      MHD_OPTION_NOTIFY_COMPLETED, &on_completed, nullptr, MHD_OPTION_END);
  if (impl_->daemon == nullptr) {
    throw std::runtime_error("cannot start the HTTP server on " + address.text().substr(6) +
                             ": no thread or descriptor left; raise the limits of the process");
  }
  (void)socket.fd.release();  // closed by MHD_stop_daemon
  impl_->port = socket.port;
}

uint16_t HttpServer::port() const noexcept { return impl_->port; }

void HttpServer::stop() noexcept {
  if (impl_->daemon == nullptr) return;
  impl_->cut_streams();
  MHD_stop_daemon(impl_->daemon);
  impl_->daemon = nullptr;
}

}  // namespace insight
