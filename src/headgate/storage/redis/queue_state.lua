-- Says how persons stand in the queue of one campaign.
--
-- KEYS[1]    stream of the campaign's requests that are not settled
-- KEYS[2…]   for each person their hash, see queue_put.lua
--
-- Returns for each person `pending` where a request of theirs waits, else the refusal that was decided last,
-- else an empty text.  Changes nothing.

local results = {}
for i = 2, #KEYS do
  local result = ''
  local fields = redis.call('HGETALL', KEYS[i])
  for f = 1, #fields, 2 do
    if fields[f] ~= 'outcome' then
      if #redis.call('XRANGE', KEYS[1], fields[f + 1], fields[f + 1]) > 0 then
        result = 'pending'
      end
    elseif result == '' then
      result = fields[f + 1]
    end
  end
  results[#results + 1] = result
end
return results
