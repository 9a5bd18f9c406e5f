/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames as C++ makes them: templates, virtual calls, std::function, std::sort, constructors, catch blocks. */
#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{
struct Node {
    virtual ~Node() = default;
    virtual int visit(int depth, const std::function<void()> &fn) = 0;
};
template <int N> struct Level : Node {
    double pad[N] = {};
    int visit(int depth, const std::function<void()> &fn) override
    {
        Level<N + 1> next;
        pad[0] = depth;
        return next.visit(depth + 1, fn) + static_cast<int>(pad[0]);
    }
};
template <> struct Level<8> : Node {
    int visit(int depth, const std::function<void()> &fn) override
    {
        std::vector<std::string> names{"c", "a", "b"};
        bool once = false;
        std::sort(names.begin(), names.end(), [&](const std::string &a, const std::string &b) {
            if (!once) {
                once = true;
                fn();
            }
            return a < b;
        });
        return depth;
    }
};
struct InConstructor {
    explicit InConstructor(const std::function<void()> &fn) { fn(); }
};
} // namespace

extern "C" int deep_call(void (*fn)(void));
extern "C" int deep_call(void (*fn)(void))
{
    std::function<void()> f = fn;
    Level<1> root;
    Node &node = root;
    int sum = node.visit(0, f);
    InConstructor object(f);
    std::map<int, std::function<void()>> calls{{1, f}};
    try {
        throw std::runtime_error("x");
    } catch (const std::exception &e) {
        calls[1]();
        sum += static_cast<int>(std::string(e.what()).size());
    }
    return sum;
}
