// 3x3 convolution of stride 1 with a border of zeros, by Winograd's F(4x4, 3x3) (Lavin & Gray 2016, section 4.3): 36
// products instead of 144 for every 4x4 outputs; or by F(2x2, 3x3) (section 4.1): 16 instead of 36 for every 2x2, of
// weights that take less than half the memory.
//
//   y = A' [ sum over channels of (G w G') * (B' d B) ] A
//
// d are 6x6 (4x4) inputs that overlap by 2, w is 3x3, y are 4x4 (2x2) outputs. Products for one of the 36 (16) places are
// a matrix product of (tiles x inputs) and (inputs x outputs). Sums are taken in an order that does not depend on the
// number of threads.

#include "vectors.h"

namespace {

constexpr long PANEL = 2 * LANES;  // columns of a matrix that lie together in memory

// Rows are set apart by 64 bytes more than they need: at powers of two they would fall on each other in the cache.
inline long pitch(long channels) { return channels + 16; }
// So are the places, which are written and read side by side: 36 lines of which no two fall on each other.
inline long spaced(long floats) { return (floats + 879) / 1024 * 1024 + 144; }

struct Tiles {
    long n, height, width, side, rows, columns;
    Tiles(long n, long height, long width, long side)
        : n(n), height(height), width(width), side(side), rows((height + side - 1) / side), columns((width + side - 1) / side) {}
    long count() const { return n * rows * columns; }
};

// ---- F(4x4, 3x3)

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

// ---- F(2x2, 3x3)

inline void spread_input_2(const vec* a, vec* out) {
    out[0] = a[0] - a[2];
    out[1] = a[1] + a[2];
    out[2] = a[2] - a[1];
    out[3] = a[1] - a[3];
}

inline void gather_output_2(const vec* a, vec* out) {
    out[0] = a[0] + a[1] + a[2];
    out[1] = a[1] - a[2] - a[3];
}

inline void spread_weight_2(const vec* g, vec* out) {
    vec s = (g[0] + g[2]) * .5f, d = g[1] * .5f;
    out[0] = g[0];
    out[1] = s + d;
    out[2] = s - d;
    out[3] = g[2];
}

// Tiles of SIDE x SIDE outputs.
template <int SIDE>
struct Scheme {};

template <>
struct Scheme<4> {
    static constexpr long PLACES = 36;
    static constexpr auto input = spread_input, output = gather_output, weight = spread_weight;
};

template <>
struct Scheme<2> {
    static constexpr long PLACES = 16;
    static constexpr auto input = spread_input_2, output = gather_output_2, weight = spread_weight_2;
};

// ---- tiles

// FROM x FROM values of a picture at (top, left), zeros outside of it, spread to TO x TO places: out[place * apart].
template <int FROM, int TO, void (*SPREAD)(const vec*, vec*), bool INSIDE>
void spread_tile(const float* picture, const Tiles& t, long channels, long top, long left, float* out, long apart) {
    for (long c = 0; c < channels; c += LANES) {
        vec half[TO][FROM], column[FROM], places[TO];
        for (int j = 0; j < FROM; j++) {
            long x = left + j;
            bool inside = INSIDE || (x >= 0 && x < t.width);
            for (int i = 0; i < FROM; i++) {
                long y = top + i;
                bool there = INSIDE || (inside && y >= 0 && y < t.height);
                column[i] = there ? load(picture + (y * t.width + x) * channels + c) : vec{};
            }
            SPREAD(column, places);
            for (int i = 0; i < TO; i++) half[i][j] = places[i];
        }
        for (int i = 0; i < TO; i++) {
            SPREAD(half[i], places);
            for (int j = 0; j < TO; j++) store(out + (i * TO + j) * apart + c, places[j]);
        }
    }
}

// One tile of all pictures, with a border: out[place][channel].
template <int FROM, int TO, int BORDER, void (*SPREAD)(const vec*, vec*)>
void spread_tiles(const float* x, const Tiles& t, long channels, long tile, float* out, long apart) {
    long picture = tile / (t.rows * t.columns), place = tile % (t.rows * t.columns);
    long top = place / t.columns * t.side - BORDER, left = place % t.columns * t.side - BORDER;
    bool inside = top >= 0 && left >= 0 && top + FROM <= t.height && left + FROM <= t.width;
    auto work = inside ? spread_tile<FROM, TO, SPREAD, true> : spread_tile<FROM, TO, SPREAD, false>;
    work(x + picture * t.height * t.width * channels, t, channels, top, left, out, apart);
}

template <int SIDE>
void gather_tile(const float* in, long apart, const Tiles& t, long channels, long tile, const float* bias, float* y) {
    constexpr int WIDE = SIDE + 2;
    long picture = tile / (t.rows * t.columns), place = tile % (t.rows * t.columns);
    long top = place / t.columns * SIDE, left = place % t.columns * SIDE;
    float* corner = y + picture * t.height * t.width * channels;
    for (long c = 0; c < channels; c += LANES) {
        vec half[SIDE][WIDE], column[WIDE], outputs[SIDE], start = bias ? load(bias + c) : vec{};
        for (int j = 0; j < WIDE; j++) {
            for (int i = 0; i < WIDE; i++) column[i] = load(in + (i * WIDE + j) * apart + c);
            Scheme<SIDE>::output(column, outputs);
            for (int i = 0; i < SIDE; i++) half[i][j] = outputs[i];
        }
        for (int i = 0; i < SIDE && top + i < t.height; i++) {
            Scheme<SIDE>::output(half[i], outputs);
            for (int j = 0; j < SIDE && left + j < t.width; j++)
                store(corner + ((top + i) * t.width + left + j) * channels + c, outputs[j] + start);
        }
    }
}

// ---- products

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

// c (rows x columns) (+)= a (rows x depth) b (depth x columns); 16 columns of b lie b_apart from the next 16.
void multiply(long rows, long columns, long depth, const float* a, long across, long along, const float* b,
              long b_pitch, long b_apart, float* c, long c_pitch, bool add) {
    long k = 0;
    for (; k + PANEL <= columns; k += PANEL, b += b_apart)
        panel<2>(rows, depth, a, across, along, b, b_pitch, c + k, c_pitch, add);
    if (k < columns) panel<1>(rows, depth, a, across, along, b, b_pitch, c + k, c_pitch, add);
}

constexpr long BLOCK_FLOATS = 400000;    // of a block of tiles, at all places: about what a core's share of the cache holds
constexpr long LARGE_FLOATS = 1600000;   // the same where spread weights are read from memory for every block …
constexpr long LARGE_WEIGHTS = 1000000;  // … as these many are
constexpr long MOST_TILES = 96;          // in a block
constexpr long OWN_TILES = 12;           // with fewer, threads share a block

// How a convolution is shared out: into blocks of tiles, and these into rooms. What comes out does not depend on it.
struct Plan {
    long block, blocks, rooms, size, v_apart, m_apart;
    bool alone;  // each thread has a room and blocks of its own; or all share one block after the other, and one room
    Plan(const Tiles& t, long c, long k, int threads) {
        long places = (t.side + 2) * (t.side + 2), count = t.count();
        long most = (places * c * k > LARGE_WEIGHTS ? LARGE_FLOATS : BLOCK_FLOATS) / (places * (c + k));
        most = std::max(6L, std::min(most, MOST_TILES) / 6 * 6);
        alone = count >= OWN_TILES * threads;
        long turns = alone ? (count + most * threads - 1) / (most * threads) * threads : (count + most - 1) / most;
        block = std::min(count, (count + 6 * turns - 1) / (6 * turns) * 6);
        blocks = (count + block - 1) / block;
        rooms = alone ? std::min<long>(threads, blocks) : 1;
        v_apart = spaced(block * pitch(c)), m_apart = spaced(block * pitch(k));
        size = places * (v_apart + m_apart);
    }
};

// Floats of spread weights for one place.
long spread_apart(long rows, long columns) { return spaced((columns + PANEL - 1) / PANEL * rows * PANEL); }

// Where weights lie: w[row * rows + column * columns + i * down + j * right].
struct Steps {
    long row, column, down, right;
};

// 8 rows and at most 16 columns of weights (3x3 of each, turned by 180 degrees or not), spread to all places.
template <int SIDE>
void spread_weights(const float* w, const Steps& step, bool turned, long columns, float* u, long apart) {
    constexpr int WIDE = SIDE + 2;
    float block[9][LANES][PANEL];
    for (int tap = 0; tap < 9; tap++) {
        int from = turned ? 8 - tap : tap;
        const float* corner = w + from / 3 * step.down + from % 3 * step.right;
        for (long r = 0; r < LANES; r++)
            for (long q = 0; q < columns; q++) block[tap][r][q] = corner[r * step.row + q * step.column];
    }
    for (long r = 0; r < LANES; r++)
        for (long q = 0; q < columns; q += LANES) {
            vec half[WIDE][3], three[3], places[WIDE];
            for (int j = 0; j < 3; j++) {
                for (int i = 0; i < 3; i++) three[i] = load(&block[i * 3 + j][r][q]);
                Scheme<SIDE>::weight(three, places);
                for (int i = 0; i < WIDE; i++) half[i][j] = places[i];
            }
            for (int i = 0; i < WIDE; i++) {
                Scheme<SIDE>::weight(half[i], places);
                for (int j = 0; j < WIDE; j++) store(u + (i * WIDE + j) * apart + r * PANEL + q, places[j]);
            }
        }
}

template <int SIDE>
int convolve(const float* x, const float* u, const float* bias, float* y, const Tiles& t, long c, long k, int threads) {
    constexpr long PLACES = Scheme<SIDE>::PLACES;
    Plan plan(t, c, k, threads);
    long count = t.count(), block = plan.block, blocks = plan.blocks, rooms = plan.rooms, size = plan.size;
    long v_apart = plan.v_apart, m_apart = plan.m_apart, u_apart = spread_apart(c, k);
    Floats held(rooms * size);
    float* all = held.p;
    if (!all) return 1;
    auto spread = [&](long tile, float* v) { spread_tiles<SIDE + 2, SIDE + 2, 1, Scheme<SIDE>::input>(x, t, c, tile, v, v_apart); };
    auto product = [&](long p, long tiles, const float* v, float* m) {
        multiply(tiles, k, c, v + p * v_apart, pitch(c), 1, u + p * u_apart, PANEL, c * PANEL, m + p * m_apart, pitch(k), false);
    };
    auto gather = [&](long tile, const float* m) { gather_tile<SIDE>(m, m_apart, t, k, tile, bias, y); };
    auto work = [&](long b, float* v, int threads) {
        float* m = v + PLACES * v_apart;
        long first = b * block, tiles = std::min(block, count - first);
        share(tiles, threads, [&](long i) { spread(first + i, v + i * pitch(c)); });
        share(PLACES, threads, [&](long p) { product(p, tiles, v, m); });
        share(tiles, threads, [&](long i) { gather(first + i, m + i * pitch(k)); });
    };
    share(rooms, threads, [&](long r) {
        for (long b = blocks * r / rooms; b < blocks * (r + 1) / rooms; b++) work(b, all + r * size, plan.alone ? 1 : threads);
    });
    return 0;
}

}  // namespace

