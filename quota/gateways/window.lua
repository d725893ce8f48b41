-- One model's quota: a sliding minute in slots of half a second, ten seconds within it, and the provider's day.
-- Each slot, each sum and the day hold eight numbers: tokens and requests of p0, p1, p2, p3.
-- A horizon counts more than its length, so that the way to the provider may vary by half a second.
-- A hash without `gen` is a wiped store and never an idle one.
local SLOT_S, MINUTE, TEN = 0.5, 122, 22
local KEPT_S = 172800
local DEPTH = {1, 2, 2, 3}

local function clock(simulated)
  if simulated ~= '' then return tonumber(simulated) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function zeros() return {0, 0, 0, 0, 0, 0, 0, 0} end
local function unpacked(text) return text and cmsgpack.unpack(text) or zeros() end

local Window = {}
Window.__index = Window

function Window.load(key, now)
  local found = redis.call('HMGET', key, 'gen', 'sums', 'day', 'brake')
  if not found[1] then return nil end
  local sums = cmsgpack.unpack(found[2])
  local self = setmetatable({
    -- A clock that went back, as after a failover, stands still here: what was granted has not left the minute.
    key = key, now = now, current = math.max(math.floor(now / SLOT_S), sums[1] + MINUTE - 1), gen = found[1],
    lo = sums[1], lo10 = sums[2], hi = sums[3], minute = sums[4], ten = sums[5],
    day = cmsgpack.unpack(found[3]), brake = cmsgpack.unpack(found[4]),
    slots = {}, dirty = {}, dead = {},
  }, Window)
  self:advance()
  return self
end

function Window:read(from, to)
  local wanted = {}
  for n = from, to do if not self.slots[n] then wanted[#wanted + 1] = n end end
  if #wanted == 0 then return end
  local found = redis.call('HMGET', self.key, unpack(wanted))
  for place, n in ipairs(wanted) do self.slots[n] = unpacked(found[place]) end
end

function Window:slot(n)
  if not self.slots[n] then self.slots[n] = unpacked(redis.call('HGET', self.key, n)) end
  return self.slots[n]
end

-- Take what has left a horizon off its sum.
function Window:leave(sum, from, to)
  self:read(from, to)
  for n = from, to do
    for place = 1, 8 do sum[place] = sum[place] - self.slots[n][place] end
  end
end

function Window:advance()
  local gone10, gone = math.min(self.current - TEN, self.hi), math.min(self.current - MINUTE, self.hi)
  self:leave(self.ten, self.lo10, gone10)
  self:leave(self.minute, self.lo, gone)
  for n = self.lo, gone do self.dead[#self.dead + 1] = n end
  self.lo10 = math.max(self.lo10, self.current - TEN + 1)
  self.lo = math.max(self.lo, self.current - MINUTE + 1)
end

-- Never less than nothing in a slot; what has left the minute is past.
function Window:add(n, place, amount)
  if n < self.lo or amount == 0 then return end
  local slot = self:slot(n)
  amount = math.max(amount, -slot[place])
  slot[place] = slot[place] + amount
  self.minute[place] = self.minute[place] + amount
  if n >= self.lo10 then self.ten[place] = self.ten[place] + amount end
  self.dirty[n], self.hi = true, math.max(self.hi, n)
end

function Window:add_to_day(granted, place, amount)
  if granted * SLOT_S < self.day[1] then return end
  self.day[2][place] = math.max(self.day[2][place] + amount, 0)
end

function Window:charge(n, granted, class, tokens, requests)
  for unit, amount in ipairs({tokens, requests}) do
    self:add(n, 2 * class + unit, amount)
    self:add_to_day(granted, 2 * class + unit, amount)
  end
end

-- Begin the day that `bounds` (midnights, in order) say; return when it ends.
function Window:turn_day(bounds)
  local starts, ends = bounds[1], bounds[2]
  for place, midnight in ipairs(bounds) do
    if midnight <= self.now then starts, ends = midnight, bounds[place + 1] or midnight + 86400 end
  end
  if starts > self.day[1] then self.day = {starts, zeros()} end
  self.day_ends = ends
end

function Window:save()
  local fields = {
    'sums', cmsgpack.pack({self.lo, self.lo10, self.hi, self.minute, self.ten}),
    'day', cmsgpack.pack(self.day), 'brake', cmsgpack.pack(self.brake),
  }
  for n in pairs(self.dirty) do
    fields[#fields + 1] = n
    fields[#fields + 1] = cmsgpack.pack(self.slots[n])
  end
  if #self.dead > 0 then redis.call('HDEL', self.key, unpack(self.dead)) end
  redis.call('HSET', self.key, unpack(fields))
  redis.call('EXPIRE', self.key, KEPT_S)
end

-- What pool 1 (all), 2 (all but p0) or 3 (p3) has used: of tokens (unit 1) or requests (unit 2).
local function used(sum, pool, unit)
  local total = 0
  for class = pool - 1, 3 do total = total + sum[2 * class + unit] end
  return total
end
