// 3x3 convolution of stride 1 with a border of zeros, by Winograd's F(4x4, 3x3) (Lavin & Gray 2016, section 4.3):
// 36 products instead of 144 for every 4x4 outputs.
//
//   y = A' [ sum over channels of (G w G') * (B' d B) ] A
//
// d are 6x6 inputs that overlap by 2, w is 3x3, y are 4x4 outputs. Products for one of the 36 places are a matrix product
// of (tiles x inputs) and (inputs x outputs). Pictures lie in memory as N, H, W, C; C and K are multiples of 8.
//
// A plain C interface, no headers but the standard's. Sums are taken in an order that does not depend on the number of
// threads.

#include <algorithm>
#include <cstring>
#include <new>

namespace {

constexpr long LANES = 8, PLACES = 36;
typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

inline vec load(const float* p) { return *(const vec*)p; }
inline void store(float* p, vec v) { *(vec*)p = v; }

// Rows are set apart by 64 bytes more than they need: at powers of two they would fall on each other in the cache.
inline long pitch(long channels) { return channels + 16; }

struct Tiles {
    long n, height, width, rows, columns;
    Tiles(long n, long height, long width)
        : n(n), height(height), width(width), rows((height + 3) / 4), columns((width + 3) / 4) {}
    long count() const { return n * rows * columns; }
};

// B': from 6 inputs to 6 places.
inline void spread_input(const vec* a, vec* out) {
    vec p = a[4] - 4.f * a[2], q = a[3] - 4.f * a[1], r = a[4] - a[2], s = 2.f * (a[3] - a[1]);
    out[0] = 4.f * a[0] - 5.f * a[2] + a[4];
    out[1] = p + q;
    out[2] = p - q;
    out[3] = r + s;
    out[4] = r - s;
    out[5] = 4.f * a[1] - 5.f * a[3] + a[5];
}

// A': from 6 places to 4 outputs.
inline void gather_output(const vec* a, vec* out) {
    vec s12 = a[1] + a[2], d12 = a[1] - a[2], s34 = a[3] + a[4], d34 = a[3] - a[4];
    out[0] = a[0] + s12 + s34;
    out[1] = d12 + 2.f * d34;
    out[2] = s12 + 4.f * s34;
    out[3] = d12 + 8.f * d34 + a[5];
}

// A: from 4 outputs to 6 places, the transpose of gather_output.
inline void spread_output(const vec* a, vec* out) {
    vec s = a[0] + a[2], d = a[1] + a[3], s4 = a[0] + 4.f * a[2], d4 = 2.f * a[1] + 8.f * a[3];
    out[0] = a[0];
    out[1] = s + d;
    out[2] = s - d;
    out[3] = s4 + d4;
    out[4] = s4 - d4;
    out[5] = a[3];
}

// G: from 3 weights to 6 places.
inline void spread_weight(const vec* g, vec* out) {
    vec p = (g[0] + g[2]) * (-1.f / 6), q = g[1] * (1.f / 6), r = g[0] * (1.f / 24) + g[2] * (1.f / 6), s = g[1] * (1.f / 12);
    out[0] = g[0] * .25f;
    out[1] = p - q;
    out[2] = p + q;
    out[3] = r + s;
    out[4] = r - s;
    out[5] = g[2];
}

// G': from 6 places to 3 weights, the transpose of spread_weight.
inline void gather_weight(const vec* a, vec* out) {
    vec s12 = (a[1] + a[2]) * (-1.f / 6), s34 = a[3] + a[4];
    out[0] = a[0] * .25f + s12 + s34 * (1.f / 24);
    out[1] = (a[2] - a[1]) * (1.f / 6) + (a[3] - a[4]) * (1.f / 12);
    out[2] = s12 + s34 * (1.f / 6) + a[5];
}

// SIDE x SIDE values of a picture at (top, left), zeros outside of it, spread to the 36 places: out[place * apart].
template <int SIDE, void (*SPREAD)(const vec*, vec*)>
void spread_tile(const float* picture, const Tiles& t, long channels, long top, long left, float* out, long apart) {
    for (long c = 0; c < channels; c += LANES) {
        vec half[6][SIDE], column[SIDE], six[6];
        for (int j = 0; j < SIDE; j++) {
            long x = left + j;
            bool inside = x >= 0 && x < t.width;
            for (int i = 0; i < SIDE; i++) {
                long y = top + i;
                column[i] = inside && y >= 0 && y < t.height ? load(picture + (y * t.width + x) * channels + c) : vec{};
            }
            SPREAD(column, six);
            for (int i = 0; i < 6; i++) half[i][j] = six[i];
        }
        for (int i = 0; i < 6; i++) {
            SPREAD(half[i], six);
            for (int j = 0; j < 6; j++) store(out + (i * 6 + j) * apart + c, six[j]);
        }
    }
}

// Tiles first … last of all pictures: out[place][tile - first][channel].
template <int SIDE, int BORDER, void (*SPREAD)(const vec*, vec*)>
void spread_tiles(const float* x, const Tiles& t, long channels, long tile, float* out, long apart) {
    long picture = tile / (t.rows * t.columns), inside = tile % (t.rows * t.columns);
    long top = inside / t.columns * 4 - BORDER, left = inside % t.columns * 4 - BORDER;
    spread_tile<SIDE, SPREAD>(x + picture * t.height * t.width * channels, t, channels, top, left, out, apart);
}

void gather_tile(const float* in, long apart, const Tiles& t, long channels, long tile, const float* bias, float* y) {
    long picture = tile / (t.rows * t.columns), inside = tile % (t.rows * t.columns);
    long top = inside / t.columns * 4, left = inside % t.columns * 4;
    float* corner = y + picture * t.height * t.width * channels;
    for (long c = 0; c < channels; c += LANES) {
        vec half[4][6], column[6], four[4], start = bias ? load(bias + c) : vec{};
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) column[i] = load(in + (i * 6 + j) * apart + c);
            gather_output(column, four);
            for (int i = 0; i < 4; i++) half[i][j] = four[i];
        }
        for (int i = 0; i < 4 && top + i < t.height; i++) {
            gather_output(half[i], four);
            for (int j = 0; j < 4 && left + j < t.width; j++)
                store(corner + ((top + i) * t.width + left + j) * channels + c, four[j] + start);
        }
    }
}

