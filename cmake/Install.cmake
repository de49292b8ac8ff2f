# `cmake --install` installs everything below the prefix. Components: cli, coordinator, worker (includes the trainer).
#
#   bin                    the programs, which search their own folder for one another
#   lib/regroup            private: modules that the trainer and mpirun load at run time, and the shared libraries that it needs
#                          and that are in no system folder (libtorch, the dependencies of its wheel, and Apache Arrow)
#   lib/systemd, lib/sysusers.d, lib/tmpfiles.d    the services, their account and their folders
#   share/regroup          the proto files; the configuration that the services start with
#   share/man              manual pages of the programs that people start
#   share/doc              licences, the operations guide, example job files
include(GNUInstallDirs)
set(REGROUP_PRIVATE_LIBDIR lib/regroup)
set(_guide_folder ${CMAKE_INSTALL_DATADIR}/doc/regroup)

# regroup_install_program(<target> <component>)
function(regroup_install_program target component)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "")
  install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
endfunction()

# regroup_install_module(<target>): a module that the trainer or mpirun loads at run time.
function(regroup_install_module target)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS ${target} LIBRARY DESTINATION ${REGROUP_PRIVATE_LIBDIR} COMPONENT worker)
endfunction()

# regroup_install_service(<component>): installs the unit with the programs' paths below the prefix, and the files that
# declare its account and its folders. Each service has its own file with the same account, so that either can be
# installed without the other.
function(regroup_install_service component)
  set(source ${PROJECT_SOURCE_DIR}/deploy/systemd)
  install(CODE "
    file(READ ${source}/regroup-${component}.service unit)
    string(REPLACE /usr/ \"\${CMAKE_INSTALL_PREFIX}/\" unit \"\${unit}\")
    file(WRITE ${PROJECT_BINARY_DIR}/install/regroup-${component}.service \"\${unit}\")
    file(INSTALL ${PROJECT_BINARY_DIR}/install/regroup-${component}.service
         DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system\")
    file(READ ${source}/regroup-${component}.tmpfiles folders)
    string(REPLACE /usr/ \"\${CMAKE_INSTALL_PREFIX}/\" folders \"\${folders}\")
    file(WRITE ${PROJECT_BINARY_DIR}/install/regroup-${component}.conf \"\${folders}\")
    file(INSTALL ${PROJECT_BINARY_DIR}/install/regroup-${component}.conf
         DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/tmpfiles.d\")" COMPONENT ${component})
  install(FILES ${source}/regroup.sysusers DESTINATION lib/sysusers.d RENAME regroup-${component}.conf
          COMPONENT ${component})
  install(FILES ${source}/${component}.conf DESTINATION ${CMAKE_INSTALL_DATADIR}/regroup COMPONENT ${component})
endfunction()

# regroup_install_copyright(<component> <file>...): the licences of everything in a package.
function(regroup_install_copyright component)
  install(FILES ${ARGN} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/regroup-${component} COMPONENT ${component})
endfunction()

# regroup_install_man_page(<target> <component> <section>): the program writes its page from its own flags.
function(regroup_install_man_page target component section)
  set(page ${PROJECT_BINARY_DIR}/install/man/${target}.${section})
  install(CODE "
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/install/man)
    execute_process(COMMAND $<TARGET_FILE:${target}> --man-page OUTPUT_FILE ${page} COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND gzip --best --no-name --force ${page} COMMAND_ERROR_IS_FATAL ANY)
    file(INSTALL ${page}.gz DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_MANDIR}/man${section}\")"
    COMPONENT ${component})
endfunction()

regroup_install_program(regroup cli)
regroup_install_man_page(regroup cli 1)
install(CODE "
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/install/completion)
  execute_process(COMMAND $<TARGET_FILE:regroup> completion bash
                  OUTPUT_FILE ${PROJECT_BINARY_DIR}/install/completion/regroup COMMAND_ERROR_IS_FATAL ANY)
  file(INSTALL ${PROJECT_BINARY_DIR}/install/completion/regroup
       DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/bash-completion/completions\")" COMPONENT cli)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto/regroup ${PROJECT_SOURCE_DIR}/proto/google
        DESTINATION ${CMAKE_INSTALL_DATADIR}/regroup/proto COMPONENT cli FILES_MATCHING PATTERN *.proto)
install(FILES ${PROJECT_BINARY_DIR}/generated/regroup.pb DESTINATION ${CMAKE_INSTALL_DATADIR}/regroup/proto COMPONENT cli)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/SKILL.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md ${PROJECT_SOURCE_DIR}/SECURITY.md
              ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/deploy/OPERATIONS.md
        DESTINATION ${_guide_folder} COMPONENT cli)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/deploy/examples DESTINATION ${_guide_folder} COMPONENT cli)
regroup_install_copyright(cli ${PROJECT_SOURCE_DIR}/deploy/debian/copyright)

regroup_install_program(regroup-coordinator coordinator)
regroup_install_man_page(regroup-coordinator coordinator 8)
regroup_install_service(coordinator)
regroup_install_copyright(coordinator ${PROJECT_SOURCE_DIR}/deploy/debian/copyright)

regroup_install_program(regroup-worker worker)
regroup_install_man_page(regroup-worker worker 8)
regroup_install_program(regroup-rsh worker)
regroup_install_module(regroup_loopback)
regroup_install_service(worker)
regroup_install_copyright(worker ${PROJECT_SOURCE_DIR}/deploy/debian/copyright)
if(NOT REGROUP_TRAINER)
  return()
endif()

file(RELATIVE_PATH _private_from_bin /${CMAKE_INSTALL_BINDIR} /${REGROUP_PRIVATE_LIBDIR})
set_target_properties(regroup-trainer PROPERTIES INSTALL_RPATH "$ORIGIN/${_private_from_bin}")
install(TARGETS regroup-trainer RUNTIME_DEPENDENCY_SET regroup_trainer_libraries
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT worker)
regroup_install_module(regroup_sentencepiece_module)
if(TARGET regroup_parquet_module)
  set_target_properties(regroup_parquet_module PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS regroup_parquet_module RUNTIME_DEPENDENCY_SET regroup_trainer_libraries
          LIBRARY DESTINATION ${REGROUP_PRIVATE_LIBDIR} COMPONENT worker)
endif()
if(TARGET regroup_cuda_plugin)
  # Installed alone: its dependencies take gigabytes and are needed only on machines with a GPU (deploy/OPERATIONS.md).
  regroup_install_module(regroup_cuda_plugin)
endif()
# Installs the trainer's shared libraries from wherever they were linked, except those of the system's own packages.
# libtorch's libraries search their own folder for each other.
install(RUNTIME_DEPENDENCY_SET regroup_trainer_libraries
        PRE_EXCLUDE_REGEXES "^ld-linux" POST_EXCLUDE_REGEXES "^/lib" "^/usr/lib"
        LIBRARY DESTINATION ${REGROUP_PRIVATE_LIBDIR} COMPONENT worker)

# Installs their licences, which the wheels contain. A libtorch from elsewhere has its licence beside its libraries.
file(GLOB _torch_licences ${_site_packages}/torch-*.dist-info/licenses ${REGROUP_TORCH_PREFIX}/LICENSE)
if(NOT _torch_licences)
  message(WARNING "No licence was found beside libtorch: packages of this build must not be passed on")
endif()
file(GLOB _cuda_licences ${_site_packages}/nvidia_cuda_runtime-*.dist-info/licenses/License.txt)
install(DIRECTORY ${_torch_licences} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/regroup-worker COMPONENT worker)
install(FILES ${PROJECT_SOURCE_DIR}/deploy/debian/intel-onemkl.txt
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/regroup-worker/licenses RENAME INTEL-ONEMKL COMPONENT worker)
if(_cuda_licences)
  install(FILES ${_cuda_licences} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/regroup-worker/licenses
          RENAME NVIDIA-CUDA COMPONENT worker)
endif()
if(TARGET regroup_parquet_module)
  get_filename_component(_arrow_site_packages ${REGROUP_ARROW_PREFIX} DIRECTORY)
  file(GLOB _arrow_licences ${_arrow_site_packages}/pyarrow-*.dist-info/licenses/*.txt)
  install(FILES ${_arrow_licences} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/regroup-worker/licenses/arrow COMPONENT worker)
endif()
