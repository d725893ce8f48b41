-- ARGV the ledger's millionths of USD and tokens. What is settled is never less than the ledger says, as it may be after a wipe
-- under calls that were settled but not booked; what is set aside stays on top. Where nobody counts this day it does nothing.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local usd, tokens = pair('usd', 'tokens')
local held_usd, held_tokens = pair('held_usd', 'held_tokens')
add('', math.max(0, tonumber(ARGV[1]) - (usd - held_usd)), math.max(0, tonumber(ARGV[2]) - (tokens - held_tokens)))
return 1