extern "C" {

// Floats of the spread weights of a convolution in tiles of side 2 or 4, from `rows` to `columns` channels.
long sfumato_spread_size(long rows, long columns, int side) { return (side + 2) * (side + 2) * spread_apart(rows, columns); }

// Weights w[row * row_step + column * column_step + i * down + j * right], 3x3 of each row (channel in) and column (channel
// out), maybe turned by 180 degrees, into u (places, panels of 16 columns, rows, 16).
int sfumato_spread_weights(const float* w, float* u, long rows, long columns, long row_step, long column_step, long down,
                           long right, int turned, int side, int threads) {
    Steps step{row_step, column_step, down, right};
    long groups = rows / LANES, panels = (columns + PANEL - 1) / PANEL;
    share(panels * groups, threads, [&](long i) {
        long column = i / groups * PANEL, row = i % groups * LANES;
        auto work = side == 4 ? spread_weights<4> : spread_weights<2>;
        work(w + row * step.row + column * step.column, step, turned, std::min(PANEL, columns - column),
             u + column * rows + row * PANEL, spread_apart(rows, columns));
    });
    return 0;
}

// A number that tells 16 of so many floats, spread over all of them, from others.
long sfumato_probe(const float* w, long count) {
    unsigned long found = 0;
    for (long i = 0; i < 16; i++) {
        unsigned bits;
        std::memcpy(&bits, w + i * (count - 1) / 15, sizeof bits);
        found = (found ^ bits) * 0x9E3779B97F4A7C15u;
    }
    return (long)found;
}

// Floats that sfumato_convolve takes for itself.
long sfumato_convolve_room(long n, long h, long w, long c, long k, int side, int threads) {
    Plan plan(Tiles(n, h, w, side), c, k, threads);
    return plan.rooms * plan.size;
}

// y (N, H, W, K) = x (N, H, W, C) * w + bias, of spread weights u; bias may be null. Returns 0, or 1 without memory.
int sfumato_convolve(const float* x, const float* u, const float* bias, float* y, long n, long h, long w, long c, long k,
                     int side, int threads) {
    auto work = side == 4 ? convolve<4> : convolve<2>;
    return work(x, u, bias, y, Tiles(n, h, w, side), c, k, threads);
}

// dw (K, 3, 3, C), the gradient of the weights for x (N, H, W, C) and dy (N, H, W, K). Returns 0, or 1 without memory.
int sfumato_weight_gradient(const float* x, const float* dy, float* dw, long n, long h, long w, long c, long k,
                            int threads) {
    constexpr long PLACES = 36;
    Tiles t(n, h, w, 4);
    long count = t.count(), block = std::min(count, MOST_TILES), blocks = (count + block - 1) / block;
    long v_apart = spaced(block * pitch(c)), g_apart = spaced(block * pitch(k)), du_apart = spaced(k * pitch(c));
    Floats held(PLACES * (v_apart + g_apart + du_apart));
    float* v = held.p;
    if (!v) return 1;
    float *g = v + PLACES * v_apart, *du = g + PLACES * g_apart;
    for (long b = 0; b < blocks; b++) {
        long first = b * block, tiles = std::min(block, count - first);
        share(tiles, threads, [&](long i) {
            spread_tiles<6, 6, 1, spread_input>(x, t, c, first + i, v + i * pitch(c), v_apart);
            spread_tiles<4, 6, 0, spread_output>(dy, t, k, first + i, g + i * pitch(k), g_apart);
        });
        share(PLACES, threads, [&](long p) {
            multiply(k, c, tiles, g + p * g_apart, 1, pitch(k), v + p * v_apart, pitch(c), PANEL, du + p * du_apart, pitch(c),
                     b > 0);
        });
    }
    share(k, threads, [&](long row) {
        for (long q = 0; q < c; q += LANES) {
            vec half[3][6], column[6], three[3];
            for (int j = 0; j < 6; j++) {
                for (int i = 0; i < 6; i++) column[i] = load(du + (i * 6 + j) * du_apart + row * pitch(c) + q);
                gather_weight(column, three);
                for (int i = 0; i < 3; i++) half[i][j] = three[i];
            }
            for (int i = 0; i < 3; i++) {
                gather_weight(half[i], three);
                for (int j = 0; j < 3; j++) store(dw + ((row * 3 + i) * 3 + j) * c + q, three[j]);
            }
        }
    });
    return 0;
}

}  // extern "C"
