# What `cmake --install build --component cpp` installs: the shared library, its headers, and what
# find_package(coregrad) and pkg-config look for.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(COREGRAD_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/coregrad")
install(TARGETS coregrad_shared EXPORT coregradTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT cpp)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/coregrad" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  COMPONENT cpp)
install(EXPORT coregradTargets NAMESPACE coregrad:: DESTINATION "${COREGRAD_CMAKE_DIR}"
  FILE coregradConfig.cmake COMPONENT cpp)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/coregradConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
configure_file("${PROJECT_SOURCE_DIR}/cmake/coregrad.pc.in" "${PROJECT_BINARY_DIR}/coregrad.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/coregradConfigVersion.cmake"
  DESTINATION "${COREGRAD_CMAKE_DIR}" COMPONENT cpp)
install(FILES "${PROJECT_BINARY_DIR}/coregrad.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
  COMPONENT cpp)
