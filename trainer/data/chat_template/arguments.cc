#include "trainer/data/chat_template/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "trainer/data/chat_template/failure.h"

namespace regroup::chat {

Bound::Bound(std::string_view what, const Arguments& arguments, std::initializer_list<std::string_view> parameters)
    : what_(what), values_(arguments.values), given_(parameters.size(), false) {
  if (values_.size() > parameters.size()) WrongValue(fmt::format("{} takes fewer arguments", what));
  std::fill_n(given_.begin(), values_.size(), true);
  values_.resize(parameters.size());
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(parameters.begin(), parameters.end(), name);
    if (found == parameters.end()) WrongValue(fmt::format("{} has no argument '{}'", what, name));
    const auto place = static_cast<size_t>(found - parameters.begin());
    if (given_[place]) WrongValue(fmt::format("{} gets the argument '{}' twice", what, name));
    given_[place] = true;
    values_[place] = value;
  }
}

Bound Bound::ByPlace(std::string_view what, const Arguments& arguments,
                     std::initializer_list<std::string_view> parameters) {
  if (!arguments.named.empty()) WrongValue(fmt::format("{} takes no names of arguments", what));
  return Bound(what, arguments, parameters);
}

const Value& Bound::At(size_t parameter) const {
  if (!given_[parameter]) WrongValue(fmt::format("{} lacks an argument", what_));
  return values_[parameter];
}

Value Bound::Or(size_t parameter, Value otherwise) const {
  return given_[parameter] ? values_[parameter] : std::move(otherwise);
}

bool Bound::Flag(size_t parameter, bool otherwise) const {
  return given_[parameter] ? IsTrue(values_[parameter]) : otherwise;
}

}  // namespace regroup::chat
