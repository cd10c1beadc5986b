// 3x3 convolution of stride 1 with a border of zeros, by Winograd's F(4x4, 3x3) (Lavin & Gray 2016, section 4.3): 36
// products instead of 144 for every 4x4 outputs; or by F(2x2, 3x3) (section 4.1): 16 instead of 36 for every 2x2, of
// weights that take less than half the memory.
//
//   y = A' [ sum over channels of (G w G') * (B' d B) ] A
//
// d are 6x6 (4x4) inputs that overlap by 2, w is 3x3, y are 4x4 (2x2) outputs. Products for one of the 36 (16) places are
// a matrix product of (tiles x inputs) and (inputs x outputs). A block of tiles is spread to all places; then, for a few
// outputs after the other, the products at all places are taken and gathered while they lie in the cache. Sums are taken
// in an order that does not depend on the number of threads.

#include <utility>

#include "vectors.h"

namespace {

constexpr long PANEL = 2 * LANES;            // columns of a matrix that lie together in memory
constexpr long ROWS = LANES == 16 ? 14 : 6;  // of a product that stay in registers, with all columns of a panel
constexpr int UNROLL = LANES == 16 ? 2 : 8;  // of a product's loop, what was fastest

inline long up(long count, long unit) { return (count + unit - 1) / unit; }
// Rows are set apart by 64 bytes more than they need: at powers of two they would fall on each other in the cache.
inline long pitch(long channels) { return up(channels, PANEL) * PANEL + 16; }
// So are the places, which are written and read side by side: 36 lines of which no two fall on each other.
inline long spaced(long floats) { return (floats + 879) / 1024 * 1024 + 144; }

struct Tiles {
    long n, height, width, side, rows, columns;
    Tiles(long n, long height, long width, long side)
        : n(n), height(height), width(width), side(side), rows(up(height, side)), columns(up(width, side)) {}
    long count() const { return n * rows * columns; }
};

// ---- maps in one direction, from FROM numbers to TO

// B' of F(4x4, 3x3).
struct SpreadInput {
    static constexpr int FROM = 6, TO = 6;
    template <class V>
    static void of(const V* a, V* out) {
        V p = a[4] - 4.f * a[2], q = a[3] - 4.f * a[1], r = a[4] - a[2], s = 2.f * (a[3] - a[1]);
        out[0] = 4.f * a[0] - 5.f * a[2] + a[4];
        out[1] = p + q;
        out[2] = p - q;
        out[3] = r + s;
        out[4] = r - s;
        out[5] = 4.f * a[1] - 5.f * a[3] + a[5];
    }
};

// A'.
struct GatherOutput {
    static constexpr int FROM = 6, TO = 4;
    template <class V>
    static void of(const V* a, V* out) {
        V s12 = a[1] + a[2], d12 = a[1] - a[2], s34 = a[3] + a[4], d34 = a[3] - a[4];
        out[0] = a[0] + s12 + s34;
        out[1] = d12 + 2.f * d34;
        out[2] = s12 + 4.f * s34;
        out[3] = d12 + 8.f * d34 + a[5];
    }
};

// A, the transpose of it.
struct SpreadOutput {
    static constexpr int FROM = 4, TO = 6;
    template <class V>
    static void of(const V* a, V* out) {
        V s = a[0] + a[2], d = a[1] + a[3], s4 = a[0] + 4.f * a[2], d4 = 2.f * a[1] + 8.f * a[3];
        out[0] = a[0];
        out[1] = s + d;
        out[2] = s - d;
        out[3] = s4 + d4;
        out[4] = s4 - d4;
        out[5] = a[3];
    }
};

// G.
struct SpreadWeight {
    static constexpr int FROM = 3, TO = 6;
    template <class V>
    static void of(const V* g, V* out) {
        V p = (g[0] + g[2]) * (-1.f / 6), q = g[1] * (1.f / 6);
        V r = g[0] * (1.f / 24) + g[2] * (1.f / 6), s = g[1] * (1.f / 12);
        out[0] = g[0] * .25f;
        out[1] = p - q;
        out[2] = p + q;
        out[3] = r + s;
        out[4] = r - s;
        out[5] = g[2];
    }
};

// G', the transpose of it.
struct GatherWeight {
    static constexpr int FROM = 6, TO = 3;
    template <class V>
    static void of(const V* a, V* out) {
        V s12 = (a[1] + a[2]) * (-1.f / 6), s34 = a[3] + a[4];
        out[0] = a[0] * .25f + s12 + s34 * (1.f / 24);
        out[1] = (a[2] - a[1]) * (1.f / 6) + (a[3] - a[4]) * (1.f / 12);
        out[2] = s12 + s34 * (1.f / 6) + a[5];
    }
};

// B', A' and G of F(2x2, 3x3).
struct SpreadInput2 {
    static constexpr int FROM = 4, TO = 4;
    template <class V>
    static void of(const V* a, V* out) {
        out[0] = a[0] - a[2];
        out[1] = a[1] + a[2];
        out[2] = a[2] - a[1];
        out[3] = a[1] - a[3];
    }
};

struct GatherOutput2 {
    static constexpr int FROM = 4, TO = 2;
    template <class V>
    static void of(const V* a, V* out) {
        out[0] = a[0] + a[1] + a[2];
        out[1] = a[1] - a[2] - a[3];
    }
};

struct SpreadWeight2 {
    static constexpr int FROM = 3, TO = 4;
    template <class V>
    static void of(const V* g, V* out) {
        V s = (g[0] + g[2]) * .5f, d = g[1] * .5f;
        out[0] = g[0];
        out[1] = s + d;
        out[2] = s - d;
        out[3] = g[2];
    }
};

// Of tiles of SIDE x SIDE outputs.
template <int SIDE>
struct Scheme {
    static constexpr long PLACES = 36;
    using Input = SpreadInput;
    using Output = GatherOutput;
    using Weight = SpreadWeight;
};

template <>
struct Scheme<2> {
    static constexpr long PLACES = 16;
    using Input = SpreadInput2;
    using Output = GatherOutput2;
    using Weight = SpreadWeight2;
};

// A map in both directions: get(i, j) are its numbers, put(i, j, number) takes what comes out.
template <class Map, class V, class Get, class Put>
inline void both_ways(Get get, Put put) {
    V half[Map::TO][Map::FROM], from[Map::FROM], to[Map::TO];
    for (int j = 0; j < Map::FROM; j++) {
        for (int i = 0; i < Map::FROM; i++) from[i] = get(i, j);
        Map::of(from, to);
        for (int i = 0; i < Map::TO; i++) half[i][j] = to[i];
    }
    for (int i = 0; i < Map::TO; i++) {
        Map::of(half[i], to);
        for (int j = 0; j < Map::TO; j++) put(i, j, to[j]);
    }
}

// The same, but of what comes out only the numbers of one row.
template <class Map, int ROW, class V, class Get, class Put>
inline void one_row(Get get, Put put) {
    V half[Map::FROM], from[Map::FROM], to[Map::TO];
    for (int j = 0; j < Map::FROM; j++) {
        for (int i = 0; i < Map::FROM; i++) from[i] = get(i, j);
        Map::of(from, to);
        half[j] = to[ROW];
    }
    Map::of(half, to);
    for (int j = 0; j < Map::TO; j++) put(0, j, to[j]);
}

// ---- tiles

// Where a tile lies: its picture and its first row and column there.
struct Corner {
    long picture, top, left;
    Corner(const Tiles& t, long tile) {
        long place = tile % (t.rows * t.columns);
        picture = tile / (t.rows * t.columns);
        top = place / t.columns * t.side, left = place % t.columns * t.side;
    }
};

// `count` channels of one tile of all pictures, with zeros outside of them, spread to all places or to those of one row:
// out[place * apart + channel * step].
template <class Map, int BORDER, int ROW = -1>
void spread_tile(const float* x, const Tiles& t, long channels, long count, long tile, float* out, long apart, long step) {
    static const float zeros[LANES] = {};
    Corner corner(t, tile);
    const float* from[Map::FROM][Map::FROM];
    long within[Map::FROM][Map::FROM];
    for (long i = 0; i < Map::FROM; i++)
        for (long j = 0; j < Map::FROM; j++) {
            long row = corner.top - BORDER + i, column = corner.left - BORDER + j;
            bool there = row >= 0 && row < t.height && column >= 0 && column < t.width;
            from[i][j] = there ? x + ((corner.picture * t.height + row) * t.width + column) * channels : zeros;
            within[i][j] = there ? -1 : 0;
        }
    each_lanes(count, [&](long c, auto zero) {
        using V = decltype(zero);
        auto get = [&](int i, int j) { return load<V>(from[i][j] + (c & within[i][j])); };
        auto put = [&](int i, int j, V v) { store(out + (i * Map::TO + j) * apart + c * step, v); };
        if constexpr (ROW < 0)
            both_ways<Map, V>(get, put);
        else
            one_row<Map, ROW, V>(get, put);
    });
}

// `count` channels of one tile, from in[place * apart], with bias, and what is added, which lies as y does, or null.
template <class Map>
void gather_tile(const float* in, long apart, const Tiles& t, long channels, long tile, long count, const float* bias,
                 const float* added, float* y) {
    Corner corner(t, tile);
    long first = (corner.picture * t.height + corner.top) * t.width + corner.left;
    long rows = std::min<long>(Map::TO, t.height - corner.top), columns = std::min<long>(Map::TO, t.width - corner.left);
    each_lanes(count, [&](long c, auto zero) {
        using V = decltype(zero);
        V start = bias ? load<V>(bias + c) : zero;
        both_ways<Map, V>([&](int i, int j) { return load<V>(in + (i * Map::FROM + j) * apart + c); },
                          [&](int i, int j, V v) {
                              if (i >= rows || j >= columns) return;
                              long at = (first + i * t.width + j) * channels + c;
                              store(y + at, added ? v + start + load<V>(added + at) : v + start);
                          });
    });
}

// Asks for where a tile goes, so that it is there when it is written.
inline void await_tile(const Tiles& t, long channels, long tile, long count, float* y) {
    Corner corner(t, tile);
    long first = (corner.picture * t.height + corner.top) * t.width + corner.left;
    for (long i = 0; i < std::min(t.side, t.height - corner.top); i++)
        for (long j = 0; j < std::min(t.side, t.width - corner.left); j++)
            for (long c = 0; c < count; c += 16) __builtin_prefetch(y + (first + i * t.width + j) * channels + c, 1, 2);
}

// ---- products

// Rows of a matrix, in groups that are `apart` from each other. Tiled: of a group the first LANES columns of all rows lie
// together, then the next ones. Otherwise the numbers of a column lie together, and columns `step` from each other.
struct Rows {
    const float* p;
    long rows, group, apart, step;
};

inline long group_of(long rows) { return up(rows, up(rows, ROWS)); }

// c (R x a panel) (+)= a (R x depth) b (depth x a panel). What lies `ahead` of b is asked for.
template <bool TILED, int R>
void product(long depth, const Rows& rows, const float* a, const float* b, long b_pitch, float* c, long c_pitch, bool add,
             long ahead) {
    vec sum[R][2];
    for (int i = 0; i < R; i++)
        for (int j = 0; j < 2; j++) sum[i][j] = add ? load(c + i * c_pitch + j * LANES) : vec{};
    auto step = [&](const float* a, const float* b) {
        vec line[2] = {load(b), load(b + LANES)};
        for (long j = 0; j < PANEL; j += 16) __builtin_prefetch(b + ahead + j, 0, 2);
        for (int i = 0; i < R; i++)
            for (int j = 0; j < 2; j++) sum[i][j] += a[i * (TILED ? LANES : 1)] * line[j];
    };
    if (TILED) {
        for (long d = 0; d < depth; d += 8, b += 8 * PANEL) {
            const float* from = a + d / LANES * LANES * rows.group + d % LANES;
#pragma GCC unroll UNROLL
            for (long e = 0; e < 8; e++) step(from + e, b + e * PANEL);
        }
    } else {
#pragma GCC unroll 4
        for (long d = 0; d < depth; d++) step(a + d * rows.step, b + d * b_pitch);
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < 2; j++) store(c + i * c_pitch + j * LANES, sum[i][j]);
}

using Product = void (*)(long, const Rows&, const float*, const float*, long, float*, long, bool, long);

template <bool TILED, int... R>
constexpr Product product_of(std::integer_sequence<int, R...>, long rows) {
    constexpr Product all[] = {product<TILED, R + 1>...};
    return all[rows - 1];
}

// The same for all rows, and for several panels: those of b are `b_apart` from each other, those of c side by side.
template <bool TILED>
void multiply(const Rows& a, long depth, const float* b, long b_pitch, long panels, long b_apart, float* c, long c_pitch,
              bool add, long ahead) {
    for (long i = 0, row = 0; row < a.rows; i++, row += a.group) {
        auto work = product_of<TILED>(std::make_integer_sequence<int, ROWS>(), std::min(a.group, a.rows - row));
        for (long q = 0; q < panels; q++)
            work(depth, a, a.p + i * a.apart, b + q * b_apart, b_pitch, c + row * c_pitch + q * PANEL, c_pitch, add, ahead);
    }
}

// ---- weights

// Weights of `rows` channels in and `columns` out, w[row * row_step + column * column_step + i * down + j * right] or
// turned by 180 degrees; or, where w is null, those that have been spread, u: panels, places, rows, columns of a panel.
struct Weights {
    const float *w, *u;
    long rows, columns, row_step, column_step, down, right;
    bool turned;
    long panels() const { return up(columns, PANEL); }
    long apart() const { return rows * PANEL + 16; }  // of places
};

// 8 rows, from `row` on, of a panel, spread to all places; columns that are not there are zeros.
template <class Map>
void spread_weights(const Weights& s, long panel, long row, float* u) {
    float block[9][8][PANEL] = {};
    long columns = std::min(PANEL, s.columns - panel * PANEL);
    for (int tap = 0; tap < 9; tap++) {
        int from = s.turned ? 8 - tap : tap;
        const float* tapped = s.w + from / 3 * s.down + from % 3 * s.right;
        const float* corner = tapped + row * s.row_step + panel * PANEL * s.column_step;
        for (long q = 0; q < columns; q++)
            for (long r = 0; r < 8; r++) block[tap][r][q] = corner[r * s.row_step + q * s.column_step];
    }
    for (long r = 0; r < 8; r++)
        for (long q = 0; q < PANEL; q += LANES)
            both_ways<Map, vec>(
                [&](int i, int j) { return load(&block[i * 3 + j][r][q]); },
                [&](int i, int j, vec v) { store(u + (i * Map::TO + j) * s.apart() + (row + r) * PANEL + q, v); });
}

// ---- all of it

constexpr long MOST_TILES = 84;  // in a block: spread, they fit into the cache, and are enough for what the weights cost
constexpr long OWN_TILES = 12;   // with fewer, threads share a block
constexpr long TOGETHER = 2;     // panels

// How a convolution is shared out: into blocks of tiles, and these into rooms. What comes out does not depend on it.
struct Plan {
    long block, group, blocks, rooms, workers, together, g_apart, v_apart, m_apart, u_floats, v_floats, m_floats;
    bool whole;  // all weights are spread before anything else; or each panel when it is needed
    Plan(const Tiles& t, const Weights& s, int threads) {
        long places = (t.side + 2) * (t.side + 2), count = t.count(), panels = s.panels();
        // with few tiles it costs less to hand them around than to read all weights in every thread
        bool alone = count >= OWN_TILES * threads;
        long turns = up(count, MOST_TILES);
        if (alone) turns = up(turns, threads) * threads;
        block = std::min(count, up(count, turns)), blocks = up(count, block), group = group_of(block);
        rooms = alone ? std::min<long>(threads, blocks) : 1, workers = alone ? 1 : threads;
        together = panels >= TOGETHER * workers ? TOGETHER : 1;
        whole = s.w && blocks > 1;
        g_apart = group * up(s.rows, LANES) * LANES;
        v_apart = spaced(up(block, group) * g_apart), m_apart = block * PANEL * together + 16;
        v_floats = places * v_apart, m_floats = places * m_apart;
        u_floats = !s.w ? 0 : places * s.apart() * (whole ? panels : workers * together);
    }
    long floats() const { return u_floats + rooms * (v_floats + workers * m_floats); }
};

template <int SIDE>
int convolve(const float* x, Weights s, const float* bias, const float* added, float* y, const Tiles& t, int threads) {
    using Way = Scheme<SIDE>;
    constexpr long PLACES = Way::PLACES;
    Plan plan(t, s, threads);
    long c = s.rows, k = s.columns, panel_floats = PLACES * s.apart(), g = plan.group;
    Floats held(plan.floats());
    if (!held.p) return 1;
    float *own_u = held.p, *vs = own_u + plan.u_floats, *ms = vs + plan.rooms * plan.v_floats;
    if (plan.whole) {
        share(s.panels() * (c / 8), threads, [&](long i) {
            long panel = i / (c / 8);
            spread_weights<typename Way::Weight>(s, panel, i % (c / 8) * 8, own_u + panel * panel_floats);
        });
        s.w = nullptr, s.u = own_u;
    }
    // Of tiles first …, which lie in v, the outputs of so many panels from `panel` on.
    auto outputs = [&](long panel, long panels, long first, long tiles, const float* v, float* m, float* own) {
        const float* u = s.w ? own : s.u + panel * panel_floats;
        for (long q = 0; s.w && q < panels; q++)
            for (long row = 0; row < c; row += 8) spread_weights<typename Way::Weight>(s, panel + q, row, own + q * panel_floats);
        long column = panel * PANEL, count = std::min(panels * PANEL, k - column), width = panels * PANEL;
        for (long p = 0; p < PLACES; p++) {
            for (long i = tiles * p / PLACES; i < tiles * (p + 1) / PLACES; i++) await_tile(t, k, first + i, count, y + column);
            multiply<true>({v + p * plan.v_apart, tiles, g, plan.g_apart, 0}, c, u + p * s.apart(), PANEL, panels,
                           panel_floats, m + p * plan.m_apart, width, false, s.w ? 0 : s.apart());
        }
        const float *start = bias ? bias + column : nullptr, *more = added ? added + column : nullptr;
        for (long i = 0; i < tiles; i++)
            gather_tile<typename Way::Output>(m + i * width, plan.m_apart, t, k, first + i, count, start, more, y + column);
    };
    long parcels = up(s.panels(), plan.together);
    auto work = [&](long b, long room) {
        long first = b * plan.block, tiles = std::min(plan.block, t.count() - first), groups = up(tiles, g);
        long parts = std::min(up(plan.workers, parcels), groups), units = parcels * parts;
        float* v = vs + room * plan.v_floats;
        share(tiles, plan.workers, [&](long i) {
            float* place = v + i / g * plan.g_apart + i % g * LANES;
            spread_tile<typename Way::Input, 1>(x, t, c, c, first + i, place, plan.v_apart, g);
        });
        share(plan.workers, plan.workers, [&](long w) {
            float *m = ms + (room * plan.workers + w) * plan.m_floats, *own = own_u + w * plan.together * panel_floats;
            for (long unit = units * w / plan.workers; unit < units * (w + 1) / plan.workers; unit++) {
                long panel = unit / parts * plan.together, panels = std::min(plan.together, s.panels() - panel);
                long part = unit % parts, from = groups * part / parts, to = groups * (part + 1) / parts;
                outputs(panel, panels, first + from * g, std::min(to * g, tiles) - from * g, v + from * plan.g_apart, m, own);
            }
        });
    };
    share(plan.rooms, threads, [&](long r) {
        for (long b = plan.blocks * r / plan.rooms; b < plan.blocks * (r + 1) / plan.rooms; b++) work(b, r);
    });
    return 0;
}

int convolve(const float* x, const Weights& s, const float* bias, const float* added, float* y, const Tiles& t,
             int threads) {
    return (t.side == 4 ? convolve<4> : convolve<2>)(x, s, bias, added, y, t, threads);
}

// ---- the gradient of the weights

using Spread = void (*)(const float*, const Tiles&, long, long, long, float*, long, long);

template <class Map, int BORDER, int... ROW>
constexpr Spread spread_row(std::integer_sequence<int, ROW...>, long row) {
    constexpr Spread all[] = {spread_tile<Map, BORDER, ROW>...};
    return all[row];
}

constexpr long MOST_GRADIENT_TILES = 112;  // in a block: of both sides, spread to a row of places, for the cache

// What one thread does by itself: a row of places, of some panels of channels in.
struct Share {
    long parts, panels;
    Share(long c, int threads) : parts(1), panels(up(c, PANEL)) {
        while (6 * parts % threads && 6 * parts < 4 * threads && parts < panels) parts++;
    }
};

}  // namespace

