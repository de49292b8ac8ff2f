#include "trainer/stages/job_text.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <optional>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/data_names.h"
#include "trainer/data/audio/clip_reader.h"
#include "trainer/data/data_files.h"
#include "trainer/data/text_reader.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/job_source.h"

namespace regroup {
namespace {

// Counts what changes the tokens of the same text and the same files.
constexpr int kFormat = 3;
constexpr int64_t kDigestLength = 64;

std::filesystem::path StorePath(const StageContext& context, const std::string& digest) {
  return context.work_folder / "tokens" / (digest + ".tokens");
}

/// Returns the digest of the content of the first `most` audio files, all if it is 0.
absl::StatusOr<std::string> AudioDigest(const JobText& text, int64_t most) {
  REGROUP_ASSIGN_OR_RETURN(const DataFiles data, FindDataFiles(text.names));
  std::string digests;
  int64_t clips = 0;
  for (const std::filesystem::path& file : data.files) {
    REGROUP_ASSIGN_OR_RETURN(TranscriptReader reader, TranscriptReader::Open(file, text.field));
    while (most == 0 || clips < most) {
      REGROUP_ASSIGN_OR_RETURN(const std::optional<TranscriptRecord> record, reader.Next());
      if (!record) break;
      REGROUP_ASSIGN_OR_RETURN(const std::string content, ReadInput(record->audio, kMostClipBytes));
      digests += Sha256Of(content);
      ++clips;
    }
  }
  return Sha256Of(digests);
}

/// Identifies the tokens of a given part of the text.
class StoreKey {
 public:
  /// Takes the digests that `inspect` made, so that the files are read again only if their tokens are not there.
  static absl::StatusOr<StoreKey> Of(const StageContext& context, const JobText& text, const SourceModel& source) {
    StoreKey result;
    result.text_ = &text;
    for (const std::string& name : text.names) {
      auto digest = InspectedDataDigest(context, name);
      if (!digest) {
        auto made = DataDigest(name);
        if (!made.ok()) return AtKey(text.key, made.status());
        digest = *std::move(made);
      }
      result.names_.push_back(*std::move(digest));
    }
    REGROUP_ASSIGN_OR_RETURN(const std::optional<InspectedSource> inspected, ReadInspectedSource(context));
    if (inspected) {
      result.tokenizer_ = inspected->tokenizer;
    } else {
      REGROUP_ASSIGN_OR_RETURN(result.tokenizer_, TokenizerDigest(source.folder().path()));
    }
    return result;
  }

  /// Returns OK if the names' content has the digests of this key.
  absl::Status Compare(const std::vector<std::string>& now) const {
    for (size_t i = 0; i < names_.size(); ++i) {
      if (now[i] != names_[i]) return AtKey(text_->key, DataChanged(text_->names[i]));
    }
    return absl::OkStatus();
  }

  /// Does the same for the files as they are now; what cannot be read counts as unchanged.
  absl::Status CompareFiles() const {
    std::vector<std::string> now;
    for (size_t i = 0; i < names_.size(); ++i) now.push_back(DataDigest(text_->names[i]).value_or(names_[i]));
    return Compare(now);
  }

  /// Reads the audio of as many transcripts as have these tokens, all if it is 0, since the digests of the names cover
  /// paths only.
  absl::Status AddAudio(int64_t sequence_length, int64_t enough_tokens) {
    if (text_->kind != DataKind::kTranscripts) return absl::OkStatus();
    const auto digest = AudioDigest(*text_, enough_tokens / sequence_length);
    if (!digest.ok()) return AtKey(text_->key, digest.status());
    audio_ = fmt::format("{} {}", *digest, sequence_length);
    return absl::OkStatus();
  }

  std::string Digest(int64_t enough_tokens) const {
    nlohmann::json key = {{"format", kFormat},       {"data", CombinedDigest(names_)},
                          {"tokenizer", tokenizer_}, {"instructions", text_->kind == DataKind::kInstructions},
                          {"field", text_->field},   {"enough_tokens", enough_tokens}};
    if (text_->kind == DataKind::kTranscripts) {
      key["audio"] = audio_;
      key["mel_bins"] = text_->transcript.spectrogram.mel_bins;
      key["frames"] = text_->transcript.spectrogram.frames;
      key["start_token"] = text_->transcript.start_token;
    }
    return Sha256Of(key.dump());
  }

