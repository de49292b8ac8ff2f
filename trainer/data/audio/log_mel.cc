#include "trainer/data/audio/log_mel.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "trainer/data/audio/clip_reader.h"

namespace regroup {
namespace {

constexpr int64_t kWindow = 400;
constexpr int64_t kHop = 160;
constexpr int64_t kHalf = kWindow / 2;
constexpr int64_t kFrequencies = kHalf + 1;
constexpr double kPi = 3.14159265358979323846;
constexpr double kHighestFrequency = 8000;
constexpr double kLeastPower = 1e-10;
/// Distance of the least logarithm from the largest one.
constexpr double kRange = 8;

// Slaney's mel scale is linear up to 1,000 Hz, which are 15 mel, and logarithmic above.
constexpr double kLinearHertz = 1000, kLinearMels = 15;
const double kMelsPerLog = 27 / std::log(6.4);

double MelOfHertz(double hertz) {
  if (hertz < kLinearHertz) return kLinearMels * hertz / kLinearHertz;
  return kLinearMels + std::log(hertz / kLinearHertz) * kMelsPerLog;
}

double HertzOfMel(double mel) {
  if (mel < kLinearMels) return kLinearHertz * mel / kLinearMels;
  return kLinearHertz * std::exp((mel - kLinearMels) / kMelsPerLog);
}

/// Returns triangles over the frequencies, [mel bins, kFrequencies], each of the same area.
std::vector<double> MelFilters(int64_t mel_bins) {
  std::vector<double> edges;
  const double step = MelOfHertz(kHighestFrequency) / static_cast<double>(mel_bins + 1);
  for (int64_t edge = 0; edge < mel_bins + 2; ++edge) edges.push_back(HertzOfMel(step * static_cast<double>(edge)));
  std::vector<double> filters;
  for (size_t bin = 0; bin < static_cast<size_t>(mel_bins); ++bin) {
    const double low = edges[bin], middle = edges[bin + 1], high = edges[bin + 2];
    for (int64_t k = 0; k < kFrequencies; ++k) {
      const double hertz = kHighestFrequency * static_cast<double>(k) / (kFrequencies - 1);
      const double height = std::min((hertz - low) / (middle - low), (high - hertz) / (high - middle));
      filters.push_back(std::max(0.0, height) * 2 / (high - low));
    }
  }
  return filters;
}

/// Returns the sample at a place that may be up to half a window before the clip or behind it, where the clip is
/// reflected; silence follows the samples.
double SampleAt(std::span<const float> samples, int64_t place, int64_t clip) {
  if (place < 0) place = -place;
  if (place >= clip) place = 2 * (clip - 1) - place;
  return place >= 0 && place < std::ssize(samples) ? samples[static_cast<size_t>(place)] : 0.0;
}

}  // namespace

int64_t SpectrogramShape::Samples() const { return frames * kHop; }

LogMel::LogMel(const SpectrogramShape& shape) : shape_(shape), filters_(MelFilters(shape.mel_bins)) {
  for (int64_t n = 0; n < kWindow; ++n) {
    window_.push_back(0.5 - 0.5 * std::cos(2 * kPi * static_cast<double>(n) / kWindow));
  }
  for (int64_t n = 0; n <= kHalf; ++n) {
    for (int64_t k = 0; k < kFrequencies; ++k) {
      const double angle = 2 * kPi * static_cast<double>(n * k % kWindow) / kWindow;
      cosines_.push_back(std::cos(angle));
      sines_.push_back(std::sin(angle));
    }
  }
}

void LogMel::WritePower(std::span<const double> window, std::vector<double>& power) const {
  // A cosine has the same value for n and kWindow - n, and a sine the opposite one, so that half of each table is
  // enough. The inner loop is over frequencies, which the compiler can compute side by side.
  double real[kFrequencies] = {}, imaginary[kFrequencies] = {};
  for (int64_t n = 0; n <= kHalf; ++n) {
    const bool is_pair = n != 0 && n != kHalf;
    const double one = window[static_cast<size_t>(n)];
    const double other = is_pair ? window[static_cast<size_t>(kWindow - n)] : 0.0;
    const double* const cosines = cosines_.data() + n * kFrequencies;
    const double* const sines = sines_.data() + n * kFrequencies;
    for (int64_t k = 0; k < kFrequencies; ++k) {
      real[k] += (one + other) * cosines[k];
      imaginary[k] += (one - other) * sines[k];
    }
  }
  for (int64_t k = 0; k < kFrequencies; ++k) {
    power[static_cast<size_t>(k)] = real[k] * real[k] + imaginary[k] * imaginary[k];
  }
}

std::vector<float> LogMel::Of(std::span<const float> samples) const {
  std::vector<double> logs(static_cast<size_t>(shape_.Values()));
  std::vector<double> window(kWindow), power(kFrequencies);
  for (int64_t frame = 0; frame < shape_.frames; ++frame) {
    for (int64_t n = 0; n < kWindow; ++n) {
      window[static_cast<size_t>(n)] =
          window_[static_cast<size_t>(n)] * SampleAt(samples, frame * kHop - kHalf + n, shape_.Samples());
    }
    WritePower(window, power);
    for (int64_t bin = 0; bin < shape_.mel_bins; ++bin) {
      const double* const filter = filters_.data() + bin * kFrequencies;
      double sum = 0;
      for (size_t k = 0; k < power.size(); ++k) sum += filter[k] * power[k];
      logs[static_cast<size_t>(bin * shape_.frames + frame)] = std::log10(std::max(sum, kLeastPower));
    }
  }
  const double least = *std::max_element(logs.begin(), logs.end()) - kRange;
  std::vector<float> result;
  result.reserve(logs.size());
  for (const double each : logs) result.push_back(static_cast<float>((std::max(each, least) + 4) / 4));
  return result;
}

}  // namespace regroup
