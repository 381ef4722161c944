/* Included before every C++ file of llama.cpp (see .cargo/config.toml).
 *
 * GCC's own _tile_loadconfig (seen in GCC 12) tells the compiler that it reads 8 bytes where the
 * instruction reads 64. Optimised builds then drop or delay the stores that fill in the rest, and
 * `ldtilecfg` faults on the half-written configuration: llama.cpp's AMX kernels die with a segmentation
 * fault on processors that have AMX. This one names all 64 bytes. */
#if defined(__cplusplus) && defined(__AMX_INT8__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%0" ::"m"(*(const unsigned char(*)[64])(config)))
#endif
