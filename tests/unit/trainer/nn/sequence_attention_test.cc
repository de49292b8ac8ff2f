// Tests the layout of sequences. The attention itself needs a GPU, or a pretended one (tests/fake_gpu).
#include "trainer/nn/sequence_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(SequenceLayoutTest, HasASequenceForEachDocumentOfEachRow) {
  // The document at the end of the first row is not the one at the start of the second.
  const at::Tensor documents = at::tensor({1, 1, 2, 2, 2, 2, 2, 2, 9, 9}, at::kLong).view({2, 5});
  const SequenceLayout layout = LayoutOfDocuments(documents, /*window=*/3, at::kCPU);
  EXPECT_EQ(layout.starts.scalar_type(), at::kInt);
  EXPECT_TRUE(at::equal(layout.starts, at::tensor({0, 2, 5, 8, 10}, at::kInt)));
  EXPECT_EQ(layout.longest, 3);
  EXPECT_EQ(layout.window, 3);
}

TEST(SequenceLayoutTest, IsOneSequenceIfThereIsOneDocument) {
  const SequenceLayout layout = LayoutOfDocuments(at::full({1, 7}, 4, at::kLong), 0, at::kCPU);
  EXPECT_TRUE(at::equal(layout.starts, at::tensor({0, 7}, at::kInt)));
  EXPECT_EQ(layout.longest, 7);
}

TEST(SequenceLayoutTest, NoCpuHasTheKernel) { EXPECT_FALSE(CanAttendSequences(at::kCPU, at::kBFloat16, 64)); }

}  // namespace
}  // namespace regroup
