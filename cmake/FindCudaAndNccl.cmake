# Finds what the GPU plug-in needs: libtorch_cuda, the CUDA runtime's headers and NCCL, from pip wheels or a toolkit.
# Defines regroup::cuda, unless REGROUP_CUDA is OFF, or AUTO and something is missing.
if(NOT REGROUP_CUDA STREQUAL "OFF")
  file(GLOB _nccl_hints ${_site_packages}/nvidia/nccl)
  find_path(REGROUP_NCCL_INCLUDE nccl.h HINTS ${_nccl_hints}/include)
  find_library(REGROUP_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${_nccl_hints}/lib)
  file(GLOB _cuda_hints ${_site_packages}/nvidia/cu13/include /usr/local/cuda/include)
  # The CUDA runtime's wheel has the API header but lacks the crt folder that it includes, so search for the latter.
  find_path(REGROUP_CUDA_INCLUDE crt/host_defines.h HINTS ${_cuda_hints})
  find_path(REGROUP_CUSPARSE_INCLUDE cusparse.h HINTS ${_cuda_hints})
  find_library(REGROUP_TORCH_CUDA torch_cuda HINTS ${REGROUP_TORCH_PREFIX}/lib NO_DEFAULT_PATH)
  if(REGROUP_NCCL_INCLUDE AND REGROUP_NCCL_LIBRARY AND REGROUP_CUDA_INCLUDE AND REGROUP_CUSPARSE_INCLUDE AND
     REGROUP_TORCH_CUDA)
    message(STATUS "GPU plug-in: NCCL in ${REGROUP_NCCL_LIBRARY}, CUDA headers in ${REGROUP_CUDA_INCLUDE}")
    add_library(regroup_cuda INTERFACE)
    add_library(regroup::cuda ALIAS regroup_cuda)
    target_include_directories(regroup_cuda SYSTEM INTERFACE
      ${REGROUP_NCCL_INCLUDE} ${REGROUP_CUDA_INCLUDE} ${REGROUP_CUSPARSE_INCLUDE})
    # The libraries that libtorch_cuda itself needs exist on a machine with a GPU; building must not ask for them.
    target_link_options(regroup_cuda INTERFACE LINKER:--no-as-needed LINKER:--unresolved-symbols=ignore-in-shared-libs)
    target_link_libraries(regroup_cuda INTERFACE regroup::torch ${REGROUP_TORCH_CUDA}
      ${REGROUP_TORCH_PREFIX}/lib/libc10_cuda.so ${REGROUP_NCCL_LIBRARY})
  elseif(REGROUP_CUDA STREQUAL "ON")
    message(FATAL_ERROR "REGROUP_CUDA is ON, but nccl.h, the CUDA headers or libtorch_cuda was not found. Run deploy/install.sh --with-nccl.")
  else()
    message(STATUS "GPU plug-in: not built (no NCCL or no CUDA headers)")
  endif()
endif()
