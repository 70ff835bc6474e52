-- Puts requests of one campaign into its queue: all that arrived together, in one call.
--
-- KEYS[1]    stream of the campaign's requests that are not settled; made here, with the consumers' group
-- KEYS[2…]   for each request the hash of its person: a mark names the entry of a request that waits, and
--            `outcome` the refusal that was decided last
-- ARGV[1]    name of the consumers' group
-- ARGV[2]    how many requests may wait
-- ARGV[3]    how many of them may be of one person
-- ARGV[4]    how long all of it is kept where nobody asks any more (ms)
-- ARGV[5…]   for each request person, mark, pool, key and body; requests with the same mark are the same
--            request, or one that must not be sent with this key
--
-- Returns for each request `queued`, or `reused` where its mark is that of a request with another body, or
-- `full`.  A mark counts while its entry is there: whatever part of this is lost, nobody waits for nothing.
-- Safe to be sent again.

local stream = KEYS[1]

local function entry(id)
  return redis.call('XRANGE', stream, id, id)[1]
end

local function undecided(person)
  local count = 0
  local fields = redis.call('HGETALL', person)
  for f = 1, #fields, 2 do
    if fields[f] ~= 'outcome' then
      if entry(fields[f + 1]) then
        count = count + 1
      else
        redis.call('HDEL', person, fields[f])
      end
    end
  end
  return count
end

if redis.call('EXISTS', stream) == 0 then
  redis.call('XGROUP', 'CREATE', stream, ARGV[1], '0', 'MKSTREAM')
end
local length = redis.call('XLEN', stream)
local results = {}
for i = 2, #KEYS do
  local first = 5 * i - 5
  local mark, body = ARGV[first + 1], ARGV[first + 4]
  local id = redis.call('HGET', KEYS[i], mark)
  local known = id and entry(id)
  local result = 'queued'
  if known then
    if known[2][10] ~= body then
      result = 'reused'
    end
  elseif length >= tonumber(ARGV[2]) or undecided(KEYS[i]) >= tonumber(ARGV[3]) then
    result = 'full'
  else
    id = redis.call('XADD', stream, '*', 'person', ARGV[first], 'mark', mark, 'pool', ARGV[first + 2],
      'key', ARGV[first + 3], 'body', body)
    length = length + 1
    redis.call('HSET', KEYS[i], mark, id)
    redis.call('HDEL', KEYS[i], 'outcome')
    redis.call('PEXPIRE', KEYS[i], ARGV[4])
  end
  results[#results + 1] = result
end
redis.call('PEXPIRE', stream, ARGV[4])
return results
