#include "trainer/checkpoint/torch_pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Text(const std::string& text) {
  return std::string("X") + static_cast<char>(text.size()) + std::string(3, '\0') + text;
}
std::string Number(int number) { return std::string("J").append(reinterpret_cast<const char*>(&number), 4); }
std::string Name(const std::string& module, const std::string& name) {
  return std::string("c").append(module).append("\n").append(name).append("\n");
}
std::string Tuple(const std::string& items) { return std::string("(").append(items).append("t"); }

/// A persistent id: a storage of `elements` float32 numbers, unless another type is given.
std::string Storage(int elements, const std::string& type = "FloatStorage") {
  return Tuple(Text("storage") + Name("torch", type) + Text("0") + Text("cpu") + Number(elements)) + "Q";
}

/// A tensor of one axis that begins at `offset`. `metadata` is a last argument, which torch.save writes only if there
/// is any.
std::string Tensor(int size, int stride, int offset, const std::string& storage, const std::string& metadata = "") {
  const std::string hooks = Name("collections", "OrderedDict") + ")R";
  return Name("torch._utils", "_rebuild_tensor_v2") +
         Tuple(storage + Number(offset) + Tuple(Number(size)) + Tuple(Number(stride)) + "\x89" + hooks + metadata) +
         "R";
}

std::string Pickle(const std::string& top) { return std::string("\x80\x02").append(top).append("."); }
std::string Items(const std::string& items) { return std::string("}(").append(items).append("u"); }
std::string Dictionary(const std::string& items) { return Pickle(Items(items)); }

std::string ErrorOf(const std::string& pickle) {
  const auto read = ReadTorchPickle(pickle, "x.bin");
  EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << read.status();
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("x.bin"));
  return std::string(read.status().message());
}

TEST(TorchPickleTest, ReadsTensorsByNameWithTheirViews) {
  const auto tensors = ReadTorchPickle(
      Dictionary(Text("w") + Tensor(3, 2, 5, Storage(10)) + Text("a") + Tensor(2, 1, 0, Storage(4, "HalfStorage"))),
      "x");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[0].dtype, SafetensorsDtype::kF16);
  const PickledTensor& w = (*tensors)[1];
  EXPECT_EQ(w.dtype, SafetensorsDtype::kF32);
  EXPECT_THAT(w.shape, ElementsAre(3));
  EXPECT_THAT(w.strides, ElementsAre(2));
  EXPECT_EQ(w.offset, 5);
  EXPECT_EQ(w.storage, "0");
  EXPECT_EQ(w.storage_bytes, 40);
}

TEST(TorchPickleTest, TheLastValueOfAKeyCounts) {
  const std::string first = Text("w") + Tensor(3, 1, 0, Storage(10));
  const auto twice = ReadTorchPickle(Dictionary(first + Text("w") + Tensor(2, 1, 0, Storage(10))), "x");
  ASSERT_TRUE(twice.ok()) << twice.status();
  ASSERT_EQ(twice->size(), 1u);
  EXPECT_THAT(twice->front().shape, ElementsAre(2));
  EXPECT_TRUE(ReadTorchPickle(Dictionary(first + Text("w") + "N"), "x")->empty());
}

TEST(TorchPickleTest, RefusesNamesThatMakeNoTensor) {
  const std::string argument = Tuple(Text("true")) + "R";
  for (const auto& [module, name] : {std::pair("os", "system"),
                                     {"posix", "system"},
                                     {"builtins", "eval"},
                                     {"torch", "load"},
                                     {"torch.nn.modules.linear", "Linear"}}) {
    EXPECT_THAT(ErrorOf(Pickle(Name(module, name) + argument)), HasSubstr(std::string(module) + "." + name));
  }
}

TEST(TorchPickleTest, CallsNoTypeAsAFunction) {
  EXPECT_THAT(ErrorOf(Pickle(Name("torch", "FloatStorage") + ")R")), HasSubstr("torch.FloatStorage"));
  EXPECT_THAT(ErrorOf(Pickle(Text("os.system") + ")R")), HasSubstr("not a function"));
}

TEST(TorchPickleTest, RefusesInstructionsThatTorchDoesNotWrite) {
  // INST, OBJ, NEWOBJ, STACK_GLOBAL, EXT1, BUILD of what is not a dictionary.
  for (const std::string code : {"(ios\nsystem\n", "(o", "))\x81", "\x93", "\x82\x01", ")Nb"}) ErrorOf(Pickle(code));
  EXPECT_THAT(ErrorOf(Pickle("\x93")), HasSubstr("0x93 at byte 2"));
}

