-- What the provider's own answers do to a model: a 429 lowers the ceiling, an outage opens the breaker.
-- brake: {ceiling, since, shut until, next probe, lowered at}; breaker: {failures, since, open until, openings, probe until}.
local FLOOR, RECOVERS_A_SECOND = 0.05, 0.005
local ONE_LOWERING_S = 2
local SPAN_S = 30
local OPEN_S, LONGEST_OPEN_S, PROBE_S = 5, 60, 30
local LONGEST_SHUT_S = 300

local function ceiling(brake, now)
  return math.min(1, brake[1] + math.max(now - brake[2], 0) * RECOVERS_A_SECOND)
end

-- At least a fifth lower, at most by half, in between to what was used when the provider said no.
local function lower(brake, now, share_used, retry_s)
  local was = ceiling(brake, now)
  if now >= brake[5] + ONE_LOWERING_S then
    brake[1] = math.max(FLOOR, math.min(was * 0.8, math.max(was * 0.5, share_used * 0.95)))
    brake[2], brake[5] = now, now
  end
  brake[3] = math.max(brake[3], now + math.min(retry_s, LONGEST_SHUT_S))
  brake[4] = math.max(brake[4], now + math.max(1, (brake[3] - now) / 4))
end

local function open(breaker, now, retry_s)
  local length = math.min(OPEN_S * 2 ^ breaker[4], LONGEST_OPEN_S)
  breaker[3] = now + math.max(length, math.min(retry_s, LONGEST_SHUT_S))
  breaker[4], breaker[5] = breaker[4] + 1, 0
end

local function failed(breaker, now, most, is_probe, retry_s)
  if breaker[3] > 0 then
    if is_probe then open(breaker, now, retry_s) end
    return
  end
  if now - breaker[2] > SPAN_S or breaker[1] == 0 then breaker[1], breaker[2] = 0, now end
  breaker[1] = breaker[1] + 1
  if breaker[1] >= most then open(breaker, now, retry_s) end
end

local function answered(brake, breaker, is_probe)
  breaker[1] = 0
  if not is_probe then return end
  breaker[3], breaker[4], breaker[5] = 0, 0, 0
  brake[3] = 0
end

-- 0 if calls may go, 2 if this one may go as the only one, 3 or 4 if it may not; and when to ask again.
local function gate(brake, breaker, class, now)
  if breaker[3] > 0 then
    local free = math.max(breaker[3], breaker[5])
    return now >= free and 2 or 3, math.max(free, now + 1)
  end
  if now >= brake[3] then return 0, now end
  return class == 0 and now >= brake[4] and 2 or 4, brake[3]
end

local function send_probe(brake, breaker, now)
  if breaker[3] > 0 then breaker[5] = now + PROBE_S
  else brake[4] = now + math.max(1, (brake[3] - now) / 4) end
end

local function breaker_word(breaker, now)
  if breaker[3] == 0 then return 'closed' end
  return now >= breaker[3] and 'half_open' or 'open'
end
