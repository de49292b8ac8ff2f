// Roles: the names under which a task finds the results of earlier tasks among its inputs.
//
// The coordinator assigns them with a task (coordinator/job/graph.cc); the trainer's stages look them up
// (StageContext::Input).
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace regroup {

inline constexpr char kFetchRole[] = "fetch";
inline constexpr char kInspectRole[] = "inspect";
inline constexpr char kCalibrateRole[] = "calibrate";
inline constexpr char kRecordRole[] = "record";
inline constexpr char kRefineRole[] = "refine";
inline constexpr char kFinetuneRole[] = "finetune";
inline constexpr char kExportRole[] = "export";
inline constexpr char kReportRole[] = "report";
inline constexpr char kUploadRole[] = "upload";
inline std::string AlignRole(int64_t layer) { return fmt::format("align/{}", layer); }
/// Returns the role of the layerwise task whose block of layers begins with this one.
inline std::string LayerwiseRole(int64_t first_layer) { return fmt::format("layerwise/{}", first_layer); }
/// Returns the role of an evaluate task; `subject` is the measured model.
inline std::string EvaluateRole(std::string_view subject) { return fmt::format("evaluate/{}", subject); }
/// Returns the prefix of the roles of the arm with this index, for the report of a sweep.
inline std::string ArmPrefix(int64_t index) { return fmt::format("{}/", index); }

// Subjects: the models that evaluate tasks measure. They are keys of the report too.
inline constexpr char kSourceSubject[] = "source";
inline constexpr char kAveragedSubject[] = "averaged";
inline constexpr char kAlignedSubject[] = "aligned";
inline constexpr char kLayerwiseSubject[] = "layerwise";
inline constexpr char kResultSubject[] = "result";

}  // namespace regroup
