// Group normalisation (Wu & He 2018) with all that follows it in a residual block, in one go:
//
//   z = (1 + scale) ((x + before - mean) / sqrt(variance + eps) gamma + beta) + shift,   y = z or z sigmoid(z)
//
// before, scale and shift are numbers of a picture and channel. x may lie in two parts, some of its channels in each.
// Sums are of double precision, taken over pieces of a
// picture that depend on its shape alone, so that the number of threads changes nothing.

#include <cmath>

#include "vectors.h"

namespace {

constexpr long HALF = LANES / 2;  // numbers of double precision at once
typedef double half __attribute__((vector_size(HALF * 8), aligned(8), may_alias));
typedef float narrow __attribute__((vector_size(HALF * 4), aligned(4), may_alias));

constexpr long TOGETHER = 8;          // positions whose sums stay in registers
constexpr long PIECE_FLOATS = 16384;  // of a piece: half of a core's first cache

struct Shape {
    long n, positions, c, groups, piece, pieces;
    long parted;  // channels in the first of two parts of x; c: there is one
    Shape(long n, long positions, long c, long parted, long groups)
        : n(n), positions(positions), c(c), groups(groups), parted(parted) {
        piece = std::max(TOGETHER, PIECE_FLOATS / c / TOGETHER * TOGETHER);
        pieces = (positions + piece - 1) / piece;
    }
    long first(long i) const { return i * piece; }
    long last(long i) const { return std::min(positions, (i + 1) * piece); }
    // work(part of x, its first channel, how many it has)
    template <class Work>
    void each_part(Work work) const {
        work(0, 0, parted);
        if (parted < c) work(1, parted, c - parted);
    }
};

template <class V>
inline void add(double* sums, V v) {
    for (unsigned long i = 0; i < sizeof v / sizeof(narrow); i++) {
        narrow part;
        std::memcpy(&part, (const char*)&v + i * sizeof part, sizeof part);
        *(half*)(sums + HALF * i) += __builtin_convertvector(part, half);
    }
}

// exp to 2 units in the last place, within [-87, 88]; beyond, what it is there.
template <class V>
inline V exponential(V x) {
    typedef decltype(x < x) ints;
    x = x < -87.f ? V{} - 87.f : x;
    x = x > 88.f ? V{} + 88.f : x;
    constexpr float shifter = 12582912.f;  // 1.5 * 2^23: adding it rounds to whole numbers
    V whole = x * 1.44269504088896341f + shifter;
    ints power = (ints)whole << 23;
    whole -= shifter;
    V r = x - whole * .693359375f + whole * 2.12194440e-4f;  // log 2, in two parts
    V p = r * 1.9875691500e-4f + 1.3981999507e-3f;           // Cephes' polynomial
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.f;
    return (V)((ints)p + power);
}

template <class V>
inline V sigmoid(V z) {
    return 1.f / (1.f + exponential(-z));
}

// Sums and sums of squares of x + before, for each of c channels, over positions first … last.
void moments(const float* x, const float* before, long c, long first, long last, double* sums, double* squares) {
    std::memset(sums, 0, c * sizeof(double));
    std::memset(squares, 0, c * sizeof(double));
    for (long at = first; at < last; at += TOGETHER) {
        long rows = std::min(TOGETHER, last - at);
        for (long q = 0; q < c; q += HALF) {
            narrow told{};
            if (before) told = *(const narrow*)(before + q);
            half sum{}, square{};
            for (long i = 0; i < rows; i++) {
                half v = __builtin_convertvector(*(const narrow*)(x + (at + i) * c + q) + told, half);
                sum += v;
                square += v * v;
            }
            *(half*)(sums + q) += sum;
            *(half*)(squares + q) += square;
        }
    }
}

// What pieces found, one after the other.
void combine(double* sums, long pieces, long size) {
    for (long i = 1; i < pieces; i++)
        for (long j = 0; j < size; j++) sums[j] += sums[i * size + j];
}

struct Told {
    const float *before, *film;  // (N, C) or null; (N, 2C), scales and then shifts, or null
};

// z = (x - middle) * slope + base, for each channel of a picture; where (x + before - mean) is x - middle + rest.
// Of gradients: dx = (x - middle) * bend + dz * slope + base.
struct Line {
    float *middle, *slope, *base, *bend;
    double* rest;
    Line from(long channel) const {
        return {middle + channel, slope + channel, base + channel, bend + channel, rest + channel};
    }
};

void draw(const Shape& s, long i, const double* mean, const double* rstd, const float* gamma, const float* beta,
          Told told, Line line) {
    long width = s.c / s.groups;
    for (long q = 0; q < s.c; q++) {
        long g = i * s.groups + q / width;
        double scale = told.film ? 1. + told.film[2 * i * s.c + q] : 1., shift = told.film ? told.film[(2 * i + 1) * s.c + q] : 0.;
        double middle = mean[g] - (told.before ? told.before[i * s.c + q] : 0.), slope = rstd[g] * gamma[q] * scale;
        line.middle[q] = (float)middle;
        line.rest[q] = line.middle[q] - middle;
        line.slope[q] = (float)slope;
        line.base[q] = (float)(beta[q] * scale + shift + line.rest[q] * slope);
    }
}

// Of c channels, to where all of y has y_pitch.
template <bool SILU>
void apply(const float* x, float* y, long c, long y_pitch, long first, long last, const Line& line) {
    for (long at = first; at < last; at++)
        each_lanes(c, [&](long q, auto zero) {
            using V = decltype(zero);
            V z = (load<V>(x + at * c + q) - load<V>(line.middle + q)) * load<V>(line.slope + q) + load<V>(line.base + q);
            store(y + at * y_pitch + q, SILU ? z * sigmoid(z) : z);
        });
}

// The gradient of z into dx; for each of c channels the sums of it, of it times (x - middle), and of (x - middle), kinds
// of sums as far apart as positions of dy.
template <bool SILU>
void unbend(const float* x, const float* dy, float* dx, long c, long dy_pitch, long first, long last, const Line& line,
            double* sums) {
    for (long kind = 0; kind < 3; kind++) std::memset(sums + kind * dy_pitch, 0, c * sizeof(double));
    for (long at = first; at < last; at += TOGETHER) {
        long rows = std::min(TOGETHER, last - at);
        each_lanes(c, [&](long q, auto zero) {
            using V = decltype(zero);
            V middle = load<V>(line.middle + q), slope = load<V>(line.slope + q), base = load<V>(line.base + q);
            V sum{}, product{}, plain{};
            for (long i = 0; i < rows; i++) {
                long place = (at + i) * c + q;
                V t = load<V>(x + place) - middle, dz = load<V>(dy + (at + i) * dy_pitch + q);
                if (SILU) {
                    V z = t * slope + base, s = sigmoid(z);
                    dz *= s * (1.f + z * (1.f - s));
                }
                store(dx + place, dz);
                sum += dz;
                product += dz * t;
                plain += t;
            }
            add(sums + q, sum);
            add(sums + dy_pitch + q, product);
            add(sums + 2 * dy_pitch + q, plain);
        });
    }
}

// From the gradient of z to that of x.
void finish(const float* x, float* dx, long c, long first, long last, const Line& line) {
    for (long at = first; at < last; at++)
        each_lanes(c, [&](long q, auto zero) {
            using V = decltype(zero);
            V t = load<V>(x + at * c + q) - load<V>(line.middle + q);
            V slope = load<V>(line.slope + q), bend = load<V>(line.bend + q), base = load<V>(line.base + q);
            float* place = dx + at * c + q;
            store(place, load<V>(place) * slope + t * bend + base);
        });
}

// What a picture is worked on with: sums of its pieces (each `size` numbers), and its line.
struct Bench {
    double* sums;
    Line line;
    static long floats(const Shape& s, long size) { return 2 * (s.pieces * size + s.c) + 4 * s.c; }
    Bench(float* all, const Shape& s, long size) : sums((double*)all) {
        float* numbers = (float*)(sums + s.pieces * size + s.c);
        line = {numbers, numbers + s.c, numbers + 2 * s.c, numbers + 3 * s.c, sums + s.pieces * size};
    }
};

// Does picture(i, bench, threads) for all. Returns 0, or 1 without memory.
template <class Picture>
int each(const Shape& s, long size, int threads, Picture picture) {
    bool alone = s.n >= threads;  // each thread has pictures of its own; or all share one after the other
    long rooms = alone ? threads : 1, apart = (Bench::floats(s, size) + 15) / 16 * 16;
    float* all = room<float>(rooms * apart);
    if (!all) return 1;
    share(rooms, threads, [&](long r) {
        Bench bench(all + r * apart, s, size);
        for (long i = s.n * r / rooms; i < s.n * (r + 1) / rooms; i++) picture(i, bench, alone ? 1 : threads);
    });
    leave(all);
    return 0;
}

// The two parts of something, the second of which may not be there.
template <class Number>
struct Parts {
    Number* of[2];
    // That of picture i.
    Number* picture(const Shape& s, long part, long i) const {
        return of[part] + i * s.positions * (part ? s.c - s.parted : s.parted);
    }
};

template <bool SILU>
int normalise(Parts<const float> x, const float* gamma, const float* beta, Told told, float* y, double* mean, double* rstd,
              const Shape& s, double eps, int threads) {
    long size = 2 * s.c, width = s.c / s.groups;
    return each(s, size, threads, [&](long i, Bench& b, int threads) {
        const float* before = told.before ? told.before + i * s.c : nullptr;
        share(s.pieces, threads, [&](long j) {
            s.each_part([&](long part, long channel, long count) {
                double* sums = b.sums + j * size + channel;
                const float* some = before ? before + channel : nullptr;
                moments(x.picture(s, part, i), some, count, s.first(j), s.last(j), sums, sums + s.c);
            });
        });
        combine(b.sums, s.pieces, size);
        double count = (double)width * s.positions;
        for (long g = 0; g < s.groups; g++) {
            double sum = 0, square = 0;
            for (long q = g * width; q < (g + 1) * width; q++) sum += b.sums[q], square += b.sums[s.c + q];
            double centre = sum / count;
            mean[i * s.groups + g] = centre;
            rstd[i * s.groups + g] = 1 / std::sqrt(std::max(0., square / count - centre * centre) + eps);
        }
        draw(s, i, mean, rstd, gamma, beta, told, b.line);
        float* to = y + i * s.positions * s.c;
        share(s.pieces, threads, [&](long j) {
            s.each_part([&](long part, long channel, long count) {
                apply<SILU>(x.picture(s, part, i), to + channel, count, s.c, s.first(j), s.last(j), b.line.from(channel));
            });
        });
    });
}

struct Gradients {
    Parts<float> x;
    float *gamma, *beta, *before, *film;  // as what they are gradients of; the last two may be null
};

template <bool SILU>
int unnormalise(Parts<const float> x, const float* gamma, const float* beta, Told told, const float* dy, const double* mean,
                const double* rstd, Gradients to, const Shape& s, int threads) {
    long size = 3 * s.c, width = s.c / s.groups;
    double* parts = room<double>(s.n * 2 * s.c);  // of the gradients of gamma and beta
    if (!parts) return 1;
    int failed = each(s, size, threads, [&](long i, Bench& b, int threads) {
        const float* given = dy + i * s.positions * s.c;
        draw(s, i, mean, rstd, gamma, beta, told, b.line);
        share(s.pieces, threads, [&](long j) {
            s.each_part([&](long part, long channel, long count) {
                unbend<SILU>(x.picture(s, part, i), given + channel, to.x.picture(s, part, i), count, s.c, s.first(j),
                             s.last(j), b.line.from(channel), b.sums + j * size + channel);
            });
        });
        combine(b.sums, s.pieces, size);
        double count = (double)width * s.positions;
        for (long g = 0; g < s.groups; g++) {
            double r = rstd[i * s.groups + g], even = 0, along = 0;
            for (long q = g * width; q < (g + 1) * width; q++) {
                double scale = told.film ? 1. + told.film[2 * i * s.c + q] : 1., sum = b.sums[q];
                double product = r * (b.sums[s.c + q] + b.line.rest[q] * sum);  // of dz and the normalised
                even += gamma[q] * scale * sum;
                along += gamma[q] * scale * product;
                parts[2 * i * s.c + q] = scale * product;
                parts[(2 * i + 1) * s.c + q] = scale * sum;
                if (to.film) {
                    to.film[2 * i * s.c + q] = (float)(gamma[q] * product + beta[q] * sum);
                    to.film[(2 * i + 1) * s.c + q] = (float)sum;
                }
            }
            even /= count, along /= count;
            for (long q = g * width; q < (g + 1) * width; q++) {
                double scale = told.film ? 1. + told.film[2 * i * s.c + q] : 1.;
                double u = r * gamma[q] * scale, v = -r * r * along, w = -r * (even + r * b.line.rest[q] * along);
                if (to.before) to.before[i * s.c + q] = (float)(u * b.sums[q] + v * b.sums[2 * s.c + q] + w * s.positions);
                b.line.slope[q] = (float)u, b.line.base[q] = (float)w, b.line.bend[q] = (float)v;
            }
        }
        share(s.pieces, threads, [&](long j) {
            s.each_part([&](long part, long channel, long count) {
                finish(x.picture(s, part, i), to.x.picture(s, part, i), count, s.first(j), s.last(j), b.line.from(channel));
            });
        });
    });
    for (long q = 0; !failed && q < s.c; q++) {
        double product = 0, sum = 0;
        for (long i = 0; i < s.n; i++) product += parts[2 * i * s.c + q], sum += parts[(2 * i + 1) * s.c + q];
        to.gamma[q] = (float)product, to.beta[q] = (float)sum;
    }
    leave(parts);
    return failed;
}

}  // namespace

