// Writes a program's manual page from its command-line flags, so that the page has what --help has.
//
// `--man-page`, which --help does not show, prints the page; the build calls it (cmake/Install.cmake).
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace regroup {

/// Parts of the page that are not in the flags.
struct ManPageText {
  /// Section of the manual: 1 for programs of users, 8 for services.
  int section = 1;
  std::string version;
  /// Names of other pages with their sections, such as "regroup-worker(8)".
  std::vector<std::string> see_also;
};

/// Returns the page in the man(7) language. Pure.
std::string ManPage(const CLI::App& app, const ManPageText& text);

/// Adds the flag. Call after all other flags and commands were added; `app` must outlive the parsing.
void AddManPageFlag(CLI::App* app, ManPageText text);

}  // namespace regroup