extern "C" {

// Floats of the spread weights of a convolution in tiles of side 2 or 4, from `rows` to `columns` channels.
long sfumato_spread_size(long rows, long columns, int side) {
    Weights s{nullptr, nullptr, rows, columns, 0, 0, 0, 0, false};
    return (side + 2) * (side + 2) * s.apart() * s.panels();
}

// Weights as in `Weights` into u, spread.
int sfumato_spread_weights(const float* w, float* u, long rows, long columns, long row_step, long column_step, long down,
                           long right, int side, int threads) {
    Weights s{w, nullptr, rows, columns, row_step, column_step, down, right, false};
    long groups = rows / 8, panel_floats = (side + 2) * (side + 2) * s.apart();
    auto work = side == 4 ? spread_weights<SpreadWeight> : spread_weights<SpreadWeight2>;
    share(s.panels() * groups, threads, [&](long i) { work(s, i / groups, i % groups * 8, u + i / groups * panel_floats); });
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

// Floats that sfumato_convolve takes for itself; or, where weights are not kept, sfumato_convolve_once.
long sfumato_convolve_room(long n, long h, long w, long c, long k, int side, int kept, int threads) {
    float any = 0;
    return Plan(Tiles(n, h, w, side), {kept ? nullptr : &any, nullptr, c, k, 0, 0, 0, 0, false}, threads).floats();
}

// y (N, H, W, K) = x (N, H, W, C) * w + bias + added, of spread weights u; bias and added (N, H, W, K) may be null.
// Returns 0, or 1 without memory.
int sfumato_convolve(const float* x, const float* u, const float* bias, const float* added, float* y, long n, long h,
                     long w, long c, long k, int side, int threads) {
    return convolve(x, {nullptr, u, c, k, 0, 0, 0, 0, false}, bias, added, y, Tiles(n, h, w, side), threads);
}

// The same by F(4x4, 3x3) with weights as in `Weights`.
int sfumato_convolve_once(const float* x, const float* weights, const float* bias, const float* added, float* y, long n,
                          long h, long w, long c, long k, long row_step, long column_step, long down, long right,
                          int turned, int threads) {
    Weights s{weights, nullptr, c, k, row_step, column_step, down, right, turned != 0};
    return convolve(x, s, bias, added, y, Tiles(n, h, w, 4), threads);
}

// dw (K, 3, 3, C), the gradient of the weights for x (N, H, W, C) and dy (N, H, W, K). Returns 0, or 1 without memory.
int sfumato_weight_gradient(const float* x, const float* dy, float* dw, long n, long h, long w, long c, long k,
                            int threads) {
    Tiles t(n, h, w, 4);
    Share parted(c, threads);
    long count = t.count(), blocks = up(count, MOST_GRADIENT_TILES), block = up(count, blocks);
    long v_apart = spaced(block * pitch(c)), g_apart = spaced(block * pitch(k)), du_apart = spaced(k * pitch(c));
    long rows = group_of(k), own = 6 * (v_apart + g_apart);
    Floats held(36 * du_apart + threads * own);
    float* du = held.p;
    if (!du) return 1;
    // Of one row of places and some channels in; v is where both sides are spread.
    auto unit = [&](long row, long from, long to, float* v) {
        auto input = spread_row<SpreadInput, 1>(std::make_integer_sequence<int, 6>(), row);
        auto output = spread_row<SpreadOutput, 0>(std::make_integer_sequence<int, 6>(), row);
        float* g = v + 6 * v_apart;
        for (long b = 0; b < blocks; b++) {
            long first = b * block, tiles = std::min(block, count - first);
            for (long i = 0; i < tiles; i++) {
                input(x + from, t, c, to - from, first + i, v + i * pitch(c), v_apart, 1);
                output(dy, t, k, k, first + i, g + i * pitch(k), g_apart, 1);
            }
            for (long p = 0; p < 6; p++)
                for (long q = from; q < to; q += TOGETHER * PANEL)
                    multiply<false>({g + p * g_apart, k, rows, rows, pitch(k)}, tiles, v + p * v_apart + q - from, pitch(c),
                                    std::min(TOGETHER, up(to - q, PANEL)), PANEL, du + (row * 6 + p) * du_apart + q,
                                    pitch(c), b > 0, 8 * pitch(c));
        }
    };
    long units = 6 * parted.parts;
    share(threads, threads, [&](long w) {
        for (long i = units * w / threads; i < units * (w + 1) / threads; i++) {
            long part = i % parted.parts, from = parted.panels * part / parted.parts;
            long to = parted.panels * (part + 1) / parted.parts;
            unit(i / parted.parts, from * PANEL, std::min(to * PANEL, c), du + 36 * du_apart + w * own);
        }
    });
    share(k, threads, [&](long row) {
        each_lanes(c, [&](long q, auto zero) {
            using V = decltype(zero);
            both_ways<GatherWeight, V>(
                [&](int i, int j) { return load<V>(du + (i * 6 + j) * du_apart + row * pitch(c) + q); },
                [&](int i, int j, V v) { store(dw + ((row * 3 + i) * 3 + j) * c + q, v); });
        });
    });
    return 0;
}

}  // extern "C"
