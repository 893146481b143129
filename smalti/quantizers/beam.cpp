/* Beam search of the codes whose codewords' sum is near a vector. `beam.py` calls this; see there.
 *
 * With the products of a vector and all codewords, and of all codewords with each other, the score
 * of one more code is one addition for each code before it: no distance is computed here. */

#include "lanes.h"

/* One of the best so far: its score, which of those before it goes on, and with which code. */
struct entry {
    float score;
    int32_t parent, code;
};

/* Puts an entry into a list of at most `most` in ascending order; of equals the first stays first. */
static inline int keep(entry *best, int have, int most, entry one) {
    int i = have < most ? have : most - 1;
    for (; i > 0 && best[i - 1].score > one.score; i--) best[i] = best[i - 1];
    best[i] = one;
    return have < most ? have + 1 : most;
}

/* Finds the `most` best codes after each of `have` beams: `own` (size) is what a code scores by
 * itself, `tables` + codes what it scores beside those before it. Returns how many there are. */
static int extend(const float *own, const float *gram, int64_t total, const int64_t *starts,
                  int64_t stage, int64_t size, const entry *beams, const int32_t *codes,
                  int64_t depth, int have, int most, float *row, entry *best) {
    int found = 0;
    float worst = 3e38f;
    for (int b = 0; b < have; b++) {
        const float *scores = own;
        for (int64_t s = 0; s < stage; s++) {
            const float *beside = gram + (starts[s] + codes[b * depth + s]) * total + starts[stage];
            for (int64_t k = 0; k < size; k += LANES) {
                lanes sum = at_once(scores + k) + at_once(beside + k);
                __builtin_memcpy(row + k, &sum, sizeof sum);
            }
            scores = row;
        }
        const float before = beams[b].score;
        for (int64_t k = 0; k < size; k += LANES)
            for (uint32_t bits = within(at_once(scores + k), all(worst - before)); bits;
                 bits &= bits - 1) {
                int64_t code = k + __builtin_ctz(bits);
                float score = before + scores[code];
                if (!(score < worst)) continue;
                found = keep(best, found, most, {score, b, (int32_t)code});
                if (found == most) worst = best[most - 1].score;
            }
    }
    return found;
}

/* The codes (n, depth) of n vectors, -1 where no sum has a score below 3e38.
 *
 * products: (n, total) of vectors and codewords, stage after stage, each stage filled up to whole
 *     lanes by codewords whose `half` is 3e38.
 * half: (total), half of each codeword's squared length.
 * gram: (total, total), products of the codewords with each other.
 * starts: (depth + 1), where each stage begins.
 * beams: How many sums are kept after each stage but the last.
 * room: 2 total + (6 + 2 depth) beams numbers to work in. */
extern "C" void smalti_beam(const float *products, int64_t n, int64_t total, const float *half,
                            const float *gram, const int64_t *starts, int64_t depth, int64_t beams,
                            float *room, int64_t *index) {
    float *own = room, *row = own + total;
    entry *best = (entry *)(row + total), *next = best + beams;
    int32_t *codes = (int32_t *)(next + beams), *longer = codes + beams * depth;
    for (int64_t v = 0; v < n; v++, products += total, index += depth) {
        best[0] = {0, 0, 0};
        int have = 1;
        for (int64_t stage = 0; stage < depth && have; stage++) {
            int64_t first = starts[stage], size = starts[stage + 1] - first;
            for (int64_t k = 0; k < size; k += LANES) {
                lanes score = at_once(half + first + k) - at_once(products + first + k);
                __builtin_memcpy(own + k, &score, sizeof score);
            }
            int most = stage + 1 < depth ? (int)beams : 1;
            have = extend(own, gram, total, starts, stage, size, best, codes, depth, have, most,
                          row, next);
            for (int b = 0; b < have; b++) {
                __builtin_memcpy(longer + b * depth, codes + next[b].parent * depth,
                                 stage * sizeof(int32_t));
                longer[b * depth + stage] = next[b].code;
            }
            entry *other = best;
            best = next, next = other;
            int32_t *shorter = codes;
            codes = longer, longer = shorter;
        }
        for (int64_t stage = 0; stage < depth; stage++) index[stage] = have ? codes[stage] : -1;
    }
}
