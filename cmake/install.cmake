# What `make install` puts where: the command, both libraries, the header with examples, the Python package,
# longhand.pc, manual pages and completions.

install(TARGETS longhand longhand_static longhand_shared
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_SOURCE_DIR}/include/longhand.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
file(GLOB LH_EXAMPLES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.c)
install(FILES ${LH_EXAMPLES} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/python/longhand DESTINATION ${CMAKE_INSTALL_DATADIR}/longhand/python
  FILES_MATCHING PATTERN "*.py")

# The prefix is found from where the file lies, so that the tree works wherever it is unpacked.
file(RELATIVE_PATH LH_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" LH_PC_TO_PREFIX "${LH_PC_TO_PREFIX}")
# Who links the static library links our shared dependencies, not what those would need if they were static, too:
# hence Libs.private and not Requires.private.
string(REPLACE ";" " " LH_PC_LIBS "${DEPS_LDFLAGS};${OpenMP_C_FLAGS};-lm;-lpthread;-ldl")
if(DNNL_LIBRARY AND DNNL_INCLUDE)
  string(PREPEND LH_PC_LIBS "-ldnnl ")
endif()
configure_file(${CMAKE_SOURCE_DIR}/cmake/longhand.pc.in ${CMAKE_BINARY_DIR}/longhand.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/longhand.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The command writes its own pages. Sanitized builds are never installed.
if(NOT LH_SANITIZE AND NOT LH_FUZZ AND NOT CMAKE_CROSSCOMPILING)
  set(LH_PAGES ${CMAKE_BINARY_DIR}/pages)
  add_custom_command(OUTPUT ${LH_PAGES}/man/longhand.1
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${LH_PAGES}
    COMMAND longhand man ${LH_PAGES}/man
    COMMAND longhand completion bash > ${LH_PAGES}/longhand
    COMMAND longhand completion zsh > ${LH_PAGES}/_longhand
    COMMAND longhand completion fish > ${LH_PAGES}/longhand.fish
    DEPENDS longhand
    COMMENT "Writing manual pages and completions")
  add_custom_target(pages ALL DEPENDS ${LH_PAGES}/man/longhand.1)
  install(DIRECTORY ${LH_PAGES}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
  install(FILES ${LH_PAGES}/longhand DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${LH_PAGES}/_longhand DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${LH_PAGES}/longhand.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
