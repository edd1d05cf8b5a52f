-- PUTs of 4 KiB under names that no run had before.
local body = string.rep("x", 4096)
local threads = 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
function init() stamp = os.time() .. "-" .. math.floor(os.clock() * 1e6); count = 0 end
function request()
    count = count + 1
    return wrk.format("PUT", "/objects/bench/" .. stamp .. "/" .. number .. "/" .. count, nil, body)
end