 private:
  const JobText* text_ = nullptr;
  /// A digest for each name of the text.
  std::vector<std::string> names_;
  std::string tokenizer_;
  /// Digest of the audio files of transcripts, and the length of a window.
  std::string audio_;
};

bool IsIntact(const std::filesystem::path& path) {
  const auto store = TokenStore::Open(path);
  const absl::Status status = store.ok() ? store->Verify() : store.status();
  if (!status.ok() && !absl::IsNotFound(status)) {
    LogWarning(fmt::format("re-tokenising: {}", std::string(status.message())));
  }
  return status.ok();
}

/// Tokenises the text, whose content must have the digests of `store`.
absl::Status MakeStore(StageContext& context, const JobText& text, const SourceModel& source,
                       const TokenWindowsOptions& options, const StoreKey& store, const std::filesystem::path& path) {
  context.link.SetProgress("tokenise", 0, 0);
  const auto tokenizer = LoadSourceTokenizer(context, source);
  if (!tokenizer.ok()) return AtKey("source.checkpoint", tokenizer.status());
  const auto data = FindDataFiles(text.names);
  if (!data.ok()) return AtKey(text.key, data.status());
  REGROUP_RETURN_IF_ERROR(MakeFolders(path.parent_path()));
  // Spectrograms have 4 bytes for each value, whatever the vocabulary.
  const int64_t vocabulary = text.kind == DataKind::kTranscripts ? 0 : (*tokenizer)->vocabulary_size();
  REGROUP_ASSIGN_OR_RETURN(TokenStoreWriter writer,
                           TokenStoreWriter::Create(path, vocabulary, text.kind == DataKind::kInstructions));
  const auto show = [&](const TokeniseProgress& progress) {
    context.link.SetProgress("tokenise", static_cast<int64_t>(progress.bytes_read),
                             static_cast<int64_t>(progress.file_bytes));
  };
  TokeniseOptions reading = TokeniseOptionsOf(text, options.sequence_length);
  REGROUP_ASSIGN_OR_RETURN(reading.enough_tokens, EnoughTokens(options));
  reading.progress = show;
  const auto digests = Tokenise(data->files, **tokenizer, reading,
                                [&](const TokenisedText& each) { return writer.Add(each.ids, each.prompt); });
  // A line that cannot be read may be one that `inspect` never saw.
  REGROUP_RETURN_IF_ERROR(digests.ok() ? store.Compare(data->DigestsOfNames(*digests)) : store.CompareFiles());
  if (!digests.ok()) return AtKey(text.key, digests.status());
  return writer.Finish();
}

/// Returns the digest of an intact file, creating the file if necessary.
absl::StatusOr<std::string> FindOrMakeStore(StageContext& context, const JobText& text, const SourceModel& source,
                                            const TokenWindowsOptions& options) {
  context.link.SetProgress("read the tokens", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(StoreKey store, StoreKey::Of(context, text, source));
  auto enough = EnoughTokens(options);
  if (!enough.ok()) return AtKey(text.key, enough.status());
  REGROUP_RETURN_IF_ERROR(store.AddAudio(options.sequence_length, *enough));
  // A file with all tokens serves every request.
  std::error_code error;
  const std::string whole = store.Digest(0), wanted = store.Digest(*enough);
  if (std::filesystem::exists(StorePath(context, whole), error) && IsIntact(StorePath(context, whole))) return whole;
  if (wanted != whole && IsIntact(StorePath(context, wanted))) return wanted;
  REGROUP_RETURN_IF_ERROR(MakeStore(context, text, source, options, store, StorePath(context, wanted)));
  return wanted;
}

/// Sends rank 0's digest to every rank.
absl::StatusOr<std::string> Spread(StageContext& context, const std::string& digest) {
  at::Tensor bytes = at::zeros({kDigestLength}, at::kByte);
  if (context.leads()) std::memcpy(bytes.mutable_data_ptr(), digest.data(), kDigestLength);
  REGROUP_RETURN_IF_ERROR(context.communicator.Broadcast(bytes, 0));
  return std::string(static_cast<const char*>(bytes.const_data_ptr()), kDigestLength);
}

template <typename Section>
JobText TextsOf(std::string_view section, const Section& message) {
  return {.key = fmt::format("{}.data", section),
          .names = DataNames(message),
          .field = message.has_field() ? message.field() : kTextField};
}

}  // namespace

JobText TextOf(const v1::Calibration& calibration) { return TextsOf("calibration", calibration); }
JobText TextOf(const v1::Layerwise& layerwise) { return TextsOf("layerwise", layerwise); }
JobText TextOf(const v1::Evaluation::Perplexity& perplexity) { return TextsOf("evaluation.perplexity", perplexity); }

JobText TextOf(const v1::Finetune& finetune) {
  JobText text = TextsOf("finetune", finetune);
  if (finetune.loss() == "bild") text.kind = DataKind::kInstructions;
  return text;
}

JobText ForModel(JobText text, const ModelConfig& config) {
  if (!config.ReadsAudio()) return text;
  const auto& [mel_bins, frames] = config.spectrogram;
  text.kind = DataKind::kTranscripts;
  text.transcript = {.spectrogram = {.mel_bins = mel_bins, .frames = frames},
                     .start_token = static_cast<int32_t>(config.decoder_start_token)};
  return text;
}

TokeniseOptions TokeniseOptionsOf(const JobText& text, int64_t sequence_length) {
  TokeniseOptions options{.kind = text.kind, .transcript = text.transcript, .field = text.field};
  options.transcript.tokens = sequence_length - text.transcript.spectrogram.Values();
  return options;
}

absl::Status AtKey(std::string_view key, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", key, std::string(status.message())));
}

absl::StatusOr<TokenWindows> ReadWindows(StageContext& context, const JobText& of_job, const SourceModel& source,
                                         TokenWindowsOptions options) {
  const JobText text = ForModel(of_job, source.config());
  options.kind = text.kind;
  options.field = text.field;
  options.transcript = TokeniseOptionsOf(text, options.sequence_length).transcript;
  std::string digest;
  if (context.leads()) {
    REGROUP_ASSIGN_OR_RETURN(digest, FindOrMakeStore(context, text, source, options));
  }
  REGROUP_RETURN_IF_ERROR(context.communicator.RestingBarrier());
  REGROUP_ASSIGN_OR_RETURN(digest, Spread(context, digest));
  REGROUP_ASSIGN_OR_RETURN(TokenStore store, TokenStore::Open(StorePath(context, digest)));
  auto windows = TokenWindows::Cut(std::move(store), DescribeNames(text.names), options);
  if (!windows.ok()) return AtKey(text.key, windows.status());
  return windows;
}

absl::StatusOr<TokenWindows> ReadEvaluationWindows(StageContext& context, const SourceModel& source) {
  const v1::Evaluation::Perplexity& settings = context.spec().evaluation().perplexity();
  return ReadWindows(
      context, TextOf(settings), source,
      {.sequence_length = SequenceLength(settings, source.config()), .max_windows = settings.max_windows()});
}

std::string NoteOnFewer(const JobText& text, std::string_view key, const TokenWindows& windows, int64_t asked) {
  if (windows.windows() >= asked) return "";
  return fmt::format("{}: the job asks for {} sequences of {} tokens, and {} has {}", key, asked, windows.places(),
                     DescribeNames(text.names), windows.windows());
}

void Warn(const StageContext& context, const std::string& warning, v1::TaskOutcome& outcome) {
  if (warning.empty() || !context.leads()) return;
  LogWarning(warning);
  outcome.add_warnings(warning);
}

std::vector<int64_t> WindowsOfRank(int64_t windows, int64_t rank, int64_t ranks) {
  std::vector<int64_t> own;
  for (int64_t window = rank; window < windows; window += ranks) own.push_back(window);
  return own;
}

}  // namespace regroup
