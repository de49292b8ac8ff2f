// The module libregroup_parquet.so: implements ParquetRows with the libraries arrow and parquet.
#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/io/interfaces.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "trainer/data/parquet/parquet_rows.h"

namespace regroup {
namespace {

using arrow::Type;
using Json = nlohmann::ordered_json;

constexpr int64_t kRowsAtOnce = 64;
constexpr int64_t kBufferBytes = int64_t{1} << 20;
constexpr int kMostLevels = 32;

bool IsPlain(Type::type type) {
  return type == Type::BOOL || arrow::is_integer(type) || type == Type::FLOAT || type == Type::DOUBLE;
}
bool IsText(Type::type type) { return type == Type::STRING || type == Type::LARGE_STRING || type == Type::STRING_VIEW; }
bool IsList(Type::type type) { return type == Type::LIST || type == Type::LARGE_LIST || type == Type::FIXED_SIZE_LIST; }

/// Returns true for the types of columns that become a field.
bool IsRead(const arrow::DataType& type, int level = 0) {
  if (level > kMostLevels) return false;
  if (IsText(type.id()) || IsPlain(type.id()) || type.id() == Type::NA) return true;
  if (type.id() == Type::DICTIONARY) {
    return IsRead(*static_cast<const arrow::DictionaryType&>(type).value_type(), level + 1);
  }
  if (IsList(type.id())) {
    const arrow::DataType& items = *type.field(0)->type();
    return !IsPlain(items.id()) && IsRead(items, level + 1);
  }
  return type.id() == Type::STRUCT;
}

Json ValueOf(const arrow::Array& array, int64_t row, int level);

template <typename ListArray>
Json ItemsOf(const ListArray& array, int64_t row, int level) {
  Json items = Json::array();
  for (int64_t item = 0; item < array.value_length(row); ++item) {
    items.push_back(ValueOf(*array.values(), array.value_offset(row) + item, level + 1));
  }
  return items;
}

Json FieldsOf(const arrow::StructArray& array, int64_t row, int level) {
  Json fields = Json::object();
  for (int index = 0; index < array.num_fields(); ++index) {
    const arrow::Field& field = *array.struct_type()->field(index);
    if (IsRead(*field.type(), level + 1)) fields[field.name()] = ValueOf(*array.field(index), row, level + 1);
  }
  return fields;
}

template <typename ArrayType>
const ArrayType& As(const arrow::Array& array) {
  return static_cast<const ArrayType&>(array);
}

/// Returns a value of a column whose type IsRead.
Json ValueOf(const arrow::Array& array, int64_t row, int level) {
  if (array.IsNull(row)) return nullptr;
  switch (array.type_id()) {
    case Type::STRING:
      return As<arrow::StringArray>(array).GetView(row);
    case Type::LARGE_STRING:
      return As<arrow::LargeStringArray>(array).GetView(row);
    case Type::STRING_VIEW:
      return As<arrow::StringViewArray>(array).GetView(row);
    case Type::DICTIONARY: {
      const auto& values = As<arrow::DictionaryArray>(array);
      return ValueOf(*values.dictionary(), values.GetValueIndex(row), level + 1);
    }
    case Type::BOOL:
      return As<arrow::BooleanArray>(array).Value(row);
    case Type::INT8:
      return As<arrow::Int8Array>(array).Value(row);
    case Type::INT16:
      return As<arrow::Int16Array>(array).Value(row);
    case Type::INT32:
      return As<arrow::Int32Array>(array).Value(row);
    case Type::INT64:
      return As<arrow::Int64Array>(array).Value(row);
    case Type::UINT8:
      return As<arrow::UInt8Array>(array).Value(row);
    case Type::UINT16:
      return As<arrow::UInt16Array>(array).Value(row);
    case Type::UINT32:
      return As<arrow::UInt32Array>(array).Value(row);
    case Type::UINT64:
      return As<arrow::UInt64Array>(array).Value(row);
    case Type::FLOAT:
      return As<arrow::FloatArray>(array).Value(row);
    case Type::DOUBLE:
      return As<arrow::DoubleArray>(array).Value(row);
    case Type::LIST:
      return ItemsOf(As<arrow::ListArray>(array), row, level);
    case Type::LARGE_LIST:
      return ItemsOf(As<arrow::LargeListArray>(array), row, level);
    case Type::FIXED_SIZE_LIST:
      return ItemsOf(As<arrow::FixedSizeListArray>(array), row, level);
    case Type::STRUCT:
      return FieldsOf(As<arrow::StructArray>(array), row, level);
    default:
      return nullptr;
  }
}

/// The file as Arrow reads it: by the caller's function.
class CallersFile final : public arrow::io::RandomAccessFile {
 public:
  CallersFile(uint64_t bytes, ReadBytesAt read, arrow::MemoryPool* pool)
      : bytes_(static_cast<int64_t>(bytes)), read_(std::move(read)), pool_(pool) {}

