# quire_module(<folder> SOURCES ... [TESTS ...] [DEPS ...]): the library of one floor and its test program.
# A floor's public dependencies are the floors below it and what its headers include.
# TEST_SHARDS: see quire_test.
function(quire_module name)
  cmake_parse_arguments(ARG "" "TEST_SHARDS" "SOURCES;TESTS;DEPS;TEST_DEPS" ${ARGN})
  add_library(quire_${name} STATIC ${ARG_SOURCES})
  target_include_directories(quire_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(quire_${name} PUBLIC ${ARG_DEPS} PRIVATE quire_options)
  if(QUIRE_BUILD_TESTS AND ARG_TESTS)
    quire_test(quire_${name}_test SOURCES ${ARG_TESTS} DEPS quire_${name} ${ARG_TEST_DEPS} SHARDS ${ARG_TEST_SHARDS})
  endif()
endfunction()

# quire_test(<program> SOURCES ... DEPS ... [SHARDS n]): one GoogleTest program, one CTest entry; or n entries with a
# part of its tests each, for a program that would keep one processor busy when all others are done.
function(quire_test program)
  cmake_parse_arguments(ARG "" "SHARDS" "SOURCES;DEPS" ${ARGN})
  add_executable(${program} ${ARG_SOURCES})
  target_link_libraries(${program} PRIVATE ${ARG_DEPS} quire_test_main GTest::gtest quire_options)
  target_compile_definitions(${program} PRIVATE QUIRE_SOURCE_DIR=".")  # where tests/test_main.cpp runs them
  if(NOT ARG_SHARDS)
    add_test(NAME ${program} COMMAND ${program} --gtest_brief=1)
    return()
  endif()
  foreach(shard RANGE 1 ${ARG_SHARDS})
    math(EXPR index "${shard} - 1")
    add_test(NAME ${program}.${shard} COMMAND ${program} --gtest_brief=1)
    # The cost lets CTest begin with it.
    set_tests_properties(${program}.${shard} PROPERTIES
      ENVIRONMENT "GTEST_TOTAL_SHARDS=${ARG_SHARDS};GTEST_SHARD_INDEX=${index}" COST 100)
  endforeach()
endfunction()

# These sources of the present folder share a name with another of their target: they are compiled alone.
function(quire_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# What takes the compiler long by itself, not by its headers: every source alone, or they would not run side by side.
function(quire_no_unity)
  foreach(target ${ARGN})
    if(TARGET ${target})
      set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
    endif()
  endforeach()
endfunction()
