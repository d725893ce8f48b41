-- KEYS window. ARGV simulated time or ''. Returns what each pool has used of its minute: tokens, requests, widest first.
local current = math.floor(clock(ARGV[1]) / SLOT_S)
local sums = {0, 0, 0, 0, 0, 0}
for _, slot in ipairs(load_slots(KEYS[1], current)) do
  for place = 1, 6 do sums[place] = sums[place] + slot[place + 1] end
end
return sums
