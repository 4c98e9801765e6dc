# quire_module(<folder> SOURCES ... [TESTS ...] [DEPS ...]): the library of one floor and its test program.
# A floor's public dependencies are the floors below it and what its headers include.
function(quire_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;DEPS;TEST_DEPS" ${ARGN})
  add_library(quire_${name} STATIC ${ARG_SOURCES})
  target_include_directories(quire_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(quire_${name} PUBLIC ${ARG_DEPS} PRIVATE quire_options)
  if(QUIRE_BUILD_TESTS AND ARG_TESTS)
    quire_test(quire_${name}_test SOURCES ${ARG_TESTS} DEPS quire_${name} ${ARG_TEST_DEPS})
  endif()
endfunction()

# quire_test(<program> SOURCES ... DEPS ...): one GoogleTest program, one CTest entry.
function(quire_test program)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${program} ${ARG_SOURCES})
  target_link_libraries(${program} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gtest_main quire_options)
  target_compile_definitions(${program} PRIVATE QUIRE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${program} COMMAND ${program} --gtest_brief=1)
endfunction()
