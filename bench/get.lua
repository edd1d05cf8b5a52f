-- GETs of the 4 KiB files that bench/run has put.
local count = 0
function request()
    count = count + 1
    return wrk.format("GET", "/objects/bench/get/" .. (count * 7919 % 500))
end
