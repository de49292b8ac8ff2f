# Finds the libraries arrow and parquet of Apache Arrow, which Debian 12 does not package, in a pip wheel.
#
# REGROUP_ARROW_PREFIX names the folder (…/site-packages/pyarrow, with include/ and the libraries). By default it is
# searched for in build/venv, where the install script puts it. Without it, Regroup reads no Parquet and says so.
if(NOT REGROUP_ARROW_PREFIX)
  file(GLOB _arrow_candidates ${PROJECT_SOURCE_DIR}/build/venv/lib/python3*/site-packages/pyarrow)
  find_path(REGROUP_ARROW_PREFIX NAMES include/parquet/arrow/reader.h HINTS ${_arrow_candidates} NO_DEFAULT_PATH
            DOC "Folder with include/ and the libraries of Apache Arrow")
endif()
# Their names end with a version, which find_library does not look for.
file(GLOB _arrow_library ${REGROUP_ARROW_PREFIX}/libarrow.so.*)
file(GLOB _parquet_library ${REGROUP_ARROW_PREFIX}/libparquet.so.*)
if(REGROUP_ARROW_PREFIX AND _arrow_library AND _parquet_library)
  message(STATUS "Apache Arrow in ${REGROUP_ARROW_PREFIX}")
  add_library(regroup_arrow INTERFACE)
  add_library(regroup::arrow ALIAS regroup_arrow)
  target_include_directories(regroup_arrow SYSTEM INTERFACE ${REGROUP_ARROW_PREFIX}/include)
  target_link_libraries(regroup_arrow INTERFACE ${_parquet_library} ${_arrow_library})
else()
  message(STATUS "Apache Arrow was not found: Parquet files will be refused. deploy/install.sh installs it.")
endif()
