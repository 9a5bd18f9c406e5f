#!/bin/bash
# Lua: tables, strings, patterns, closures, coroutines and its collector, all over realloc.
# timeout: 180
. tests/real/real.inc
rounds=12
[ -z "${FULL:-}" ] || rounds=60

workload() {
    cat >load.lua <<'LUA'
local rounds, sum = tonumber(arg[1]), 0
local function words(n)
    return coroutine.wrap(function() for i = 1, n do coroutine.yield(("w%d"):format(i * 7 % 1000)) end end)
end
for r = 1, rounds do
    local count, keep = {}, setmetatable({}, {__mode = "v"})
    for w in words(20000) do count[w] = (count[w] or 0) + 1 end
    local names = {}
    for w, n in pairs(count) do names[#names + 1] = w .. "=" .. n end
    table.sort(names)
    local text = table.concat(names, ",")
    sum = sum + #text:gsub("%d+", function(d) return d * 2 end)
    for i = 1, 2000 do keep[i] = setmetatable({i, tostring(i), function() return i end}, {__gc = function() sum = sum + 1 end}) end
    local parts = {}
    for line in text:rep(20, "\n"):gmatch("[^\n]+") do parts[#parts + 1] = line:upper():reverse() end
    sum = sum + #table.concat(parts)
    if r % 3 == 0 then collectgarbage() end
    local f = load("local t = {} for i = 1, 5000 do t[i] = {i, {i}} end return #t")
    sum = sum + f()
end
collectgarbage()
print(sum, math.type(sum))
LUA
    real_agent lua5.4 load.lua $rounds
}
real_run lua workload
exit $failed
