-- Shows what a look at a ledger has found, all of it or nothing.
--
-- KEYS[1]   the head
-- KEYS[2]   the turn
-- KEYS[3]   hash of the parts that heads name
-- ARGV[1]   the token of whoever has looked
-- ARGV[2]   the new head
-- ARGV[3]   how long it may be shown (ms)
-- ARGV[4]   how long parts are kept where nobody looks any more (ms)
-- ARGV[5…]  names of parts, each followed by the part
--
-- Returns 1, or 0 where the turn has passed to somebody else, or was lost together with what is here; then nothing is
-- changed.  Safe to be sent again.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
