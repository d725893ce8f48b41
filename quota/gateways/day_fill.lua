-- ARGV simulated time or '', the ledger's millionths of USD and tokens, those that may be under way, for how long to count these in s, life of the day in s.
-- The first who comes begins the count.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'usd', ARGV[2], 'tokens', ARGV[3])
if tonumber(ARGV[4]) > 0 or tonumber(ARGV[5]) > 0 then
  set_aside('under-way', tonumber(ARGV[4]), tonumber(ARGV[5]), clock(ARGV[1]) + tonumber(ARGV[6]))
end
redis.call('EXPIRE', KEYS[1], ARGV[7])
redis.call('EXPIRE', KEYS[2], ARGV[7])
return 1
