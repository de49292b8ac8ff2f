// Makes field violations for tests of errors.
#pragma once

#include <string>

#include "services/common/base/error.h"

namespace regroup {

inline FieldViolation Violation(const std::string& field, const std::string& description) {
  FieldViolation violation;
  violation.set_field(field);
  violation.set_description(description);
  return violation;
}

}  // namespace regroup
