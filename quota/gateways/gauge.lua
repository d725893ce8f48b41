-- KEYS model. ARGV simulated time or '', four midnights.
-- Returns {} if the store knows nothing, or eight numbers of the minute, eight of the day, ceiling in thousandths,
-- breaker's word, milliseconds until which the provider's own word holds calls back or the ceiling is lowered.
local now = clock(ARGV[1])
local window = Window.load(KEYS[1], now)
if not window then return {} end
window:turn_day({tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])})
local brake, breaker = window.brake[1], window.brake[2]
local found = {}
for _, sum in ipairs({window.minute, window.day[2]}) do
  for place = 1, 8 do found[#found + 1] = sum[place] end
end
local share = ceiling(brake, now)
local lowered_until = math.max(brake[3], share < 1 and now + (1 - share) / RECOVERS_A_SECOND or 0)
found[17], found[18], found[19] = math.floor(share * 1000), breaker_word(breaker, now), math.ceil(lowered_until * 1000)
return found
