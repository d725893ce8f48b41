-- KEYS window, grant. ARGV simulated time or '', life of the grant in s, tokens, depth, then for
-- each pool: tokens and requests a minute, tokens and requests in ten seconds.
-- Returns 0 if granted (also when this grant exists already), or the milliseconds to wait.
local now = clock(ARGV[1])
local tokens, depth = tonumber(ARGV[3]), tonumber(ARGV[4])
local current = math.floor(now / SLOT_S)
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end

local slots = load_slots(KEYS[1], current)

-- When enough of one column will have left the horizon for `wanted` to fit under `limit`.
local function free_at(column, wanted, limit, horizon)
  local excess = wanted - limit
  for _, slot in ipairs(slots) do
    if slot[1] > current - horizon then excess = excess + slot[column] end
  end
  if excess <= 0 then return now end
  for _, slot in ipairs(slots) do
    if slot[1] > current - horizon then
      excess = excess - slot[column]
      if excess <= 0 then return (slot[1] + horizon) * SLOT_S end
    end
  end
  return now + MINUTE * SLOT_S
end

local TEN_SECONDS = 6
local free = now
for pool = 1, depth do
  local limit = 4 * pool
  for unit, wanted in ipairs({tokens, 1}) do
    local column = 2 * pool + unit - 1
    free = math.max(free,
      free_at(column, wanted, tonumber(ARGV[limit + unit]), MINUTE),
      free_at(column, wanted, tonumber(ARGV[limit + 2 + unit]), TEN_SECONDS))
  end
end
if free > now then return math.ceil((free - now) * 1000) end

local slot = slot_now(slots, current)
charge(slot, depth, tokens, 1)
save_slots(KEYS[1], slots)
redis.call('SET', KEYS[2], slot[1] .. ':' .. tokens .. ':' .. depth, 'EX', ARGV[2])
return 0
