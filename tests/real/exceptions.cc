/* SPDX-License-Identifier: Apache-2.0
 *
 * C++ under the agent: exceptions thrown through several frames on eight threads, containers, strings, threads that come
 * and go, over-aligned new, thread_local objects with destructors. Prints sums that depend on nothing but the source. */
#include <atomic>
#include <chrono>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct alignas(64) Wide {
    double v[8];
};

struct Tracker {
    static std::atomic<long> alive;
    std::string text = std::string(200, 'x');
    Tracker() { alive++; }
    ~Tracker() { alive--; }
};
std::atomic<long> Tracker::alive;

static thread_local std::unique_ptr<Tracker> per_thread;

static int deep(int depth, int n)
{
    Tracker guard;
    if (depth == 0) {
        if (n % 3 == 0) throw std::runtime_error("runtime " + std::to_string(n));
        if (n % 3 == 1) throw n;
        return n;
    }
    return deep(depth - 1, n) + static_cast<int>(guard.text.size());
}

static long work(int seed)
{
    per_thread = std::make_unique<Tracker>();
    long sum = 0;
    std::map<std::string, std::vector<std::shared_ptr<Tracker>>> m;
    for (int i = 0; i < 3000; i++) {
        try {
            sum += deep(8, seed + i);
        } catch (const std::runtime_error &e) {
            sum += static_cast<long>(std::string(e.what()).size());
        } catch (int n) {
            try {
                throw std::make_unique<Wide>();
            } catch (std::unique_ptr<Wide> &w) {
                sum += reinterpret_cast<uintptr_t>(w.get()) % 64 == 0 ? n : -1000000;
            }
        }
        auto &v = m["key" + std::to_string((seed + i) % 50)];
        v.push_back(std::make_shared<Tracker>());
        if (v.size() > 20) v.clear();
    }
    for (auto &kv : m) sum += static_cast<long>(kv.second.size());
    return sum;
}

int main()
{
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1300);
    int rounds = 0;
    long first = 0, wrong = 0;
    do {
        std::vector<std::future<long>> f;
        for (int t = 0; t < 8; t++) f.push_back(std::async(std::launch::async, work, t * 1000));
        long sum = 0;
        for (auto &x : f) sum += x.get();
        if (rounds++ == 0) first = sum;
        wrong += sum != first;
    } while (std::chrono::steady_clock::now() < end);
    std::cout << "sum " << first << ", wrong rounds " << wrong << ", alive " << Tracker::alive << std::endl;
    return wrong != 0 || Tracker::alive != 0;
}
