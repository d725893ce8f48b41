-- KEYS model. ARGV simulated time or '', the new generation, start of the day, eight numbers of the minute, eight of the day.
-- Sets the window up unless it is there (without a generation it does not); everything stands in this moment's slot. If it
-- is there, the day is raised to what is told, where it is less. Returns the generation that holds.
local now = clock(ARGV[1])
local told = {zeros(), zeros()}
for place = 1, 8 do
  told[1][place], told[2][place] = tonumber(ARGV[3 + place]), tonumber(ARGV[11 + place])
end
local window = Window.load(KEYS[1], now)
if window then
  if window.day[1] == tonumber(ARGV[3]) then
    for place = 1, 8 do window.day[2][place] = math.max(window.day[2][place], told[2][place]) end
    window:save()
  end
  return window.gen
end
if ARGV[2] == '' then return '' end
local current = math.floor(now / SLOT_S)
local minute, ten = told[1], zeros()
for place = 1, 8 do ten[place] = minute[place] end
redis.call('HSET', KEYS[1], 'gen', ARGV[2],
  'sums', cmsgpack.pack({current - MINUTE + 1, current - TEN + 1, current, minute, ten}), current, cmsgpack.pack(minute),
  'day', cmsgpack.pack({tonumber(ARGV[3]), told[2]}), 'brake', cmsgpack.pack({{1, now, 0, 0, 0}, {0, 0, 0, 0, 0}}))
redis.call('EXPIRE', KEYS[1], KEPT_S)
return ARGV[2]
