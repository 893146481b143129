/* The nearest codeword in few dimensions, by distances in float32 that are taken directly, as
 * sum (z_i - e_i)^2, 64 codewords at a time, and in float64 where they come near the best. Groups of
 * 64 that lie beside each other have a box around them; a group whose box is further away than the
 * best codeword so far is passed over. `native.py` compiles and calls this; see there. */

#include "lanes.h"

#define GROUP 64
#define NEAR (1 + 1e-5f) /* more than float32 rounds in up to 16 dimensions */
#define LOST 1e-35f /* by numbers that are smaller than float32 holds */
#define TIE 9.313225746154785e-10 /* 2^-30 */

static inline float smallest(lanes x) {
    float y = x[0];
    for (int i = 1; i < LANES; i++) y = x[i] < y ? x[i] : y;
    return y;
}

/* Puts the order so that of [first, last) those before `middle` have the smaller coordinates. */
static void part(const float *e, int64_t dim, int64_t d, int32_t *order, int64_t first,
                 int64_t last, int64_t middle) {
    while (last - first > 1) {
        float pivot = e[order[first + (last - first) / 2] * dim + d];
        int64_t i = first, j = last - 1;
        while (i <= j) {
            while (e[order[i] * dim + d] < pivot) i++;
            while (e[order[j] * dim + d] > pivot) j--;
            if (i <= j) {
                int32_t other = order[i];
                order[i++] = order[j];
                order[j--] = other;
            }
        }
        if (middle <= j) last = j + 1;
        else if (middle >= i) first = i;
        else return;
    }
}

/* Orders [first, last) so that each group of 64 lies close together: halves it along its longest
 * side, by what 128 of it say, again and again. */
static void arrange(const float *e, int64_t dim, int32_t *order, int64_t first, int64_t last) {
    while (last - first > GROUP) {
        int64_t along = 0;
        float longest = -1;
        for (int64_t d = 0; d < dim; d++) {
            float low = e[order[first] * dim + d], high = low;
            for (int64_t i = first; i < last; i += 1 + (last - first) / 128) {
                float x = e[order[i] * dim + d];
                low = x < low ? x : low;
                high = x > high ? x : high;
            }
            if (high - low > longest) longest = high - low, along = d;
        }
        int64_t groups = (last - first + GROUP - 1) / GROUP;
        int64_t middle = first + groups / 2 * GROUP;
        part(e, dim, along, order, first, last, middle);
        arrange(e, dim, order, first, middle);
        first = middle;
    }
}

/* Arranges codewords e (K, dim), K < 2^31, in G = ceil(K / 64) groups. Given back are their order
 * (G, 64), -1 where a group is not full, the codewords (G, dim, 64), 1e18 there, and the lower and
 * upper sides of the boxes (G, dim). */
extern "C" void smalti_prepare(const float *e, int64_t size, int64_t dim, int32_t *order,
                               float *turned, float *low, float *high) {
    int64_t groups = (size + GROUP - 1) / GROUP;
    for (int64_t i = 0; i < groups * GROUP; i++) order[i] = i < size ? (int32_t)i : -1;
    arrange(e, dim, order, 0, size);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t d = 0; d < dim; d++) {
            float least = e[order[g * GROUP] * dim + d], most = least;
            for (int64_t i = 0; i < GROUP; i++) {
                int32_t k = order[g * GROUP + i];
                float x = k < 0 ? 1e18f : e[k * dim + d];
                turned[(g * dim + d) * GROUP + i] = x;
                if (k < 0) continue;
                least = x < least ? x : least;
                most = x > most ? x : most;
            }
            low[g * dim + d] = least;
            high[g * dim + d] = most;
        }
}

struct best_of {
    double distance;
    int64_t index;
};

