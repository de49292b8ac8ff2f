# Declares the Debian packages, one per component of cmake/Install.cmake. Build them with cpack -G DEB in the build folder
# or with deploy/package.sh.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME regroup)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
# Each package has its own summary; CPack indents the lines that follow it.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_PACKAGE_CONTACT "The authors of Regroup")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_COMPONENTS_ALL cli coordinator worker)
# The licences of some of the bundled libraries allow them to be passed on only as they are.
set(CPACK_STRIP_FILES OFF)
set(CPACK_THREADS 0)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# Derives the dependencies on system packages from the libraries that the programs are linked with. Private libraries
# are found where they were linked from, and belong to no package.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
if(REGROUP_TRAINER)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${_torch_lib} ${_wheel_libs} ${REGROUP_ARROW_PREFIX})
endif()

set(CPACK_DEBIAN_CLI_PACKAGE_NAME regroup-cli)
set(CPACK_COMPONENT_CLI_DESCRIPTION "Convert multi-head-attention models to grouped-query attention: command line
The program regroup submits jobs to a coordinator and follows them. With regroup-coordinator and regroup-worker beside
it, regroup run converts a model on this machine alone. Also contains the operations guide and the proto files.")
set(CPACK_DEBIAN_CLI_PACKAGE_DEPENDS ca-certificates)
set(CPACK_DEBIAN_CLI_PACKAGE_RECOMMENDS bash-completion)
set(CPACK_DEBIAN_CLI_PACKAGE_SUGGESTS "regroup-coordinator, regroup-worker")

# Programs of one version work together; the command line is how an operator talks to both services.
set(_same_version "regroup-cli (= ${PROJECT_VERSION})")
# The stand-alone programs are for systems without systemd; systemd provides them otherwise.
set(_account "systemd-standalone-sysusers | systemd-sysusers, systemd-standalone-tmpfiles | systemd-tmpfiles")

set(CPACK_DEBIAN_COORDINATOR_PACKAGE_NAME regroup-coordinator)
set(CPACK_COMPONENT_COORDINATOR_DESCRIPTION "Convert multi-head-attention models to grouped-query attention: coordinator
The service that accepts jobs, splits them into tasks, assigns these to workers and stores everything in SQLite or
PostgreSQL. Not started by the installation: settings are in /etc/regroup/coordinator.conf.")
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_DEPENDS "${_same_version}, ${_account}")
# The worker package's trainer computes `regroup plan --remote` for the coordinator.
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_SUGGESTS "regroup-worker, postgresql")

set(CPACK_DEBIAN_WORKER_PACKAGE_NAME regroup-worker)
set(CPACK_COMPONENT_WORKER_DESCRIPTION "Convert multi-head-attention models to grouped-query attention: worker, trainer
The service that runs a coordinator's tasks on this machine, and the trainer that it starts, with the libtorch that it
was built with. Not started by the installation: settings are in /etc/regroup/worker.conf.")
set(CPACK_DEBIAN_WORKER_PACKAGE_DEPENDS "${_same_version}, ${_account}, openmpi-bin")

foreach(component coordinator worker)
  string(TOUPPER ${component} _upper)
  set(_scripts "")
  foreach(script postinst prerm postrm)
    configure_file(${PROJECT_SOURCE_DIR}/deploy/debian/${script}.in ${PROJECT_BINARY_DIR}/debian/${component}/${script}
                   @ONLY FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
    list(APPEND _scripts ${PROJECT_BINARY_DIR}/debian/${component}/${script})
  endforeach()
  set(CPACK_DEBIAN_${_upper}_PACKAGE_CONTROL_EXTRA ${_scripts})
endforeach()
include(CPack)
