-- GETs of the 4 KiB files that measure_small.py has put below the path that is given; so many are there.
local count = 0
function init(args) path = args[1]; files = tonumber(args[2]) end
function request()
    count = count + 1
    return wrk.format("GET", path .. (count * 7919 % files))
end
