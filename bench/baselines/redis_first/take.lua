-- Gives a person a unit of a pool, or says why not, in one step.
--
-- KEYS[1]  hash of the campaign's stock: pool -> units left
-- KEYS[2]  hash of its claims: person -> claim, as text
-- KEYS[3]  stream of wins that the ledger has not got yet
-- ARGV     pool, person, id and code of the claim if there will be one, opens_at, closes_at (ms)
--
-- Returns {outcome, claim or ''}.  The hash of claims takes the place of the usual set of buyers, because
-- whoever asks again is shown the same claim.  Not to be sent again after a time-out: ask `held.lua`.

local left = redis.call('HGET', KEYS[1], ARGV[1])
if not left then
  return {'unloaded', ''}
end
local held = redis.call('HGET', KEYS[2], ARGV[2])
if held then
  return {'repeated', held}
end
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
if tonumber(now) < tonumber(ARGV[5]) then
  return {'not_open', ''}
end
if tonumber(now) >= tonumber(ARGV[6]) then
  return {'closed', ''}
end
if tonumber(left) <= 0 then
  return {'sold_out', ''}
end
local claim = table.concat({ARGV[3], ARGV[4], ARGV[1], now}, ' ')
redis.call('HINCRBY', KEYS[1], ARGV[1], -1)
redis.call('HSET', KEYS[2], ARGV[2], claim)
redis.call('XADD', KEYS[3], '*', 'person', ARGV[2], 'claim', claim)
return {'confirmed', claim}