// c[R][V * 8] (+)= sum over p of a[row * across + p * along] * b[p][V * 8]
template <int R, int V>
void product(long depth, const float* a, long across, long along, const float* b, long b_pitch, float* c, long c_pitch,
             bool add) {
    vec sum[R][V];
    for (int i = 0; i < R; i++)
        for (int j = 0; j < V; j++) sum[i][j] = add ? load(c + i * c_pitch + j * LANES) : vec{};
    for (long p = 0; p < depth; p++) {
        vec line[V];
        for (int j = 0; j < V; j++) line[j] = load(b + j * LANES);
        for (int i = 0; i < R; i++)
            for (int j = 0; j < V; j++) sum[i][j] += a[i * across] * line[j];
        a += along;
        b += b_pitch;
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < V; j++) store(c + i * c_pitch + j * LANES, sum[i][j]);
}

template <int V>
void panel(long rows, long depth, const float* a, long across, long along, const float* b, long b_pitch, float* c,
           long c_pitch, bool add) {
    long r = 0;
    for (; r + 6 <= rows; r += 6) product<6, V>(depth, a + r * across, across, along, b, b_pitch, c + r * c_pitch, c_pitch, add);
    a += r * across;
    c += r * c_pitch;
    switch (rows - r) {
        case 5: return product<5, V>(depth, a, across, along, b, b_pitch, c, c_pitch, add);
        case 4: return product<4, V>(depth, a, across, along, b, b_pitch, c, c_pitch, add);
        case 3: return product<3, V>(depth, a, across, along, b, b_pitch, c, c_pitch, add);
        case 2: return product<2, V>(depth, a, across, along, b, b_pitch, c, c_pitch, add);
        case 1: return product<1, V>(depth, a, across, along, b, b_pitch, c, c_pitch, add);
    }
}

