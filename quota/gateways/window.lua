-- The sliding minute of one model: a list of slots, oldest first, each
-- {number, tokens, requests of all, tokens, requests of all but p0, tokens, requests of p3}.
-- A horizon counts one slot more than its length, so it never counts less than its length.
-- A missing key is an idle minute.
local SLOT_S = 2
local MINUTE = 31
local TTL_S = 70

local function clock(simulated)
  if simulated ~= '' then return tonumber(simulated) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function load_slots(key, current)
  local packed = redis.call('GET', key)
  local live = {}
  for _, slot in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    if slot[1] > current - MINUTE then live[#live + 1] = slot end
  end
  return live
end

local function save_slots(key, slots)
  redis.call('SET', key, cmsgpack.pack(slots), 'EX', TTL_S)
end

local function slot_now(slots, current)
  local last = slots[#slots]
  if last and last[1] >= current then return last end
  last = {current, 0, 0, 0, 0, 0, 0}
  slots[#slots + 1] = last
  return last
end

local function charge(slot, depth, tokens, requests)
  for pool = 1, depth do
    slot[2 * pool] = slot[2 * pool] + tokens
    slot[2 * pool + 1] = slot[2 * pool + 1] + requests
  end
end
