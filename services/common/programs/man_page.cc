#include "services/common/programs/man_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <sstream>
#include <utility>

namespace regroup {
namespace {

/// Returns the text so that troff shows it as it is.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
  }
  // A line that begins so would be a request.
  const bool is_request = escaped.starts_with('.') || escaped.starts_with('\'');
  return (is_request ? "\\&" : "") + escaped;
}

std::string Bold(const std::string& text) { return "\\fB" + Escaped(text) + "\\fR"; }

std::string Italic(const std::string& text) { return "\\fI" + Escaped(text) + "\\fR"; }

std::string UpperCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::vector<const CLI::Option*> VisibleOptions(const CLI::App& app) {
  std::vector<const CLI::Option*> options;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) options.push_back(option);
  }
  return options;
}

std::vector<const CLI::App*> VisibleCommands(const CLI::App& app) {
  std::vector<const CLI::App*> commands;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (!command->get_group().empty()) commands.push_back(command);
  }
  return commands;
}

/// Returns "-f, --follow" or, for an argument that has no dashes, its name in capitals.
std::string NamesOf(const CLI::Option& option) {
  if (option.nonpositional()) {
    std::string names;
    for (const std::string& name : option.get_snames()) names += (names.empty() ? "" : ", ") + Bold("-" + name);
    for (const std::string& name : option.get_lnames()) names += (names.empty() ? "" : ", ") + Bold("--" + name);
    return names;
  }
  return Italic(UpperCase(option.get_name(true)));
}

/// Returns what the value must be, as --help shows it: "TEXT", "INT in [1 - 64]", "{bash,zsh}"; empty for a flag.
std::string TypeOf(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0 || !option.nonpositional()) return "";
  // A check adds its own words behind the type's, which say less.
  const std::string type = option.get_type_name();
  return " " + Italic(type.substr(type.find(':') + 1));
}

std::string Sentence(const std::string& text) {
  const bool ends = text.empty() || text.ends_with('.') || text.ends_with('!') || text.ends_with('?');
  return Escaped(text) + (ends ? "" : ".");
}

std::string OptionText(const CLI::Option& option) {
  std::string text =
      fmt::format(".TP\n{}{}\n{}\n", NamesOf(option), TypeOf(option), Sentence(option.get_description()));
  if (!option.get_default_str().empty()) text += fmt::format("The default is {}.\n", Italic(option.get_default_str()));
  if (!option.get_envname().empty()) text += fmt::format("The variable {} sets it too.\n", Bold(option.get_envname()));
  if (option.get_required() && option.nonpositional()) text += "It is required.\n";
  return text;
}

std::string OptionsText(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : VisibleOptions(app)) {
    if (option->get_lnames() != std::vector<std::string>{"help"}) text += OptionText(*option);
  }
  return text;
}

/// Returns the words behind a command's name: "FILE [options]".
std::string ArgumentsOf(const CLI::App& app) {
  std::string words;
  bool has_options = false;
  for (const CLI::Option* option : VisibleOptions(app)) {
    const bool is_help = option->get_lnames() == std::vector<std::string>{"help"};
    has_options |= option->nonpositional() && !is_help;
    if (!option->nonpositional()) words += " " + Italic(UpperCase(option->get_name(true)));
  }
  return words + (has_options ? " [options]" : "");
}

/// Returns lines that keep their breaks, as examples of commands need.
std::string VerbatimText(const std::string& text) {
  if (text.empty()) return "";
  std::string out = ".PP\n.nf\n";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out += Escaped(line) + "\n";
  return out + ".fi\n";
}

std::string CommandText(const CLI::App& command, const std::string& name) {
  // CLI11 gives a command the footer of the whole program unless it has its own.
  const bool has_footer = command.get_footer() != command.get_parent()->get_footer();
  return fmt::format(".SS {}{}\n{}\n{}{}", Bold(name), ArgumentsOf(command), Sentence(command.get_description()),
                     OptionsText(command), has_footer ? VerbatimText(command.get_footer()) : "");
}

/// Returns a section for each command, and for those below it.
std::string CommandsText(const CLI::App& app, const std::string& prefix) {
  std::string text;
  for (const CLI::App* command : VisibleCommands(app)) {
    const std::string name = prefix + command->get_name();
    text += VisibleCommands(*command).empty() ? CommandText(*command, name) : CommandsText(*command, name + " ");
  }
  return text;
}

std::string SeeAlsoText(const std::vector<std::string>& pages) {
  if (pages.empty()) return "";
  std::string text = ".SH SEE ALSO\n";
  for (size_t i = 0; i < pages.size(); ++i) {
    const size_t parenthesis = std::min(pages[i].find('('), pages[i].size());
    text += fmt::format(".BR {} {}{}\n", Escaped(pages[i].substr(0, parenthesis)), pages[i].substr(parenthesis),
                        i + 1 < pages.size() ? " ," : "");
  }
  return text;
}

/// Returns the description as the page's one-line summary: no capital in front and no full stop.
std::string SummaryOf(const CLI::App& app) {
  std::string summary = app.get_description();
  if (!summary.empty()) summary[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(summary[0])));
  if (summary.ends_with('.')) summary.pop_back();
  return Escaped(summary);
}

}  // namespace

std::string ManPage(const CLI::App& app, const ManPageText& text) {
  const bool has_commands = !VisibleCommands(app).empty();
  const std::string& name = app.get_name();
  std::string page =
      fmt::format(".TH {} {} \"\" \"Regroup {}\" \"Regroup\"\n", UpperCase(Escaped(name)), text.section, text.version);
  page += fmt::format(".SH NAME\n{} \\- {}\n", Escaped(name), SummaryOf(app));
  page += fmt::format(".SH SYNOPSIS\n{}{}{}\n", Bold(name), ArgumentsOf(app), has_commands ? " [command]" : "");
  page += fmt::format(".SH DESCRIPTION\n{}\n{}", Sentence(app.get_description()), VerbatimText(app.get_footer()));
  if (has_commands) page += ".SH COMMANDS\n" + CommandsText(app, "");
  page += ".SH OPTIONS\n" + OptionsText(app);
  return page + SeeAlsoText(text.see_also);
}

void AddManPageFlag(CLI::App* app, ManPageText text) {
  app->add_flag_callback(
         "--man-page",
         [app, text = std::move(text)] {
           fmt::print("{}", ManPage(*app, text));
           throw CLI::Success();
         },
         "Print the manual page")
      ->group("");
}

}  // namespace regroup
