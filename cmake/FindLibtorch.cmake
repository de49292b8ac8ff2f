# Finds libtorch in a pip wheel or in any prefix that has include/ and lib/.
#
# REGROUP_TORCH_PREFIX names the folder (…/site-packages/torch or an unpacked libtorch). By default it is searched for
# in build/venv, where the install script puts it. Only libtorch_cpu and libc10 are linked: a machine without a GPU
# needs none of the CUDA libraries except the two small ones that libtorch_cpu itself depends on (cudart and cupti). The
# plug-in in trainer/parallel loads the CUDA libraries at run time.
if(NOT REGROUP_TORCH_PREFIX)
  file(GLOB _torch_candidates ${PROJECT_SOURCE_DIR}/build/venv/lib/python3*/site-packages/torch)
  list(APPEND _torch_candidates /opt/libtorch /usr/local/libtorch)
  find_path(REGROUP_TORCH_PREFIX NAMES include/ATen/ATen.h HINTS ${_torch_candidates} NO_DEFAULT_PATH
            DOC "Folder with libtorch's include/ and lib/")
endif()
if(NOT REGROUP_TORCH_PREFIX)
  message(FATAL_ERROR "libtorch was not found. Run deploy/install.sh, or set -DREGROUP_TORCH_PREFIX=<folder with include/ and lib/>.")
endif()

file(READ ${REGROUP_TORCH_PREFIX}/include/torch/headeronly/version.h _torch_version)
string(REGEX REPLACE ".*VERSION_MAJOR ([0-9]+).*VERSION_MINOR ([0-9]+).*VERSION_PATCH ([0-9]+).*" "\\1.\\2.\\3"
       REGROUP_TORCH_VERSION "${_torch_version}")
message(STATUS "libtorch ${REGROUP_TORCH_VERSION} in ${REGROUP_TORCH_PREFIX}")

set(_torch_lib ${REGROUP_TORCH_PREFIX}/lib)
get_filename_component(_site_packages ${REGROUP_TORCH_PREFIX} DIRECTORY)
file(GLOB _wheel_libs ${_site_packages}/nvidia/*/lib)

add_library(regroup_torch INTERFACE)
add_library(regroup::torch ALIAS regroup_torch)
# Searched after every other include folder, because the wheel ships different google/protobuf headers of its own.
target_compile_options(regroup_torch INTERFACE
  "SHELL:-idirafter ${REGROUP_TORCH_PREFIX}/include"
  "SHELL:-idirafter ${REGROUP_TORCH_PREFIX}/include/torch/csrc/api/include")
target_link_libraries(regroup_torch INTERFACE ${_torch_lib}/libtorch_cpu.so ${_torch_lib}/libc10.so)

# at::parallel_for is a template: if the file that calls it is compiled without -fopenmp, it silently runs on one
# thread. regroup_parallel_sources(<file>...) sets the flag for the files; they link libtorch's own OpenMP runtime, so
# that there is only one thread pool.
file(GLOB _torch_gomp ${_torch_lib}/libgomp*.so*)
if(_torch_gomp)
  list(GET _torch_gomp 0 _torch_gomp)
  target_link_libraries(regroup_torch INTERFACE ${_torch_gomp})
else()
  target_link_options(regroup_torch INTERFACE -fopenmp)
endif()
function(regroup_parallel_sources)
  # The shared precompiled header was compiled without this flag, so these files cannot use it.
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -fopenmp SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# For the linker alone. At run time programs in the build folder find libtorch where they were linked with it, which CMake
# sees to, and libtorch finds the rest by its own RPATH; what is installed looks into lib/regroup (cmake/Install.cmake).
foreach(_folder IN LISTS _torch_lib _wheel_libs)
  target_link_options(regroup_torch INTERFACE "LINKER:-rpath-link,${_folder}")
endforeach()
