// A device of type CUDA on a machine without one. Every operator runs as the CPU's kernel does, after a check that all
// its tensors lie on one device, as a GPU's kernels demand.
//
// Flash attention, which exists for CUDA alone, is in flash_attention.cc. Not pretended: other kernels of that kind,
// the order of streams (fake_runtime has those), and speed.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/fake_gpu/device_memory.h"

namespace regroup::fake_gpu {
namespace {

/// There is one stream a GPU, and work on it is done when it is queued.
class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    UseGpu(device.index());
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, CurrentGpu()}; }
  void setDevice(c10::Device device) const override { UseGpu(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { UseGpu(device.index()); }
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return c10::Stream(c10::Stream::DEFAULT, stream.device());
  }
  c10::DeviceIndex deviceCount() const noexcept override { return GpuCount(); }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    static int recorded = 0;
    *event = &recorded;
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

class PinnedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* const start = std::malloc(bytes + 64);
    return {start, start, std::free, c10::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

c10::Allocator* PinnedMemory() {
  static PinnedAllocator allocator;
  return &allocator;
}

[[maybe_unused]] const bool kAllocatorIsSet = [] {
  c10::SetAllocator(c10::kCUDA, Memory());
  return true;
}();

/// Tensors that a GPU's kernels take from the CPU too: scalars, and the operators that move data.
bool MayMixDevices(std::string_view name) {
  constexpr std::array<std::string_view, 5> kMixing = {"aten::index.Tensor", "aten::index_put_",
                                                       "aten::_index_put_impl_", "aten::_copy_from_and_resize",
                                                       "aten::set_.source_Storage"};
  return std::find(kMixing.begin(), kMixing.end(), name) != kMixing.end();
}

/// Insists on one device for all tensors of a call.
class OneDevice {
 public:
  explicit OneDevice(const c10::FunctionSchema& schema) : name_(toString(schema.operator_name())) {}

  void See(const at::Tensor& tensor) {
    if (!tensor.defined() || (tensor.dim() == 0 && tensor.is_cpu())) return;
    if (seen_.has_value() && *seen_ != tensor.device() && !MayMixDevices(name_)) {
      TORCH_CHECK(false, "Expected all tensors to be on the same device, but ", name_, " got ", *seen_, " and ",
                  tensor.device());
    }
    seen_ = tensor.device();
  }

  void See(const c10::IValue& value) {
    if (value.isTensor()) return See(value.toTensor());
    if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) See(tensor);
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) See(tensor.value_or(at::Tensor()));
    }
  }

 private:
  const std::string name_;
  std::optional<at::Device> seen_;
};

void RunOnCpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  OneDevice device(op.schema());
  for (const c10::IValue& value : torch::jit::last(*stack, op.schema().arguments().size())) device.See(value);
  at::native::cpu_fallback(op, stack);
}

at::Tensor& Copy(at::Tensor& self, const at::Tensor& source, bool /*non_blocking*/) {
  const at::NoGradGuard no_gradients;
  if (self.numel() == 0) return self;
  const at::Tensor from = source.expand(self.sizes());
  const Opened to_open(self), from_open(from);
  at::Tensor to = OnHost(self);
  to.copy_(OnHost(from));
  return self;
}

at::Tensor CopyFromAndResize(const at::Tensor& self, const at::Tensor& destination) {
  at::Tensor to = destination;
  if (to.sizes() != self.sizes()) to.resize_(self.sizes());
  Copy(to, self, false);
  return destination;
}

at::Tensor Empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::DeviceGuard guard(*device);
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), Memory(), c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor EmptyStrided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                        std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  const c10::DeviceGuard guard(*device);
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), Memory(),
                                           c10::DispatchKeySet(c10::DispatchKey::CUDA), c10::dtype_or_default(dtype));
}

const at::Tensor& Resize(const at::Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  const at::IntArrayRef sizes = C10_AS_INTARRAYREF_SLOW(size);
  const size_t bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * self.element_size();
  if (bytes > self.storage().nbytes()) {
    const c10::DeviceGuard guard(self.device());
    self.storage().set_data_ptr_noswap(Memory()->allocate(bytes));
    self.storage().unsafeGetStorageImpl()->set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return self;
}

bool IsPinned(const at::Tensor&, std::optional<at::Device>) { return false; }

void RecordStream(at::Tensor&, c10::Stream) {}

/// 0 is the way without a fused kernel.
int64_t ChooseAttention(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                        double, bool, std::optional<double>, bool) {
  return 0;
}

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&RunOnCpu>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", Empty);
  library.impl("empty_strided", EmptyStrided);
  library.impl("copy_", Copy);
  library.impl("_copy_from_and_resize", CopyFromAndResize);
  library.impl("resize_", Resize);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("unfold", at::native::unfold);
  library.impl("is_pinned", IsPinned);
  library.impl("record_stream", RecordStream);
  library.impl("_fused_sdp_choice", ChooseAttention);
}

}  // namespace
}  // namespace regroup::fake_gpu

namespace at {
namespace {

/// Answers libtorch's questions about CUDA.
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex current_device() const override { return regroup::fake_gpu::CurrentGpu(); }
  DeviceIndex deviceCount() const override { return regroup::fake_gpu::GpuCount(); }
  int getNumGPUs() const override { return regroup::fake_gpu::GpuCount(); }
  Allocator* getPinnedMemoryAllocator() const override { return regroup::fake_gpu::PinnedMemory(); }
  Allocator* getCUDADeviceAllocator() const override { return regroup::fake_gpu::Memory(); }
  const Generator& getDefaultGenerator(DeviceIndex) const override {
    static const Generator generator = detail::createCPUGenerator();
    return generator;
  }
};
REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace
}  // namespace at
