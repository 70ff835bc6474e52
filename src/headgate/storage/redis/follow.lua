-- Takes over everybody who has claimed between two places in the ledger's order, all or nothing.
--
-- KEYS[1]   hash of one campaign: its fields are persons, and `seq`, the place that it has come to
-- ARGV[1]   the place from which this goes on; -1 for a hash that must not be there
-- ARGV[2]   the place that it leads to
-- ARGV[3]   how long it is kept if nobody follows any more (ms)
-- ARGV[4…]  persons who have claimed after the one place and up to the other
--
-- Returns 1, or 0 where the hash is at another place; then nothing is changed.  Place and persons share a
-- key, so that no eviction, failover or restart keeps the one and loses the other.  Safe to be sent again.

if (redis.call('HGET', KEYS[1], 'seq') or '-1') ~= ARGV[1] then
  return 0
end
for first = 4, #ARGV, 1000 do
  local fields = {}
  for i = first, math.min(first + 999, #ARGV) do
    fields[#fields + 1] = ARGV[i]
    fields[#fields + 1] = ''
  end
  redis.call('HSET', KEYS[1], unpack(fields))
end
redis.call('HSET', KEYS[1], 'seq', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
