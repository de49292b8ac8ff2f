#include "services/common/base/trace_parent.h"

#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

// The example of the recommendation, https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers.
const std::string kExample = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceparentTest, TheExampleOfTheRecommendationIsValid) {
  EXPECT_TRUE(IsTraceparent(kExample));
  EXPECT_TRUE(IsTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"));
}

TEST(TraceparentTest, ALaterVersionMayHaveMoreBehindAHyphen) {
  EXPECT_TRUE(IsTraceparent("cc" + kExample.substr(2)));
  EXPECT_TRUE(IsTraceparent("cc" + kExample.substr(2) + "-what-the-future-will-be-like"));
  EXPECT_FALSE(IsTraceparent("cc" + kExample.substr(2) + ".what-the-future-will-not-be-like"));
  EXPECT_FALSE(IsTraceparent("cc" + kExample.substr(2) + "-two words"));
  EXPECT_FALSE(IsTraceparent("cc" + kExample.substr(2) + "-" + std::string(1000, 'a')));
}

// Cases of the W3C's own test suite for the recommendation.
TEST(TraceparentTest, WhatTheRecommendationForbidsIsInvalid) {
  for (const std::string& text :
       {std::string(), kExample + "-", kExample + "-what", kExample + "0", " " + kExample, "ff" + kExample.substr(2),
        std::string(".0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        std::string("0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        std::string("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        std::string("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
        std::string("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
        std::string("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01"),
        std::string("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"),
        std::string("00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01"),
        std::string("00-.bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}) {
    EXPECT_FALSE(IsTraceparent(text)) << text;
  }
}

}  // namespace
}  // namespace regroup
