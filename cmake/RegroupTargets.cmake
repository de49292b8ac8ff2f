# How Regroup declares targets. Sources are always listed; nothing is globbed.

add_library(regroup_options INTERFACE)
target_include_directories(regroup_options INTERFACE ${PROJECT_SOURCE_DIR})
# -pthread everywhere: a precompiled header is used only where the threading macros are the same.
target_compile_options(regroup_options INTERFACE -pthread -fpch-preprocess -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers
  $<$<BOOL:${REGROUP_SANITIZE}>:-fsanitize=${REGROUP_SANITIZE};-fno-omit-frame-pointer>)
target_link_libraries(regroup_options INTERFACE Threads::Threads)
target_link_options(regroup_options INTERFACE $<$<BOOL:${REGROUP_SANITIZE}>:-fsanitize=${REGROUP_SANITIZE}>)

# regroup_library(<name> SOURCES <file>... [DEPS <target>...])
function(regroup_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC regroup_options ${arg_DEPS})
endfunction()

# regroup_torch_library(...): the same, on libtorch with its shared precompiled header.
function(regroup_torch_library name)
  regroup_library(${name} ${ARGN})
  target_link_libraries(${name} PUBLIC regroup::torch)
  regroup_use_torch_pch(${name})
endfunction()

# regroup_program(<name> SOURCES <file>... [DEPS <target>...])
function(regroup_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE regroup_options ${arg_DEPS})
endfunction()

# regroup_test(<name> SOURCES <file>... [DEPS <target>...] [LABELS fast|slow ...] [TORCH] [TIMEOUT <seconds>])
# A GoogleTest program of its own, registered as one ctest entry per case.
function(regroup_test name)
  cmake_parse_arguments(arg "TORCH" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE regroup_options ${arg_DEPS} GTest::gmock GTest::gtest_main)
  if(arg_TORCH)
    target_link_libraries(${name} PRIVATE regroup::torch)
    regroup_use_torch_pch(${name})
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS fast)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
endfunction()

# libtorch's headers cost most of a file's compile time; one precompiled header serves every torch target.
function(regroup_use_torch_pch name)
  if(NOT TARGET regroup_torch_pch)
    file(WRITE ${PROJECT_BINARY_DIR}/torch_pch.cc "// Holds the precompiled header that every torch target reuses.\n")
    add_library(regroup_torch_pch STATIC ${PROJECT_BINARY_DIR}/torch_pch.cc)
    target_link_libraries(regroup_torch_pch PUBLIC regroup_options regroup::torch)
    target_precompile_headers(regroup_torch_pch PRIVATE <ATen/ATen.h> <torch/csrc/autograd/custom_function.h>
      <torch/csrc/autograd/autograd.h> <string> <vector> <map> <memory> <optional> <functional>)
  endif()
  target_precompile_headers(${name} REUSE_FROM regroup_torch_pch)
endfunction()
