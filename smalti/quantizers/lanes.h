/* Sixteen numbers at a time, in registers where the processor has such; see `compiled.py`. */

#pragma once

#include <cstdint>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define LANES 16

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t flags __attribute__((vector_size(4 * LANES)));

static inline lanes at_once(const float *from) {
    lanes x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}

static inline lanes all(float x) { return x - lanes{}; }

static inline lanes smaller(lanes a, lanes b) { return a < b ? a : b; }
static inline lanes larger(lanes a, lanes b) { return a > b ? a : b; }

#ifdef __AVX512F__
/* One bit for each lane that is at most the limit. */
static inline uint32_t within(lanes x, lanes limit) {
    return _mm512_cmp_ps_mask((__m512)x, (__m512)limit, _CMP_LE_OQ);
}
#else
static inline uint32_t within(lanes x, lanes limit) {
    flags near = x <= limit;
    int64_t pairs[LANES / 2], any = 0;
    __builtin_memcpy(pairs, &near, sizeof near);
    for (int i = 0; i < LANES / 2; i++) any |= pairs[i];
    if (!any) return 0;
    uint32_t bits = 0;
    for (int i = 0; i < LANES; i++) bits |= (uint32_t)(near[i] & 1) << i;
    return bits;
}
#endif
