-- Hands requests of one campaign to a consumer; they stay in the queue until they are settled.
--
-- KEYS[1]   stream of the campaign's requests that are not settled
-- ARGV[1]   name of the consumers' group
-- ARGV[2]   name of the consumer
-- ARGV[3]   `new`; `own` for what it was handed before; `abandoned` for what any consumer was handed
-- ARGV[4]   … at least so long ago (ms)
-- ARGV[5]   how many at most
--
-- Returns how many are not settled, the id of the first of them, which begins with the time (ms), and for each
-- that is handed out its id, person, mark, pool, key and body.  Safe to be sent again: what was handed to
-- nobody's ears is `own`.

local stream, group = KEYS[1], ARGV[1]
if redis.call('EXISTS', stream) == 0 then
  return {0, ''}
end
local found
if ARGV[3] == 'abandoned' then
  found = redis.call('XAUTOCLAIM', stream, group, ARGV[2], ARGV[4], '0-0', 'COUNT', ARGV[5])[2]
else
  local from = ARGV[3] == 'own' and '0' or '>'
  local read = redis.call('XREADGROUP', 'GROUP', group, ARGV[2], 'COUNT', ARGV[5], 'STREAMS', stream, from)
  found = read and read[1][2] or {}
end
local handed = {}
for _, entry in ipairs(found) do
  local id, fields = entry[1], entry[2]
  if fields and #fields == 10 and #fields[2] == 16 and tonumber(fields[6]) then
    handed[#handed + 1] = {id, fields[2], fields[4], fields[6], fields[8], fields[10]}
  else
    -- Written by another version, or deleted by hand: whoever waits for it finds that they do not, and asks again.
    redis.call('XACK', stream, group, id)
    redis.call('XDEL', stream, id)
  end
end
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', '1')[1]
return {redis.call('XLEN', stream), first and first[1] or '', unpack(handed)}
