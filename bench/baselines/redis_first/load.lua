-- Puts the stock there, once the claims are: from then on the campaign is sold.
--
-- KEYS[1], KEYS[2]  stock and claims, as in take.lua
-- ARGV[1]           how many claims were put there
-- ARGV[2…]          pool, units, pool, units …
--
-- Returns 1 where the campaign is loaded; 0 where claims were erased meanwhile, so that they have to come again.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 1
end
if redis.call('HLEN', KEYS[2]) < tonumber(ARGV[1]) then
  return 0
end
for first = 2, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return 1
