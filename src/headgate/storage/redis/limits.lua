-- Counts requests against limits: all requests of a batch whose keys lie in one slot, in one call.
--
-- KEYS         the limits of the first request, then those of the second, and so on.  Each is a counter that
--              expires with its subject's minute.
-- ARGV[1]      length of that minute (ms)
-- ARGV[2...]   for each request: how many limits it has, then for each of them how many requests it allows
--
-- Returns for each request 0, or how long to wait (ms) for the first of its limits that is used up; the
-- limits behind that one are not counted.  Not to be sent again after a time-out: it would count twice.

local window = ARGV[1]
local waits = {}
local key, argument = 1, 2
while ARGV[argument] do
  local count = tonumber(ARGV[argument])
  local wait = 0
  for i = 1, count do
    if wait == 0 then
      local counter = KEYS[key + i - 1]
      local asked = redis.call('INCR', counter)
      if asked == 1 then
        redis.call('PEXPIRE', counter, window)
      elseif asked > tonumber(ARGV[argument + i]) then
        -- At least 1, because 0 says that it may go on.
        wait = math.max(redis.call('PTTL', counter), 1)
      end
    end
  end
  waits[#waits + 1] = wait
  key = key + count
  argument = argument + count + 1
end
return waits
