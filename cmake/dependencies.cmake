# Every dependency: why, licence and replacement stand in docs/adr/0005-dependencies.md.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(libzip REQUIRED IMPORTED_TARGET libzip)  # its CMake config wants tools that Debian packages apart
find_package(Protobuf REQUIRED)
find_path(ZEROPOINT_XXHASH_INCLUDE xxhash.h REQUIRED)

# The schema of ONNX files comes out of the `onnx` Python package.
if(NOT ZEROPOINT_ONNX_PROTO)
  find_package(Python 3.9 COMPONENTS Interpreter QUIET)
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "import importlib.util as u; print(u.find_spec('onnx').submodule_search_locations[0])"
      OUTPUT_VARIABLE onnx_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_file(ZEROPOINT_ONNX_PROTO onnx-ml.proto PATHS "${onnx_package}" NO_DEFAULT_PATH)
endif()
if(NOT ZEROPOINT_ONNX_PROTO)
  message(FATAL_ERROR "onnx-ml.proto not found: run tools/setup.sh, or pip install onnx and pass -DPython_EXECUTABLE=...")
endif()
get_filename_component(onnx_proto_folder ${ZEROPOINT_ONNX_PROTO} DIRECTORY)
# Not protobuf_generate(): it derives the output's folder from the schema's place relative to this project.
set(onnx_proto_sources ${CMAKE_CURRENT_BINARY_DIR}/proto/onnx-ml.pb.cc ${CMAKE_CURRENT_BINARY_DIR}/proto/onnx-ml.pb.h)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/proto)
add_custom_command(
  OUTPUT ${onnx_proto_sources}
  COMMAND protobuf::protoc --cpp_out ${CMAKE_CURRENT_BINARY_DIR}/proto -I ${onnx_proto_folder} ${ZEROPOINT_ONNX_PROTO}
  DEPENDS ${ZEROPOINT_ONNX_PROTO} VERBATIM)
add_library(zeropoint_onnx_proto STATIC ${onnx_proto_sources})
target_include_directories(zeropoint_onnx_proto SYSTEM PUBLIC ${CMAKE_CURRENT_BINARY_DIR}/proto)
target_link_libraries(zeropoint_onnx_proto PUBLIC protobuf::libprotobuf-lite)
target_compile_options(zeropoint_onnx_proto PRIVATE -w -fno-sanitize=undefined)

set(ZEROPOINT_ONEDNN_LIBRARY "")
if(ZEROPOINT_WITH_ONEDNN)
  if(NOT dnnl_DIR AND Python_EXECUTABLE)  # where pip put onednn-devel-cpu-gomp: for builds of a wheel, a folder nobody can name
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "import importlib.metadata as m; \
print(next(f.locate().resolve().parent for f in m.files('onednn-devel-cpu-gomp') if f.name == 'dnnl-config.cmake'))"
      OUTPUT_VARIABLE onednn_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_package(dnnl 3 CONFIG REQUIRED HINTS "${onednn_package}")
  set(ZEROPOINT_ONEDNN_LIBRARY DNNL::dnnl gomp)  # gomp: its thread count is set while a primitive is made
endif()
if(ZEROPOINT_DEVELOPER)
  find_package(GTest REQUIRED)
  find_package(benchmark REQUIRED)
  include(GoogleTest)
endif()