/* Looks at one group: what comes near the best is compared in float64. */
static inline __attribute__((always_inline)) float look(const float *z, const float *e,
                                                        const int32_t *order, const int dim,
                                                        float limit, best_of *best) {
    lanes s[GROUP / LANES];
    for (int i = 0; i < GROUP / LANES; i++) s[i] = all(0);
    for (int d = 0; d < dim; d++) {
        lanes x = all(z[d]);
        for (int i = 0; i < GROUP / LANES; i++) {
            lanes u = at_once(e + d * GROUP + i * LANES) - x;
            s[i] += u * u;
        }
    }
    lanes least = smaller(smaller(s[0], s[1]), smaller(s[2], s[3]));
    if (!within(least, all(limit))) return limit;
    float first = smallest(least) * NEAR + LOST;
    limit = first < limit ? first : limit;
    for (int part = 0; part < GROUP / LANES; part++)
        for (uint32_t bits = within(s[part], all(limit)); bits; bits &= bits - 1) {
            int i = part * LANES + __builtin_ctz(bits);
            if (order[i] < 0) continue;
            double distance = 0;
            for (int d = 0; d < dim; d++) {
                double u = (double)e[d * GROUP + i] - z[d];
                distance += u * u;
            }
            if (distance * (1 + TIE) < best->distance) {
                best->distance = distance;
                best->index = order[i];
            } else if (distance <= best->distance * (1 + TIE)) {
                if (order[i] < best->index) best->index = order[i];
                if (distance < best->distance) best->distance = distance;
            }
        }
    return limit;
}

/* 16 vectors at a time, so that what is read of a group serves them all. */
static inline __attribute__((always_inline)) void search(
    const float *z, int64_t n, const int dim, const int32_t *order, const float *turned,
    const float *low, const float *high, int64_t groups, float *away, int64_t *index) {
    for (int64_t row = 0; row < n; row += LANES, z += LANES * dim) {
        int count = n - row < LANES ? (int)(n - row) : LANES;
        lanes x[16], least = all(3e38f), limit = all(3e38f);
        flags nearest = {};
        for (int d = 0; d < dim; d++)
            for (int v = 0; v < LANES; v++) x[d][v] = v < count ? z[v * dim + d] : z[d];
        for (int64_t g = 0; g < groups; g++) {
            lanes sum = all(0);
            for (int d = 0; d < dim; d++) {
                lanes u = larger(larger(all(low[g * dim + d]) - x[d], x[d] - all(high[g * dim + d])),
                                 all(0));
                sum += u * u;
            }
            __builtin_memcpy(away + g * LANES, &sum, sizeof sum);
            flags closer = sum < least;
            nearest = closer ? (flags{} + (int32_t)g) : nearest;
            least = closer ? sum : least;
        }
        best_of best[LANES];
        for (int v = 0; v < count; v++) {
            best[v] = {1e300, 0};
            int64_t g = nearest[v];
            limit[v] = look(z + v * dim, turned + g * dim * GROUP, order + g * GROUP, dim, 3e38f,
                            best + v);
            away[g * LANES + v] = 3.4e38f; /* done */
        }
        for (int v = count; v < LANES; v++) limit[v] = -1;
        for (int64_t g = 0; g < groups; g++)
            for (uint32_t bits = within(at_once(away + g * LANES), limit); bits; bits &= bits - 1) {
                int v = __builtin_ctz(bits);
                limit[v] = look(z + v * dim, turned + g * dim * GROUP, order + g * GROUP, dim,
                                limit[v], best + v);
            }
        for (int v = 0; v < count; v++) index[row + v] = best[v].index;
    }
}

/* The nearest codewords of z (n, dim), dim 4, 8, 12 or 16. `away` (G, 16) is room to work in. */
extern "C" void smalti_nearest(const float *z, int64_t n, int64_t dim, const int32_t *order,
                               const float *turned, const float *low, const float *high,
                               int64_t groups, float *away, int64_t *index) {
    if (dim == 4) search(z, n, 4, order, turned, low, high, groups, away, index);
    if (dim == 8) search(z, n, 8, order, turned, low, high, groups, away, index);
    if (dim == 12) search(z, n, 12, order, turned, low, high, groups, away, index);
    if (dim == 16) search(z, n, 16, order, turned, low, high, groups, away, index);
}
