-- What a person holds.
--
-- KEYS[1], KEYS[2]  stock and claims, as in take.lua
-- ARGV[1]           person
--
-- Returns {1 where the campaign is loaded, else 0; the claim or ''}.

return {redis.call('EXISTS', KEYS[1]), redis.call('HGET', KEYS[2], ARGV[1]) or ''}
