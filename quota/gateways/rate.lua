-- KEYS this minute's count, the last minute's count. ARGV limit, share of this minute that has passed.
-- The last minute counts for the part of it that lies within the last sixty seconds.
-- Returns {1 if allowed or 0, this minute's count, the last minute's count}.
local current = tonumber(redis.call('GET', KEYS[1]) or 0)
local before = tonumber(redis.call('GET', KEYS[2]) or 0)
if current + before * (1 - tonumber(ARGV[2])) + 1 > tonumber(ARGV[1]) then return {0, current, before} end
redis.call('SET', KEYS[1], current + 1, 'EX', 125)
return {1, current + 1, before}
