-- KEYS this minute's count, the last minute's count. ARGV limit, share of this minute that has passed.
-- The last minute counts for the part of it that lies within the last sixty seconds.
-- Returns {1 if allowed or 0, requests that remain}.
local limit, passed = tonumber(ARGV[1]), tonumber(ARGV[2])
local before = tonumber(redis.call('GET', KEYS[2]) or 0) * (1 - passed)
local used = before + tonumber(redis.call('GET', KEYS[1]) or 0)
if used + 1 > limit then return {0, 0} end
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], 125)
return {1, math.floor(limit - used - 1)}