TEST(TorchPickleTest, RefusesViewsBeyondTheirStorage) {
  const auto error_of = [](const std::string& tensor) { return ErrorOf(Dictionary(Text("w") + tensor)); };
  EXPECT_THAT(error_of(Tensor(11, 1, 0, Storage(10))), HasSubstr("beyond the 40 bytes"));
  EXPECT_THAT(error_of(Tensor(4, 3, 1, Storage(10))), HasSubstr("beyond"));
  EXPECT_THAT(error_of(Tensor(1, 1, 10, Storage(10))), HasSubstr("beyond"));
  EXPECT_THAT(error_of(Tensor(2, 2147483647, 2147483647, Storage(10))), HasSubstr("beyond"));
  EXPECT_THAT(error_of(Tensor(2, -1, 5, Storage(10))), HasSubstr("negative"));
  EXPECT_THAT(error_of(Tensor(-1, 1, 0, Storage(10))), HasSubstr("negative"));
  EXPECT_THAT(error_of(Tensor(1, 1, -1, Storage(10))), HasSubstr("negative"));
  EXPECT_THAT(error_of(Tensor(1, 1, 0, Storage(-1))), HasSubstr("size"));
}

TEST(TorchPickleTest, RefusesATensorWhoseStorageIsToBeNegated) {
  const auto with = [](const std::string& metadata) {
    return Dictionary(Text("w") + Tensor(2, 1, 0, Storage(10), metadata));
  };
  for (const std::string none : {"", "N", "}"}) EXPECT_TRUE(ReadTorchPickle(with(none), "x").ok());
  EXPECT_THAT(ErrorOf(with(Items(Text("neg") + "\x88"))), HasSubstr("resolve_neg"));
}

TEST(TorchPickleTest, AnEmptyTensorNeedsNoStorage) {
  EXPECT_TRUE(ReadTorchPickle(Dictionary(Text("w") + Tensor(0, 1, 0, Storage(0))), "x").ok());
}

TEST(TorchPickleTest, RefusesAPickleThatEndsAnywhere) {
  const std::string whole = Dictionary(Text("w") + Tensor(3, 2, 5, Storage(10)));
  ASSERT_TRUE(ReadTorchPickle(whole, "x").ok());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) ErrorOf(whole.substr(0, bytes));
}

TEST(TorchPickleTest, DeepNestingAndCyclesCostNoStack) {
  const std::string deep(1'000'000, '\x85');
  EXPECT_THAT(ErrorOf(Pickle(std::string("N").append(deep))), HasSubstr("state_dict"));
  // A list that contains itself: BINPUT, BINGET, APPEND.
  EXPECT_THAT(ErrorOf(Pickle(std::string("]q\0h\0a", 6))), HasSubstr("state_dict"));
}

TEST(TorchPickleTest, BoundsTheNumberOfObjects) {
  EXPECT_THAT(ErrorOf(Pickle(std::string(5'000'000, 'N'))), HasSubstr("more"));
  EXPECT_THAT(ErrorOf(Pickle(std::string(5'000'000, '('))), HasSubstr("deeper"));
  EXPECT_THAT(ErrorOf(std::string(kMaxPickleBytes + 1, 'N')), HasSubstr("bytes"));
}

TEST(TorchPickleTest, BoundsTheNumberOfPlacesInTheMemo) {
  std::string code = "N";
  for (int place = 0; place < 5'000'000; ++place) {
    code.append("r").append(reinterpret_cast<const char*>(&place), sizeof(place));
  }
  EXPECT_THAT(ErrorOf(Pickle(code)), HasSubstr("more"));
}

TEST(TorchPickleTest, ALargeValueIsNotCopiedAgainAndAgain) {
  // A list of 2^16 times the same pair, of which 128 dictionaries are made. BINPUT 1 keeps the pair, BINPUT 0 the list.
  std::string code = std::string("NN\x86q\1]q\0(", 9);
  for (int i = 0; i < 1 << 16; ++i) code += "h\1";
  code += "e";
  for (int i = 0; i < 128; ++i) code += Name("collections", "OrderedDict") + std::string("h\0\x85R", 4);
  EXPECT_THAT(ErrorOf(Pickle(code)), HasSubstr("more"));
  const std::string long_name = std::string("X\0\x10\0\0", 5) + std::string(4096, 'k');
  const std::string storage =
      Tuple(Text("storage") + Name("torch", "FloatStorage") + long_name + Text("cpu") + Number(10)) + "Q";
  EXPECT_THAT(ErrorOf(Dictionary(Text("w") + Tensor(2, 1, 0, storage))), HasSubstr("storage"));
}

TEST(TorchPickleTest, SaysWhereNestedTensorsAre) {
  const std::string inner = Items(Text("w") + Tensor(3, 1, 0, Storage(10)));
  EXPECT_THAT(ErrorOf(Dictionary(Text("model") + inner)), HasSubstr("under the key \"model\""));
}

}  // namespace
}  // namespace regroup
