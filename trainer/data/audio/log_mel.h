// The log-mel spectrogram that Whisper's encoder reads (Radford et al., 2022), with the values of Transformers'
// WhisperFeatureExtractor.
//
// The power of windows of 400 samples, one every 160, is summed in bands of equal width on the mel scale. Its logarithm
// to the base 10, at least 8 below the largest one of the clip, is shifted and scaled to about -1 to 1. Computed in
// float64. Immutable; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace regroup {

/// The sizes of a clip's spectrogram.
struct SpectrogramShape {
  int64_t mel_bins = 0;
  int64_t frames = 0;

  int64_t Samples() const;
  int64_t Values() const { return mel_bins * frames; }
};

class LogMel {
 public:
  explicit LogMel(const SpectrogramShape& shape);

  /// Returns [mel bins, frames] of the samples, of which there are at most SpectrogramShape::Samples; silence follows
  /// them.
  std::vector<float> Of(std::span<const float> samples) const;

 private:
  /// Writes the power at each frequency of a window that is weighted already.
  void WritePower(std::span<const double> window, std::vector<double>& power) const;

  SpectrogramShape shape_;
  /// Hann's window.
  std::vector<double> window_;
  /// [distance from the middle of a window, frequency]
  std::vector<double> cosines_, sines_;
  /// [mel bins, frequencies]
  std::vector<double> filters_;
};

}  // namespace regroup
