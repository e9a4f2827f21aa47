# Cross build on Debian: needs what `tools/setup.sh cross` installs. QEMU_CPU in the environment of the tests names the processor:
# max (the default; dot and i8mm), neoverse-n1 (dot), cortex-a57 (neither).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# -L / overrides a QEMU_LD_PREFIX in the environment: the loader of the cross compiler's own C library with the libraries of
# Debian's arm64 packages, another revision, runs until a thread is created after one ended, and then for ever.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
