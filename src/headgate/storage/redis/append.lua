-- Appends events to a stream, from the place where it is.
--
-- KEYS[1]   the stream
-- ARGV[1]   the place from which this goes on: the id that the stream gave last, 0-0 where it is not there
-- ARGV[2]   how many events are kept, about; older ones are removed
-- ARGV[3…]  for each event its place, then the event
--
-- Returns 1, or 0 where the stream is at another place; then nothing is changed.  Safe to be sent again.

local place = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      place = info[i + 1]
    end
  end
end
if place ~= ARGV[1] then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ARGV[i], 'event', ARGV[i + 1])
end
return 1
