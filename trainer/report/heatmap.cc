#include "trainer/report/heatmap.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "trainer/report/html.h"

namespace regroup {
namespace {

constexpr int kLevels = 16;

void AppendBigEndian(std::string& bytes, uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(value >> shift));
}

/// Computes the checksum of PNG chunks: CRC-32, polynomial 0xEDB88320, bit by bit.
uint32_t Crc32(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

/// Computes the checksum of zlib streams.
uint32_t Adler32(const std::string& bytes) {
  uint32_t a = 1, b = 0;
  for (const char byte : bytes) {
    a = (a + static_cast<uint8_t>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

/// Returns a zlib stream with stored (uncompressed) blocks.
std::string Stored(const std::string& bytes) {
  constexpr size_t kBlock = 65535;
  std::string stream = "\x78\x01";
  for (size_t start = 0; start < bytes.size(); start += kBlock) {
    const size_t size = std::min(kBlock, bytes.size() - start);
    stream.push_back(start + size == bytes.size() ? '\1' : '\0');
    for (const size_t length : {size, ~size}) {
      stream.push_back(static_cast<char>(length));
      stream.push_back(static_cast<char>(length >> 8));
    }
    stream.append(bytes, start, size);
  }
  AppendBigEndian(stream, Adler32(bytes));
  return stream;
}

void AppendChunk(std::string& png, const std::string& type, const std::string& data) {
  AppendBigEndian(png, static_cast<uint32_t>(data.size()));
  png += type + data;
  AppendBigEndian(png, Crc32(type + data));
}

/// Returns a palette from nearly white to dark blue, with even steps of lightness.
std::string Palette() {
  constexpr std::array<double, 3> kLight = {244, 248, 252}, kMiddle = {84, 148, 204}, kDark = {6, 32, 82};
  std::string palette;
  for (int level = 0; level < kLevels; ++level) {
    const double t = static_cast<double>(level) / (kLevels - 1);
    for (size_t channel = 0; channel < 3; ++channel) {
      const double value = t < 0.5 ? kLight[channel] + (kMiddle[channel] - kLight[channel]) * 2 * t
                                   : kMiddle[channel] + (kDark[channel] - kMiddle[channel]) * (2 * t - 1);
      palette.push_back(static_cast<char>(std::lround(value)));
    }
  }
  return palette;
}

std::string Base64(const std::string& bytes) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) text.push_back(i + j <= bytes.size() ? kDigits[group >> (18 - 6 * j) & 63u] : '=');
  }
  return text;
}

}  // namespace

std::string SquarePicture(const std::vector<uint8_t>& levels, int64_t size) {
  std::string header;
  AppendBigEndian(header, static_cast<uint32_t>(size));
  AppendBigEndian(header, static_cast<uint32_t>(size));
  // Four bits a pixel, colours from a palette, no interlacing.
  header += std::string("\4\3\0\0\0", 5);
  std::string rows;
  for (int64_t row = 0; row < size; ++row) {
    rows.push_back('\0');
    for (int64_t column = 0; column < size; column += 2) {
      const uint8_t right = column + 1 < size ? levels[row * size + column + 1] : 0;
      rows.push_back(static_cast<char>(levels[row * size + column] << 4 | right));
    }
  }
  std::string png = "\x89PNG\r\n\x1a\n";
  AppendChunk(png, "IHDR", header);
  AppendChunk(png, "PLTE", Palette());
  AppendChunk(png, "IDAT", Stored(rows));
  AppendChunk(png, "IEND", "");
  return "data:image/png;base64," + Base64(png);
}

std::string Heatmap(const nlohmann::ordered_json& matrix, const std::vector<int64_t>& order, double low, double high,
                    const std::string& description) {
  std::vector<uint8_t> levels;
  for (const int64_t row : order) {
    for (const int64_t column : order) {
      const double value = matrix[row][column].get<double>();
      const double share = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0.0;
      levels.push_back(static_cast<uint8_t>(std::lround(share * (kLevels - 1))));
    }
  }
  const auto size = static_cast<int64_t>(order.size());
  return fmt::format("<img class=\"heat\" alt=\"{}\" src=\"{}\">", Escape(description), SquarePicture(levels, size));
}

std::pair<double, double> RangeOff(const std::vector<const nlohmann::ordered_json*>& matrices) {
  double low = INFINITY, high = -INFINITY;
  for (const nlohmann::ordered_json* matrix : matrices) {
    if (matrix == nullptr || !matrix->is_array()) continue;
    for (size_t row = 0; row < matrix->size(); ++row) {
      for (size_t column = 0; column < matrix->size(); ++column) {
        if (row == column) continue;
        low = std::min(low, (*matrix)[row][column].get<double>());
        high = std::max(high, (*matrix)[row][column].get<double>());
      }
    }
  }
  return low <= high ? std::pair(low, high) : std::pair(0.0, 1.0);
}

}  // namespace regroup