// c (rows x columns) (+)= a (rows x depth) b (depth x columns)
void multiply(long rows, long columns, long depth, const float* a, long across, long along, const float* b,
              long b_pitch, float* c, long c_pitch, bool add) {
    long k = 0;
    for (; k + 16 <= columns; k += 16) panel<2>(rows, depth, a, across, along, b + k, b_pitch, c + k, c_pitch, add);
    if (k < columns) panel<1>(rows, depth, a, across, along, b + k, b_pitch, c + k, c_pitch, add);
}

float* room(long floats) { return static_cast<float*>(::operator new(floats * sizeof(float), std::align_val_t(64), std::nothrow)); }
void leave(float* p) { ::operator delete(p, std::align_val_t(64)); }

constexpr long BLOCK_FLOATS = 400000;  // of a block of tiles, at all places: about what a core's share of the cache holds

long block_of(long tiles, long channels) {
    long fit = BLOCK_FLOATS / (PLACES * channels) / 6 * 6;
    return std::min(tiles, std::max(6L, std::min(fit, 96L)));
}

// How a convolution is shared out: into blocks of tiles, and these into rooms.
struct Plan {
    long block, blocks, rooms, size;
    bool alone;  // each thread has a room and blocks of its own; or all share the few blocks there are, and one room
    Plan(const Tiles& t, long c, long k, int threads) {
        block = block_of(t.count(), c + k);
        blocks = (t.count() + block - 1) / block;
        alone = blocks >= threads;
        rooms = alone ? std::min<long>(threads, blocks) : 1;
        size = PLACES * block * (pitch(c) + pitch(k));
    }
};

}  // namespace

extern "C" {

// Floats of transformed weights of a convolution from C to K channels.
long sfumato_transformed_size(long c, long k) { return PLACES * c * pitch(k); }

// w (3, 3, C, K) -> u (36, C, pitch(K)), by `threads` threads.
void sfumato_transform_weights(const float* w, float* u, long c, long k, int threads) {
    long size = c * k;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < c; row++) {
        for (long q = 0; q < k; q += LANES) {
            vec half[6][3], three[3], six[6];
            for (int j = 0; j < 3; j++) {
                for (int i = 0; i < 3; i++) three[i] = load(w + (i * 3 + j) * size + row * k + q);
                spread_weight(three, six);
                for (int i = 0; i < 6; i++) half[i][j] = six[i];
            }
            for (int i = 0; i < 6; i++) {
                spread_weight(half[i], six);
                for (int j = 0; j < 6; j++) store(u + ((i * 6 + j) * c + row) * pitch(k) + q, six[j]);
            }
        }
    }
}

// Floats that sfumato_convolve takes for itself.
long sfumato_convolve_room(long n, long h, long w, long c, long k, int threads) {
    Plan plan(Tiles(n, h, w), c, k, threads);
    return plan.rooms * plan.size;
}

