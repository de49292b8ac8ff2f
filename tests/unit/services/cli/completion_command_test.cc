#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "services/cli/commands.h"

namespace regroup {
namespace {

/// Returns bash's completions for these words, the last of which is being typed.
std::string Offered(const std::string& script, const std::string& words, int last) {
  const std::string file = testing::TempDir() + "regroup-completion-" + std::to_string(getpid()) + ".bash";
  std::ofstream(file) << script << "COMP_WORDS=(" << words << ")\nCOMP_CWORD=" << last
                      << "\n_regroup\necho \"${COMPREPLY[*]}\"\n";
  FILE* const bash = popen(("bash --norc " + file + " 2>&1").c_str(), "r");
  char text[4096] = {};
  const size_t size = std::fread(text, 1, sizeof text - 1, bash);
  pclose(bash);
  std::remove(file.c_str());
  return std::string(text, size);
}

class CompletionTest : public testing::Test {
 protected:
  CompletionTest() {
    app_.add_flag("--json", json_);
    app_.add_subcommand("run", "")->add_option("--slots", slots_);
    app_.add_subcommand("report", "")->add_flag("--open", json_);
  }

  CLI::App app_{"", "regroup"};
  bool json_ = false;
  int slots_ = 0;
};

TEST_F(CompletionTest, OffersCommandsAndTheOptionsOfTheChosenOne) {
  const std::string script = CompletionScript(app_, "bash");
  EXPECT_EQ(Offered(script, "regroup re", 1), "report\n");
  EXPECT_EQ(Offered(script, "regroup run --s", 2), "--slots\n");
  EXPECT_EQ(Offered(script, "regroup --json report --", 3), "--help --open --help --json\n");
}

TEST_F(CompletionTest, ZshGetsItsCompatibilityFirst) {
  EXPECT_TRUE(CompletionScript(app_, "zsh").starts_with("autoload -U +X bashcompinit"));
}

}  // namespace
}  // namespace regroup
