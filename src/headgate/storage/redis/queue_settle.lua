-- Takes requests of one campaign that were decided out of its queue.
--
-- KEYS[1]    stream of the campaign's requests that are not settled
-- KEYS[2…]   for each request the hash of its person, see queue_put.lua
-- ARGV[1]    name of the consumers' group
-- ARGV[2]    how long a refusal is kept (ms)
-- ARGV[3…]   for each request its id, its mark, and the refusal, empty for a claim, which the ledger has
--
-- Returns nothing.  A refusal is kept only where the request still waited: somebody may have decided it too,
-- and the person asked again.  Safe to be sent again.

local ids = {}
for i = 2, #KEYS do
  local person, first = KEYS[i], 3 * i - 3
  local id, mark, refusal = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local waited = redis.call('HGET', person, mark) == id
  if waited then
    redis.call('HDEL', person, mark)
  end
  if refusal == '' then
    redis.call('HDEL', person, 'outcome')
  elseif waited then
    redis.call('HSET', person, 'outcome', refusal)
    -- Other requests of theirs that wait are kept for as long as the stream.
    if redis.call('HLEN', person) == 1 then
      redis.call('PEXPIRE', person, ARGV[2])
    end
  end
  ids[#ids + 1] = id
end
redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
redis.call('XDEL', KEYS[1], unpack(ids))
