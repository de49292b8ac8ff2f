#include "trainer/data/chat_template/filters.h"

#include <fmt/format.h>

#include "trainer/data/chat_template/expression_parser.h"
#include "trainer/data/chat_template/failure.h"

namespace regroup::chat {
namespace {

Filter Known(const std::string& name) {
  for (const Filters* filters : {&ScalarFilters(), &ListFilters()}) {
    const auto found = filters->find(name);
    if (found != filters->end()) return found->second;
  }
  return nullptr;
}

}  // namespace

void CheckFilterName(const std::string& name, int64_t line) {
  if (Known(name) == nullptr) Unsupported(fmt::format("the filter '{}'", name), line);
}

Value ApplyFilter(Budget& budget, const std::string& name, const Value& value, const Arguments& arguments) {
  CheckFilterName(name, 0);
  budget.Step();
  return Known(name)(budget, name, value, arguments);
}

}  // namespace regroup::chat
