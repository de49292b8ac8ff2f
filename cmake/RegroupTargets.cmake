# Functions that declare Regroup's targets. Sources are always listed; nothing is globbed.

add_library(regroup_options INTERFACE)
target_include_directories(regroup_options INTERFACE ${PROJECT_SOURCE_DIR})
# -pthread is set everywhere: a precompiled header is used only if the threading macros are the same.
target_compile_options(regroup_options INTERFACE -pthread -fpch-preprocess -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers)
target_link_libraries(regroup_options INTERFACE Threads::Threads)
if(REGROUP_SANITIZE)
  target_compile_options(regroup_options INTERFACE -fsanitize=${REGROUP_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(regroup_options INTERFACE -fsanitize=${REGROUP_SANITIZE})
endif()

# regroup_library(<name> SOURCES <file>... [DEPS <target>...])
function(regroup_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC regroup_options ${arg_DEPS})
endfunction()

# regroup_torch_library(...) does the same for a library on libtorch, with the shared precompiled header. It does
# nothing if the trainer is not built.
function(regroup_torch_library name)
  if(NOT REGROUP_TRAINER)
    return()
  endif()
  regroup_library(${name} ${ARGN})
  target_link_libraries(${name} PUBLIC regroup::torch)
  regroup_use_torch_pch(${name})
endfunction()

# regroup_word_table(<word>... DECLARATION <text> ENTRY <text>)
# For tables made from a list of words: sets table_declarations and table_entries in the caller, the texts of all words
# one after the other (a semicolon behind each declaration), with the word in place of @word@ and @Word@, there its first
# letter a capital.
function(regroup_word_table)
  cmake_parse_arguments(arg "" "DECLARATION;ENTRY" "" ${ARGN})
  set(declarations "")
  set(entries "")
  foreach(word IN LISTS arg_UNPARSED_ARGUMENTS)
    string(SUBSTRING ${word} 0 1 first)
    string(TOUPPER ${first} first)
    string(SUBSTRING ${word} 1 -1 rest)
    string(REPLACE "@Word@" ${first}${rest} declaration "${arg_DECLARATION}")
    string(REPLACE "@Word@" ${first}${rest} entry "${arg_ENTRY}")
    string(REPLACE "@word@" ${word} entry "${entry}")
    string(APPEND declarations "${declaration};\n")
    string(APPEND entries "${entry}, ")
  endforeach()
  set(table_declarations "${declarations}" PARENT_SCOPE)
  set(table_entries "${entries}" PARENT_SCOPE)
endfunction()

# regroup_program(<name> SOURCES <file>... [DEPS <target>...])
function(regroup_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE regroup_options ${arg_DEPS})
endfunction()

# The machine's half cores, as tests/run.sh hands them out. A test's PROCESSORS counts half cores, so that tests that
# mostly wait can run beside others.
set(REGROUP_ALL_HALF_CORES 4)

# The environment of a test that computes beside another. OpenMP's threads wait for one another by spinning: with more
# threads than cores, and above all with several ranks in one process, every parallel loop may last a time slice.
set(REGROUP_ONE_THREAD OMP_NUM_THREADS=1)

# regroup_test(<name> SOURCES <file>... [DEPS <target>...] [LABELS fast|slow ...] [TORCH] [TIMEOUT <seconds>])
# Declares a GoogleTest program and registers it as one ctest entry. A TORCH test is left out without the trainer.
function(regroup_test name)
  cmake_parse_arguments(arg "TORCH" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(arg_TORCH AND NOT REGROUP_TRAINER)
    return()
  endif()
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
  if(NOT arg_TORCH)
    # Headers of gRPC, protobuf and GoogleTest take most of a file's compile time: up to six test files share one
    # compilation. With libtorch the precompiled header does the same.
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} PROCESSORS 2
                       ENVIRONMENT ${REGROUP_ONE_THREAD})
endfunction()

# Most of a file's compile time goes into libtorch's headers, so all torch targets share one precompiled header.
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
