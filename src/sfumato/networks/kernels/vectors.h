// What all kernels share: many floats at once, work shared out to threads, memory.
//
// No headers but the standard's. Pictures lie in memory as N, H, W, C; channels are multiples of 8.

#pragma once

#include <algorithm>
#include <cstring>
#include <new>

namespace {

#ifdef __AVX512F__
constexpr long LANES = 16;
#else
constexpr long LANES = 8;
#endif
typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float vec8 __attribute__((vector_size(32)));

template <class V = vec>
inline V load(const float* p) {
    V v;
    std::memcpy(&v, p, sizeof v);  // from any address
    return v;
}
template <class V>
inline void store(float* p, V v) {
    std::memcpy(p, &v, sizeof v);
}

// work(channel, vector of zeros) for so many channels at a time as fit into a vector, and for 8 that may be left.
template <class Work>
inline void each_lanes(long channels, Work work) {
    long c = 0;
    for (; c + LANES <= channels; c += LANES) work(c, vec{});
    if (LANES > 8 && c < channels) work(c, vec8{});
}

// Does work(0) … work(count - 1), each by one of the threads.
template <class Work>
void share(long count, int threads, Work work) {
    if (threads == 1 || count == 1) {
        for (long i = 0; i < count; i++) work(i);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < count; i++) work(i);
}

template <class Number>
Number* room(long numbers) {
    return static_cast<Number*>(::operator new(numbers * sizeof(Number), std::align_val_t(64), std::nothrow));
}
inline void leave(void* p) { ::operator delete(p, std::align_val_t(64)); }

constexpr long MOST_HELD = 1 << 24;  // floats: 64 MiB

// Floats for one piece of work. Each thread holds on to as many as it ever had, up to a bound: fresh pages can cost as
// much as what is done with them.
class Floats {
  public:
    float* p;
    explicit Floats(long count) : p(nullptr) {
        static thread_local Held held;
        if (count > MOST_HELD) {
            own = p = room<float>(count);
            return;
        }
        if (held.count < count) {
            leave(held.p);
            held.p = room<float>(count);
            held.count = held.p ? count : 0;
        }
        p = held.p;
    }
    ~Floats() {
        if (own) leave(own);
    }
    Floats(const Floats&) = delete;
    Floats& operator=(const Floats&) = delete;

  private:
    struct Held {
        float* p = nullptr;
        long count = 0;
        ~Held() { leave(p); }
    };
    float* own = nullptr;
};

}  // namespace
