/* SPDX-License-Identifier: Apache-2.0
 *
 * Boost.Fiber (and Boost.Context for "switch-fp") in the loads of bench/coro.plan: see seep.c. Its default scheduler: one
 * thread, round robin. It has no select and no timers of their own. */
#include <boost/context/continuation.hpp>
#include <boost/fiber/all.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace fibers = boost::fibers;
static long count;

static double now()
{
    return (double)std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

static double load_switch_fp()
{
    namespace ctx = boost::context;
    ctx::continuation other = ctx::callcc([](ctx::continuation &&back) {
        for (;;) back = back.resume();
        return std::move(back);
    });
    double begin = now();
    for (long i = 0; i < count; i++) other = other.resume();
    double ns = (now() - begin) / (double)(2 * count);
    printf("metric ns %.3f\n", ns);
    fflush(stdout);
    _Exit(0);
}

/* As in seep.c: one of them times the turns from its second one on. */
static double yields(long many, size_t stack)
{
    long each = count / many;
    double first = 0, last = 0;
    std::vector<fibers::fiber> all;
    for (long i = 0; i < many; i++)
        all.emplace_back(std::allocator_arg, fibers::fixedsize_stack(stack), [each, i, &first, &last] {
            boost::this_fiber::yield();
            if (i == 0) first = now();
            for (long k = 1; k < each; k++) boost::this_fiber::yield();
            if (i == 0) last = now();
        });
    for (auto &f : all) f.join();
    return (last - first) / (double)((each - 1) * many);
}
static double load_yield()
{
    return yields(2, 65536);
}
static double load_many()
{
    return yields(100000, 8192);
}

static double load_chan()
{
    fibers::unbuffered_channel<long> ping, pong;
    fibers::fiber f([&] {
        long v;
        while (ping.pop(v) == fibers::channel_op_status::success) pong.push(v);
    });
    double begin = now();
    for (long i = 0, v; i < count; i++) {
        ping.push(i);
        pong.pop(v);
    }
    double ns = (now() - begin) / (double)count;
    ping.close();
    f.join();
    return ns;
}

static double load_buffered()
{
    fibers::buffered_channel<long> c(128);
    fibers::fiber f([&] {
        for (long i = 0; i < count; i++) c.push(i);
        c.close();
    });
    double begin = now();
    long v;
    while (c.pop(v) == fibers::channel_op_status::success) continue;
    double ns = (now() - begin) / (double)count;
    f.join();
    return ns;
}

static double load_spawn()
{
    fibers::mutex m;
    fibers::condition_variable zero;
    double begin = now();
    for (long i = 0; i < count; i += 100) {
        int left = 100;
        for (int k = 0; k < 100; k++)
            fibers::fiber([&] {
                std::unique_lock<fibers::mutex> l(m);
                if (--left == 0) zero.notify_all();
            }).detach();
        std::unique_lock<fibers::mutex> l(m);
        zero.wait(l, [&] { return left == 0; });
    }
    return (now() - begin) / (double)count;
}

static double load_mutex()
{
    fibers::mutex m;
    double begin = now();
    for (long i = 0; i < count; i++) {
        m.lock();
        m.unlock();
    }
    return (now() - begin) / (double)count;
}

static const struct {
    const char *name;
    double (*run)();
} loads[] = {
    {"switch-fp", load_switch_fp}, {"yield", load_yield}, {"many", load_many},   {"chan", load_chan},
    {"buffered", load_buffered},   {"spawn", load_spawn}, {"mutex", load_mutex},
};

int main(int argc, char **argv)
{
    if (argc == 3)
        for (auto &l : loads)
            if (std::strcmp(argv[1], l.name) == 0) {
                count = std::atol(argv[2]);
                std::printf("metric ns %.3f\n", l.run());
                return 0;
            }
    std::fprintf(stderr, "usage: boost LOAD COUNT\n");
    return 2;
}