extern "C" {

// y (N, positions, C) of x, the first `parted` channels, and beside, the others, null where these are all; moments (2, N,
// groups), means and then 1 / sqrt(variance + eps), are for the gradients. Returns 0, or 1 without memory.
int sfumato_normalise(const float* x, const float* beside, const float* gamma, const float* beta, const float* before,
                      const float* film, float* y, double* moments, long n, long positions, long c, long parted,
                      long groups, double eps, int silu, int threads) {
    auto work = silu ? normalise<true> : normalise<false>;
    Shape s(n, positions, c, parted, groups);
    return work({x, beside}, gamma, beta, {before, film}, y, moments, moments + n * groups, s, eps, threads);
}

// All gradients for dy, that of y. Those of beside, before and film are left out where these are null.
int sfumato_normalise_gradients(const float* x, const float* beside, const float* gamma, const float* beta,
                                const float* before, const float* film, const float* dy, const double* moments, float* dx,
                                float* dbeside, float* dgamma, float* dbeta, float* dbefore, float* dfilm, long n,
                                long positions, long c, long parted, long groups, int silu, int threads) {
    auto work = silu ? unnormalise<true> : unnormalise<false>;
    Gradients to{{dx, dbeside}, dgamma, dbeta, dbefore, dfilm};
    Shape s(n, positions, c, parted, groups);
    return work({x, beside}, gamma, beta, {before, film}, dy, moments, moments + n * groups, to, s, threads);
}

}  // extern "C"
