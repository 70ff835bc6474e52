-- What the last look at a ledger found, and whose turn it is to look again.
--
-- KEYS[1]  the head; it expires when it is too old to be shown
-- KEYS[2]  the turn: the token of whoever looks now
-- ARGV[1]  how much of its time a head has left (ms) while nobody need look again
-- ARGV[2]  a token of the caller's
-- ARGV[3]  how long a look may take (ms)
--
-- Returns the head, or an empty string, and 1 where the turn is the caller's.

local head = redis.call('GET', KEYS[1])
local turn = 0
if not head or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then
    turn = 1
  end
end
return {head or '', turn}
