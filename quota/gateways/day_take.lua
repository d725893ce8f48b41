-- ARGV simulated time or '', hold, millionths of USD, tokens, limit of USD in millionths or -1, limit of tokens or -1, life of the hold in s.
-- Returns {0 set aside, 1 too little money, 2 too few tokens, 3 nobody has counted this day yet, 4 it would fit if what others
-- have set aside came back; USD used, tokens used}.
if redis.call('EXISTS', KEYS[1]) == 0 then return {3, 0, 0} end
local now = clock(ARGV[1])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do let_go(id) end
local usd, tokens = pair('usd', 'tokens')
if redis.call('HEXISTS', KEYS[1], 'h:' .. ARGV[2]) == 1 then return {0, usd, tokens} end
local held_usd, held_tokens = pair('held_usd', 'held_tokens')
local more_usd, more_tokens = tonumber(ARGV[3]), tonumber(ARGV[4])
local most_usd, most_tokens = tonumber(ARGV[5]), tonumber(ARGV[6])
local function passes(used, more, most) return most >= 0 and used + more > most end
if passes(usd - held_usd, more_usd, most_usd) then return {1, usd, tokens} end
if passes(tokens - held_tokens, more_tokens, most_tokens) then return {2, usd, tokens} end
if passes(usd, more_usd, most_usd) or passes(tokens, more_tokens, most_tokens) then return {4, usd, tokens} end
set_aside(ARGV[2], more_usd, more_tokens, now + tonumber(ARGV[7]))
redis.call('PEXPIRE', KEYS[2], redis.call('PTTL', KEYS[1]))
return {0, usd + more_usd, tokens + more_tokens}
