// SPDX-License-Identifier: Apache-2.0
#include "bus/recording/recording_reader.hpp"

#include "bus/recording/frame.hpp"
#include "bus/wire/decoder.hpp"

namespace insight {

Result<RecordingReader> RecordingReader::open(const std::string& path) {
  Result<ByteSource> source = ByteSource::open(path);
  if (!source) return source.error();
  return open(std::move(*source), path);
}

Result<RecordingReader> RecordingReader::open(ByteSource source, const std::string& path) {
  RecordingReader reader(std::move(source));
  const std::optional<RecordedEnvelope> first = reader.next();
  if (!first) {
    // A file that is cut off inside of its first frame cannot be told from a foreign one; but
    // whatever is text or too short for that has a length that no envelope has.
    const FrameView frame = read_frame(reader.buffer_);
    if (frame.state == FrameView::State::wrong) {
      return Error{path + ": is no recording of envelopes (the file sink writes them with format " +
                   "= \"envelope\")"};
    }
    return reader;
  }
  wire::Decoder decoder;
  const auto envelope = decoder.decode(first->message, first->received_ns);
  if (!envelope && envelope.error().reason == Reason::version) {
    return Error{path + ": holds envelopes of another version than 1, so a newer program wrote it"};
  }
  if (!envelope && envelope.error().reason == Reason::foreign) {
    return Error{path + ": holds frames, but no envelopes in them"};
  }
  // The first frame is still in the buffer and is given again.
  reader.at_ = 0;
  reader.offset_ = reader.frames_ = 0;
  return reader;
}

std::optional<RecordedEnvelope> RecordingReader::next() {
  while (!has_ended_) {
    const FrameView frame = read_frame(std::string_view(buffer_).substr(at_));
    if (frame.state == FrameView::State::whole) {
      at_ += frame.bytes;
      offset_ += frame.bytes;
      ++frames_;
      return RecordedEnvelope{frame.received_ns, frame.message};
    }
    if (frame.state == FrameView::State::wrong) {
      find_damage(true);
      break;
    }
    buffer_.erase(0, at_);
    at_ = 0;
    if (source_.read(buffer_) == 0) find_damage(false);
  }
  return std::nullopt;
}

void RecordingReader::find_damage(bool is_wrong) {
  has_ended_ = true;
  uint64_t left = buffer_.size() - at_;
  if (!is_wrong && left == 0 && source_.failure().empty()) return;
  state_ = is_wrong ? State::damaged : State::cut_off;
  if (!is_wrong && source_.is_unreadable()) state_ = State::unreadable;
  std::string rest;
  // Of a file that does not even begin as a recording nobody asks how long it is.
  for (size_t got = 0; frames_ > 0 && (got = source_.read(rest)) > 0; rest.clear()) left += got;
  damage_ = (is_wrong ? "damaged at byte " : "cut off at byte ") + std::to_string(offset_) + ": " +
            std::to_string(left) + (left == 1 ? " byte is" : " bytes are") + " left over";
  if (!source_.failure().empty()) damage_ += " (" + source_.failure() + ")";
}

}  // namespace insight
