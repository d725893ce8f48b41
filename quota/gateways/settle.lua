-- KEYS window, grant. ARGV simulated time or '', tokens used, requests used (0 or 1).
-- Once for each grant. What was not used goes back to the moment of the grant, so that it cannot be
-- spent beside what that moment's minute already gave; what was used on top is charged now.
local grant = redis.call('GETDEL', KEYS[2])
if not grant then return 0 end

local current = math.floor(clock(ARGV[1]) / SLOT_S)
local slots = load_slots(KEYS[1], current)
local at, reserved, depth = string.match(grant, '(%d+):(%d+):(%d+)')
local tokens, requests = tonumber(ARGV[2]) - tonumber(reserved), tonumber(ARGV[3]) - 1

charge(slot_now(slots, current), tonumber(depth), math.max(tokens, 0), 0)
for _, slot in ipairs(slots) do
  if slot[1] == tonumber(at) then charge(slot, tonumber(depth), math.min(tokens, 0), requests) end
end
save_slots(KEYS[1], slots)
return 1
