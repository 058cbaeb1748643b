// SPDX-License-Identifier: Apache-2.0
#include "bus/http/http_stream.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace insight {

void HttpStream::write(std::string_view text) {
  const MutexLock lock(mutex_);
  if (is_complete_ || is_cut_) return;
  if (taken_ == text_.size()) {
    text_.clear();
    taken_ = 0;
  } else if (taken_ > text_.size() / 2) {
    text_.erase(0, taken_);
    taken_ = 0;
  }
  text_ += text;
  wake();
}

size_t HttpStream::waiting() const {
  const MutexLock lock(mutex_);
  return text_.size() - taken_;
}

void HttpStream::end() {
  const MutexLock lock(mutex_);
  is_complete_ = true;
  wake();
}

void HttpStream::cut() {
  const MutexLock lock(mutex_);
  is_cut_ = true;
  wake();
}

bool HttpStream::is_open() const {
  const MutexLock lock(mutex_);
  return !is_cut_;
}

void HttpStream::attach(std::function<void()> suspend, std::function<void()> resume) {
  const MutexLock lock(mutex_);
  suspend_ = std::move(suspend);
  resume_ = std::move(resume);
}

void HttpStream::detach() noexcept {
  const MutexLock lock(mutex_);
  is_cut_ = true;
  is_suspended_ = false;
  text_ = {};
  taken_ = 0;
  suspend_ = nullptr;
  resume_ = nullptr;
}

ssize_t HttpStream::take(char* out, size_t size) {
  const MutexLock lock(mutex_);
  if (is_cut_) return kCut;
  const size_t n = std::min(size, text_.size() - taken_);
  if (n > 0) {
    std::memcpy(out, text_.data() + taken_, n);
    taken_ += n;
    return static_cast<ssize_t>(n);
  }
  if (is_complete_) return kEnd;
  is_suspended_ = true;
  suspend_();
  return 0;
}

void HttpStream::wake() {
  if (std::exchange(is_suspended_, false)) resume_();
}

}  // namespace insight
