-- One tenant's day: KEYS[1] a hash with `usd` (millionths) and `tokens`, used and set aside together, of that `held_usd` and
-- `held_tokens`, which are set aside, and `h:<id>`, what each hold set aside; KEYS[2] the holds by the moment at which they
-- lapse. A hold whose process vanished lapses.
local function clock(simulated)
  if simulated ~= '' then return tonumber(simulated) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function add(prefix, usd, tokens)
  redis.call('HINCRBY', KEYS[1], prefix .. 'usd', string.format('%.0f', usd + 0))  -- no -0
  redis.call('HINCRBY', KEYS[1], prefix .. 'tokens', string.format('%.0f', tokens + 0))
end

local function let_go(id)
  local held = redis.call('HGET', KEYS[1], 'h:' .. id)
  redis.call('ZREM', KEYS[2], id)
  if not held then return end
  local usd, tokens = string.match(held, '(%d+):(%d+)')
  redis.call('HDEL', KEYS[1], 'h:' .. id)
  add('', -tonumber(usd), -tonumber(tokens))
  add('held_', -tonumber(usd), -tonumber(tokens))
end

local function set_aside(id, usd, tokens, until_at)
  redis.call('HSET', KEYS[1], 'h:' .. id, string.format('%.0f:%.0f', usd, tokens))
  redis.call('ZADD', KEYS[2], until_at, id)
  add('', usd, tokens)
  add('held_', usd, tokens)
end

local function pair(first, second)
  local found = redis.call('HMGET', KEYS[1], first, second)
  return tonumber(found[1] or 0), tonumber(found[2] or 0)
end
