-- KEYS for each request its tenant's count of this minute and of the last one. ARGV share of this minute that has passed, then each request's limit.
-- The last minute counts for the part of it that lies within the last sixty seconds.
-- Returns for each request, one after another: 1 if allowed or 0, this minute's count, the last minute's count.
local told, rest = {}, 1 - tonumber(ARGV[1])
for at = 1, #KEYS / 2 do
  local key = KEYS[2 * at - 1]
  local current = tonumber(redis.call('GET', key) or 0)
  local before = tonumber(redis.call('GET', KEYS[2 * at]) or 0)
  local allowed = 0
  if current + before * rest + 1 <= tonumber(ARGV[at + 1]) then
    allowed, current = 1, current + 1
    redis.call('SET', key, current, 'EX', 125)
  end
  told[3 * at - 2], told[3 * at - 1], told[3 * at] = allowed, current, before
end
return told
