#include "trainer/data/tokenizer/text_split.h"

#include <fmt/format.h>

#include <algorithm>

#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

struct Segment {
  ByteRange range;
  bool is_match = false;
};

/// Returns the matches and the segments between them, which together cover the text.
std::vector<Segment> Cover(size_t bytes, const std::vector<ByteRange>& matches, bool invert) {
  std::vector<Segment> segments;
  size_t end = 0;
  for (const ByteRange& match : matches) {
    if (match.begin > end) segments.push_back({{end, match.begin}, invert});
    segments.push_back({match, !invert});
    end = match.end;
  }
  if (end < bytes) segments.push_back({{end, bytes}, invert});
  return segments;
}

/// Joins a segment to the previous one if `joins(previous is a match, this is a match)` returns true.
template <typename Joins>
std::vector<ByteRange> JoinToPrevious(const std::vector<Segment>& segments, const Joins& joins) {
  std::vector<ByteRange> pieces;
  bool previous_is_match = false;
  for (const Segment& segment : segments) {
    if (!pieces.empty() && joins(previous_is_match, segment.is_match)) {
      pieces.back().end = segment.range.end;
    } else {
      pieces.push_back(segment.range);
    }
    previous_is_match = segment.is_match;
  }
  return pieces;
}

std::vector<ByteRange> JoinMatchesToNext(const std::vector<Segment>& segments) {
  std::vector<ByteRange> pieces;
  bool next_is_match = false;
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    if (!pieces.empty() && segment->is_match && !next_is_match) {
      pieces.back().begin = segment->range.begin;
    } else {
      pieces.push_back(segment->range);
    }
    next_is_match = segment->is_match;
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<ByteRange> WithoutMatches(const std::vector<Segment>& segments) {
  std::vector<ByteRange> pieces;
  for (const Segment& segment : segments) {
    if (!segment.is_match) pieces.push_back(segment.range);
  }
  return pieces;
}

std::vector<ByteRange> PiecesOf(const std::vector<Segment>& segments, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kRemoved:
      return WithoutMatches(segments);
    case SplitBehavior::kIsolated:
      return JoinToPrevious(segments, [](bool, bool) { return false; });
    case SplitBehavior::kMergedWithPrevious:
      return JoinToPrevious(segments, [](bool previous, bool now) { return now && !previous; });
    case SplitBehavior::kMergedWithNext:
      return JoinMatchesToNext(segments);
    case SplitBehavior::kContiguous:
      return JoinToPrevious(segments, [](bool previous, bool now) { return now == previous; });
  }
  return {};
}

}  // namespace

absl::StatusOr<SplitBehavior> ParseSplitBehavior(std::string_view name) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return absl::InvalidArgumentError(fmt::format("\"{}\" is not a known split behavior", name));
}

std::vector<ByteRange> SplitAtMatches(size_t bytes, const std::vector<ByteRange>& matches, SplitBehavior behavior,
                                      bool invert) {
  std::vector<ByteRange> pieces = PiecesOf(Cover(bytes, matches, invert), behavior);
  std::erase_if(pieces, [](const ByteRange& piece) { return piece.begin == piece.end; });
  return pieces;
}

std::vector<ByteRange> FindCharacters(std::string_view text, const std::function<bool(char32_t)>& test) {
  std::vector<ByteRange> found;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (test(NextCharacter(text, at))) found.push_back({begin, at});
  }
  return found;
}

}  // namespace regroup
