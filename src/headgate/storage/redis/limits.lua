-- Counts requests against limits: all requests of a batch whose keys lie in one slot, in one call.
--
-- KEYS         the limits of the first request, then those of the second, and so on.  Each is a counter that
--              expires with its subject's minute.
-- ARGV[1]      length of that minute (ms)
-- ARGV[2...]   for requests that follow each other and are limited alike: how many they are, how many limits
--              each of them has, then for each of these how many requests it allows
--
-- Returns for each request 0, or how long to wait (ms) for the first of its limits that is used up; the
-- limits behind that one are not counted.  Not to be sent again after a time-out: it would count twice.

local window = ARGV[1]
local waits = {}
local key, argument = 1, 2
while ARGV[argument] do
  local requests, limits = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
  local allowed = {}
  for i = 1, limits do
    allowed[i] = tonumber(ARGV[argument + 1 + i])
  end
  for _ = 1, requests do
    local wait = 0
    for i = 1, limits do
      local counter = KEYS[key + i - 1]
      local asked = redis.call('INCR', counter)
      if asked == 1 then
        redis.call('PEXPIRE', counter, window)
      elseif asked > allowed[i] then
        -- At least 1, because 0 says that it may go on.
        wait = math.max(redis.call('PTTL', counter), 1)
        break
      end
    end
    waits[#waits + 1] = wait
    key = key + limits
  end
  argument = argument + limits + 2
end
return waits
