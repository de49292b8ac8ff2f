# Finds every dependency of Regroup. Targets that other folders link:
#   regroup::grpc  regroup::json  regroup::sqlite  regroup::postgresql  regroup::sentencepiece  regroup::pcre2  regroup::lemon
#   regroup::torch  regroup::mpi  regroup::arrow (if it was found)
# and the imported targets of the packages' own configuration files.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(absl REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(Protobuf REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_program(REGROUP_PROTOC protoc REQUIRED)
find_program(REGROUP_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
find_program(REGROUP_CCACHE ccache)
if(REGROUP_CCACHE)
  # Paths are relative to the checkout, so that a second clone hits the cache; precompiled headers need the sloppiness.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=true
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${REGROUP_CCACHE})
endif()

add_library(regroup_grpc INTERFACE)
add_library(regroup::grpc ALIAS regroup_grpc)
target_link_libraries(regroup_grpc INTERFACE gRPC::grpc++ protobuf::libprotobuf)

function(regroup_pkg_config target module)
  pkg_check_modules(${target}_pc REQUIRED IMPORTED_TARGET ${module})
  add_library(regroup_${target} INTERFACE)
  add_library(regroup::${target} ALIAS regroup_${target})
  target_link_libraries(regroup_${target} INTERFACE PkgConfig::${target}_pc)
endfunction()

regroup_pkg_config(sqlite sqlite3)
regroup_pkg_config(postgresql libpq)
regroup_pkg_config(curl libcurl)
regroup_pkg_config(tinyxml2 tinyxml2)
regroup_pkg_config(json nlohmann_json)

regroup_pkg_config(sentencepiece sentencepiece)
regroup_pkg_config(pcre2 libpcre2-8)
regroup_pkg_config(icu icu-uc)
regroup_pkg_config(sndfile sndfile)
regroup_pkg_config(zlib zlib)
regroup_pkg_config(zstd libzstd)
include(FindArrow)

if(REGROUP_TRAINER)
  include(FindLibtorch)
  include(FindCudaAndNccl)
  # Headers alone, without LEMON's library, which drags in solvers of linear programs.
  find_path(REGROUP_LEMON_INCLUDE lemon/matching.h REQUIRED DOC "Folder with LEMON's headers")
  add_library(regroup_lemon INTERFACE)
  add_library(regroup::lemon ALIAS regroup_lemon)
  target_include_directories(regroup_lemon SYSTEM INTERFACE ${REGROUP_LEMON_INCLUDE})
  target_compile_definitions(regroup_lemon INTERFACE LEMON_ONLY_TEMPLATES)
  find_package(MPI REQUIRED COMPONENTS C)
  add_library(regroup_mpi INTERFACE)
  add_library(regroup::mpi ALIAS regroup_mpi)
  target_link_libraries(regroup_mpi INTERFACE MPI::MPI_C)
  # Uses the C interface only: the C++ interface was removed from the standard and needs a separate library.
  target_compile_definitions(regroup_mpi INTERFACE OMPI_SKIP_MPICXX=1)
endif()

if(REGROUP_TESTS)
  find_package(GTest REQUIRED)
endif()