  arrow::Status Close() override { return arrow::Status::OK(); }
  bool closed() const override { return false; }
  arrow::Result<int64_t> Tell() const override { return position_; }
  arrow::Result<int64_t> GetSize() override { return bytes_; }
  arrow::Status Seek(int64_t position) override {
    position_ = position;
    return arrow::Status::OK();
  }
  arrow::Result<int64_t> Read(int64_t count, void* buffer) override {
    ARROW_ASSIGN_OR_RAISE(const int64_t got, ReadAt(position_, count, buffer));
    position_ += got;
    return got;
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(int64_t count) override {
    ARROW_ASSIGN_OR_RAISE(auto buffer, ReadAt(position_, count));
    position_ += buffer->size();
    return buffer;
  }
  arrow::Result<int64_t> ReadAt(int64_t offset, int64_t count, void* buffer) override {
    if (offset < 0 || count < 0 || offset > bytes_) return arrow::Status::IOError("a position beyond the file's end");
    count = std::min(count, bytes_ - offset);
    const std::string error =
        read_(static_cast<uint64_t>(offset), static_cast<char*>(buffer), static_cast<size_t>(count));
    if (!error.empty()) return arrow::Status::IOError(error);
    return count;
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(int64_t offset, int64_t count) override {
    if (offset < 0 || count < 0 || offset > bytes_) return arrow::Status::IOError("a position beyond the file's end");
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer,
                          arrow::AllocateBuffer(std::min(count, bytes_ - offset), pool_));
    ARROW_RETURN_NOT_OK(ReadAt(offset, buffer->size(), buffer->mutable_data()).status());
    return buffer;
  }

 private:
  int64_t bytes_;
  ReadBytesAt read_;
  arrow::MemoryPool* pool_;
  int64_t position_ = 0;
};

class ArrowRows final : public ParquetRows {
 public:
  arrow::Status Open(uint64_t bytes, ReadBytesAt read) {
    parquet::ReaderProperties properties(&pool_);
    // Pages are read one after another; without this, a whole column of a row group would be.
    properties.enable_buffered_stream();
    properties.set_buffer_size(kBufferBytes);
    properties.set_page_checksum_verification(true);
    parquet::ArrowReaderProperties arrow_properties(/*use_threads=*/false);
    arrow_properties.set_batch_size(kRowsAtOnce);
    arrow_properties.set_pre_buffer(false);
    auto file = std::make_shared<CallersFile>(bytes, std::move(read), &pool_);
    ARROW_ASSIGN_OR_RAISE(
        reader_, parquet::arrow::FileReader::Make(&pool_, parquet::ParquetFileReader::Open(std::move(file), properties),
                                                  arrow_properties));
    rows_ = reader_->parquet_reader()->metadata()->num_rows();
    std::vector<int> groups;
    for (int group = 0; group < reader_->num_row_groups(); ++group) groups.push_back(group);
    ARROW_ASSIGN_OR_RAISE(batches_, reader_->GetRecordBatchReader(groups, LeavesOfReadColumns()));
    return arrow::Status::OK();
  }

  bool Next(std::string& line, std::string& error) override {
    const arrow::Status status = Guarded([&] { return AppendRow(line); });
    if (!status.ok()) error = Explain(status);
    return status.ok() && !line.empty();
  }

  double progress() const override {
    return rows_ <= 0 ? 1 : std::min(1.0, static_cast<double>(rows_read_) / static_cast<double>(rows_));
  }

  /// Runs a function of this class; what the library throws becomes a status.
  template <typename Function>
  static arrow::Status Guarded(const Function& function) {
    try {
      return function();
    } catch (const std::bad_alloc&) {
      return arrow::Status::OutOfMemory("no memory is left");
    } catch (const std::exception& exception) {
      return arrow::Status::Invalid(exception.what());
    }
  }

  static std::string Explain(const arrow::Status& status) {
    if (!status.IsOutOfMemory()) return status.message();
    return "a page, or a few rows, need more than " + std::to_string(kMostParquetMemory >> 20) + " MiB of memory";
  }

 private:
  std::vector<int> LeavesOfReadColumns() const {
    std::vector<int> leaves;
    for (const parquet::arrow::SchemaField& field : reader_->manifest().schema_fields) {
      if (IsRead(*field.field->type())) AddLeaves(field, leaves);
    }
    return leaves;
  }

  static void AddLeaves(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
    if (field.is_leaf()) leaves.push_back(field.column_index);
    for (const parquet::arrow::SchemaField& child : field.children) AddLeaves(child, leaves);
  }

  arrow::Status AppendRow(std::string& line) {
    while (batch_ == nullptr || row_ == batch_->num_rows()) {
      row_ = 0;
      ARROW_RETURN_NOT_OK(batches_->ReadNext(&batch_));
      if (batch_ == nullptr) return arrow::Status::OK();
      ARROW_RETURN_NOT_OK(batch_->Validate());
    }
    Json object = Json::object();
    for (int column = 0; column < batch_->num_columns(); ++column) {
      object[batch_->column_name(column)] = ValueOf(*batch_->column(column), row_, 0);
    }
    ++row_;
    ++rows_read_;
    try {
      line += object.dump();
    } catch (const Json::type_error&) {
      return arrow::Status::Invalid("row " + std::to_string(rows_read_) + " has text that is not UTF-8");
    }
    return arrow::Status::OK();
  }

  std::unique_ptr<arrow::MemoryPool> memory_ = arrow::MemoryPool::CreateDefault();
  arrow::CappedMemoryPool pool_{memory_.get(), kMostParquetMemory};
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t row_ = 0, rows_ = 0, rows_read_ = 0;
};

}  // namespace
}  // namespace regroup

extern "C" regroup::ParquetRows* RegroupOpenParquet(uint64_t bytes, regroup::ReadBytesAt read, std::string& error) {
  auto rows = std::make_unique<regroup::ArrowRows>();
  const arrow::Status status = rows->Guarded([&] { return rows->Open(bytes, std::move(read)); });
  if (status.ok()) return rows.release();
  error = regroup::ArrowRows::Explain(status);
  return nullptr;
}