// y (N, H, W, K) = x (N, H, W, C) * w + bias, of transformed weights u; bias may be null. Returns 0, or 1 without memory.
int sfumato_convolve(const float* x, const float* u, const float* bias, float* y, long n, long h, long w, long c, long k,
                     int threads) {
    Tiles t(n, h, w);
    Plan plan(t, c, k, threads);
    long count = t.count(), block = plan.block, blocks = plan.blocks, rooms = plan.rooms, size = plan.size;
    float* all = room(rooms * size);
    if (!all) return 1;
    if (plan.alone) {
#pragma omp parallel num_threads(rooms)
        {
            float* v = nullptr;
#pragma omp for schedule(static)
            for (long r = 0; r < rooms; r++) {
                v = all + r * size;
                float* m = v + PLACES * block * pitch(c);
                for (long b = blocks * r / rooms; b < blocks * (r + 1) / rooms; b++) {
                    long first = b * block, tiles = std::min(block, count - first);
                    for (long i = 0; i < tiles; i++)
                        spread_tiles<6, 1, spread_input>(x, t, c, first + i, v + i * pitch(c), block * pitch(c));
                    for (long p = 0; p < PLACES; p++)
                        multiply(tiles, k, c, v + p * block * pitch(c), pitch(c), 1, u + p * c * pitch(k), pitch(k),
                                 m + p * block * pitch(k), pitch(k), false);
                    for (long i = 0; i < tiles; i++)
                        gather_tile(m + i * pitch(k), block * pitch(k), t, k, first + i, bias, y);
                }
            }
        }
    } else {
        float *v = all, *m = v + PLACES * block * pitch(c);
#pragma omp parallel num_threads(threads)
        for (long b = 0; b < blocks; b++) {
            long first = b * block, tiles = std::min(block, count - first);
#pragma omp for schedule(static)
            for (long i = 0; i < tiles; i++)
                spread_tiles<6, 1, spread_input>(x, t, c, first + i, v + i * pitch(c), block * pitch(c));
#pragma omp for schedule(static)
            for (long p = 0; p < PLACES; p++)
                multiply(tiles, k, c, v + p * block * pitch(c), pitch(c), 1, u + p * c * pitch(k), pitch(k),
                         m + p * block * pitch(k), pitch(k), false);
#pragma omp for schedule(static)
            for (long i = 0; i < tiles; i++) gather_tile(m + i * pitch(k), block * pitch(k), t, k, first + i, bias, y);
        }
    }
    leave(all);
    return 0;
}

// dw (3, 3, C, K), the gradient of the weights for x (N, H, W, C) and dy (N, H, W, K). Returns 0, or 1 without memory.
int sfumato_weight_gradient(const float* x, const float* dy, float* dw, long n, long h, long w, long c, long k,
                            int threads) {
    Tiles t(n, h, w);
    long count = t.count(), block = std::min(count, 96L), blocks = (count + block - 1) / block, size = c * k;
    float* v = room(PLACES * (block * (pitch(c) + pitch(k)) + c * pitch(k)));
    if (!v) return 1;
    float *g = v + PLACES * block * pitch(c), *du = g + PLACES * block * pitch(k);
#pragma omp parallel num_threads(threads)
    {
        for (long b = 0; b < blocks; b++) {
            long first = b * block, tiles = std::min(block, count - first);
#pragma omp for schedule(static)
            for (long i = 0; i < tiles; i++) {
                spread_tiles<6, 1, spread_input>(x, t, c, first + i, v + i * pitch(c), block * pitch(c));
                spread_tiles<4, 0, spread_output>(dy, t, k, first + i, g + i * pitch(k), block * pitch(k));
            }
#pragma omp for schedule(static)
            for (long p = 0; p < PLACES; p++)
                multiply(c, k, tiles, v + p * block * pitch(c), 1, pitch(c), g + p * block * pitch(k), pitch(k),
                         du + p * c * pitch(k), pitch(k), b > 0);
        }
#pragma omp for schedule(static)
        for (long row = 0; row < c; row++) {
            for (long q = 0; q < k; q += LANES) {
                vec half[3][6], column[6], three[3];
                for (int j = 0; j < 6; j++) {
                    for (int i = 0; i < 6; i++) column[i] = load(du + ((i * 6 + j) * c + row) * pitch(k) + q);
                    gather_weight(column, three);
                    for (int i = 0; i < 3; i++) half[i][j] = three[i];
                }
                for (int i = 0; i < 3; i++) {
                    gather_weight(half[i], three);
                    for (int j = 0; j < 3; j++) store(dw + (i * 3 + j) * size + row * k + q, three[j]);
                }
            }
        }
    }
    leave(v);
    return 0;
}

}  // extern "C"
