-- PUTs of 4 KiB below the path that is given, under names that no run had before.
local body = string.rep("x", 4096)
local threads = 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
function init(args) path = args[1]; stamp = os.time() .. "-" .. math.floor(os.clock() * 1e6); count = 0 end
function request()
    count = count + 1
    return wrk.format("PUT", path .. stamp .. "/" .. number .. "/" .. count, nil, body)
end
