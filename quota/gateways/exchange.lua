-- KEYS model, waiting line, what was said last. ARGV, one text of words: simulated time or -, client, number of the exchange, the
-- generation that the client knows or -, life of a ticket in s, failures that open the breaker, three pools of six limits (tokens and requests of the
-- minute, of ten seconds, of the day; -1 for none), four midnights, then words, each with its arguments.
-- The same number again changes nothing and gets the same answer.
-- Returns {'wiped'}, or {generation, current slot, failures, then four numbers for each `want`: 1 granted, 2 granted
-- as a probe, 0 full, 3 breaker open, 4 shut by the provider; slot or milliseconds to wait; tokens; requests}.
local args, place = {}, 0
for each in string.gmatch(ARGV[1], '%S+') do args[#args + 1] = each end
local function arg()
  place = place + 1
  return args[place] == '-' and '' or args[place]
end
local function num() return tonumber(arg()) end

local now = clock(arg())
local client, number, generation, ticket_s, most_failures = arg(), arg(), arg(), num(), num()
local said = redis.call('GET', KEYS[3])
if said then
  local last = cmsgpack.unpack(said)
  if last[1] == number then return last[2] end
end

local limits = {}
for pool = 1, 3 do limits[pool] = {minute = {num(), num()}, ten = {num(), num()}, day = {num(), num()}} end
local bounds = {num(), num(), num(), num()}

local window = Window.load(KEYS[1], now)
if not window then return {'wiped'} end
window:turn_day(bounds)
local brake, breaker = window.brake[1], window.brake[2]

-- The line: who waits longer, or in a higher class, is left room for, in whatever process.
local tickets = nil
local function line()
  if tickets then return tickets end
  tickets = {}
  local found = redis.call('HGETALL', KEYS[2])
  for at = 1, #found, 2 do
    local ticket = cmsgpack.unpack(found[at + 1])
    if ticket[3] < now then redis.call('HDEL', KEYS[2], found[at]) else tickets[found[at]] = ticket end
  end
  return tickets
end

local function own(class) return client .. ':' .. class end

local function leave_line(class)
  if line()[own(class)] then
    tickets[own(class)] = nil
    redis.call('HDEL', KEYS[2], own(class))
  end
end

local function join_line(class, tokens, requests, wait_s)
  local was = line()[own(class)]
  local ticket = {class, was and was[2] or now, now + math.min(wait_s, ticket_s) + ticket_s, tokens, requests}
  tickets[own(class)] = ticket
  redis.call('HSET', KEYS[2], own(class), cmsgpack.pack(ticket))
  redis.call('EXPIRE', KEYS[2], 60)
end

-- What those ahead in line want of a pool. `behind` is what this exchange itself already waits for in the class.
local function ahead(class, pool, unit, behind)
  local mine, total = line()[own(class)], behind[unit]
  local since = mine and mine[2] or now
  for name, ticket in pairs(tickets) do
    local is_ahead = ticket[1] < class or (ticket[1] == class and ticket[2] < since and name ~= own(class))
    if is_ahead and ticket[1] >= pool - 1 then total = total + ticket[3 + unit] end
  end
  return total
end

local share = ceiling(brake, now)
local HORIZONS = {'minute', 'ten', 'day'}

local function limit_of(pool, horizon, unit)
  local limit = limits[pool][horizon][unit]
  if limit < 0 or horizon == 'day' then return limit end
  return math.floor(limit * share)
end

local function sum_of(horizon) return horizon == 'day' and window.day[2] or window[horizon] end

-- How much of a unit fits. A call above the ten seconds' share goes when those ten seconds are empty.
local function room(class, unit, wanted, behind)
  local most = math.huge
  for pool = 1, DEPTH[class + 1] do
    local before = ahead(class, pool, unit, behind)
    for _, horizon in ipairs(HORIZONS) do
      local limit = limit_of(pool, horizon, unit)
      if limit >= 0 then
        local taken = used(sum_of(horizon), pool, unit) + before
        if horizon == 'ten' and wanted > limit and taken == 0 then limit = wanted end
        most = math.min(most, limit - taken)
      end
    end
  end
  return most
end

local function leaves_at(pool, horizon, unit, excess)
  if horizon == 'day' then return window.day_ends end
  local length = horizon == 'ten' and TEN or MINUTE
  window:read(window.lo, window.hi)
  for n = horizon == 'ten' and window.lo10 or window.lo, window.hi do
    excess = excess - used(window.slots[n], pool, unit)
    if excess <= 0 then return (n + length) * SLOT_S end
  end
  return now + MINUTE * SLOT_S
end

local function free_at(class, wanted, behind)
  local free = now
  for unit = 1, 2 do
    for pool = 1, DEPTH[class + 1] do
      local before = ahead(class, pool, unit, behind)
      for _, horizon in ipairs(HORIZONS) do
        local limit = limit_of(pool, horizon, unit)
        if horizon == 'ten' then limit = math.max(limit, wanted[unit]) end
        local excess = used(sum_of(horizon), pool, unit) + before + wanted[unit] - limit
        if limits[pool][horizon][unit] >= 0 and excess > 0 then free = math.max(free, leaves_at(pool, horizon, unit, excess)) end
      end
    end
  end
  return free
end

local answer = {window.gen, window.current, breaker[1]}
local function tell(word, figure, tokens, requests)
  for _, each in ipairs({word, figure, tokens, requests}) do answer[#answer + 1] = each end
end

local waiting, told, waits_told = {}, {}, 0
local MOST_WAITS_TOLD = 4

local function refuse(word, class, least, until_at)
  local wait = math.max(until_at - now, 0.001)
  if not waiting[class] then
    waiting[class] = {0, 0}
    join_line(class, least[1], least[2], wait)
  end
  waiting[class][1], waiting[class][2] = waiting[class][1] + least[1], waiting[class][2] + least[2]
  told[class] = wait
  tell(word, math.ceil(wait * 1000), 0, 0)
end

local function full(class, least)
  local behind = waiting[class] or {0, 0}
  if waits_told >= MOST_WAITS_TOLD and told[class] then return refuse(0, class, least, now + told[class]) end
  waits_told = waits_told + 1
  refuse(0, class, least, free_at(class, least, behind))
end

local words = {}

function words.want()
  local class, most, least, ahead_slots = num(), {num(), num()}, {num(), num()}, num()
  local word, again = gate(brake, breaker, class, now)
  if word > 2 then return refuse(word, class, least, again) end
  local behind = waiting[class] or {0, 0}
  local tokens, requests = room(class, 1, least[1], behind), room(class, 2, least[2], behind)
  if waiting[class] or tokens < least[1] or requests < least[2] then return full(class, least) end
  if word == 2 then
    most, ahead_slots = least, 0
    send_probe(brake, breaker, now)
  end
  tokens, requests = math.min(tokens, most[1]), math.min(requests, most[2])
  local n = window.current + ahead_slots
  window:charge(n, window.current, class, tokens, requests)
  leave_line(class)
  tell(word == 2 and 2 or 1, n, tokens, requests)
end

-- What was not used goes back to its slot, so that it cannot be spent beside what that slot's minute gave; more is charged now.
function words.change()
  local class, n, granted, tokens, requests = num(), num(), num(), num(), num()
  if n < 0 then n, granted = window.current, window.current end
  window:charge(window.current, window.current, class, math.max(tokens, 0), math.max(requests, 0))
  if generation == window.gen then window:charge(n, granted, class, math.min(tokens, 0), math.min(requests, 0)) end
end

-- A block ends: what it held leaves the slot of its expiry, what was used of it stands now.
function words.close()
  local class, n, granted, tokens, requests, used_tokens, used_requests = num(), num(), num(), num(), num(), num(), num()
  if generation ~= window.gen then return end
  window:charge(n, granted, class, -tokens, -requests)
  window:charge(window.current, window.current, class, used_tokens, used_requests)
end

function words.leave() leave_line(num()) end
function words.answered() answered(brake, breaker, num() == 1) end
function words.failed() failed(breaker, now, most_failures, num() == 1, num() / 1000) end
function words.silent() breaker[5] = 0 end
function words.slow()
  local busiest = math.max(used(window.minute, 1, 1) / limits[1].minute[1], used(window.minute, 1, 2) / limits[1].minute[2])
  lower(brake, now, busiest, num() / 1000)
  share = ceiling(brake, now)
end

while place < #args do words[arg()]() end
answer[3] = breaker[1]
window:save()
redis.call('SET', KEYS[3], cmsgpack.pack({number, answer}), 'EX', 60)
return answer
