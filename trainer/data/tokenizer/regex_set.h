// A set of characters of a regular expression, as tokenizer.json writes it between brackets, and the PCRE2 expression
// that matches one character of it. PCRE2 has no sets within sets: what its brackets cannot hold becomes alternatives
// and lookaheads. A plain value, for one thread at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace regroup {

class CharacterSet {
 public:
  /// Adds members as PCRE2 writes them between brackets, such as "a-z" or "\p{L}".
  void Add(std::string_view members) { operand_.members += members; }
  /// Adds one character that stands for itself.
  void AddCharacter(std::string_view character);
  /// Adds the members of another set.
  void AddSet(const CharacterSet& set);
  /// Ends an operand of "&&": the set keeps the characters that all its operands have.
  void EndOperand();
  /// Replaces the set by all other characters.
  void Complement() { negated_ = !negated_; }
  /// Returns true if PCRE2's own brackets can hold the set.
  bool IsSimple() const { return operands_.empty() && operand_.others.empty(); }

  /// Returns an expression that matches one character of the set and that a quantifier may follow.
  std::string Expression() const;

 private:
  /// The union of members between brackets and of sets that brackets cannot hold.
  struct Operand {
    std::string members;
    std::vector<std::string> others;
  };
  static std::string ExpressionOf(const Operand& operand);

  std::vector<Operand> operands_;
  Operand operand_;
  bool negated_ = false;
};

}  // namespace regroup
