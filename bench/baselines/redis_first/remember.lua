-- Puts claims back that the ledger has, before the stock is loaded.
--
-- KEYS[1]  claims, as in take.lua
-- ARGV     person, claim, person, claim …
--
-- What is there already is newer than what another worker reads from the ledger.

for i = 1, #ARGV, 2 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
end
