-- Admits requests within a sliding window: under every policy given, or under none.
--
-- KEYS[i]  the log of one policy and client: packed pairs of a count and the time of the youngest
--          request in it, one pair per slice of the window, oldest first
-- ARGV     what part of the rest may be leased (1 in so many), then for each key:
--          limit, window (ms), requests that wait, lease wished for on top of them,
--          requests admitted elsewhere that count too, tokens of a lease given back, its time
-- Answers  the time, then for each key: tokens granted, requests still possible,
--          milliseconds until more are
-- The clock is the server's, in milliseconds, so instances need not agree on the time.

local SLICES, FIELDS = 32, 7
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local spread = tonumber(ARGV[1])

-- What is still in the window, less what is given back. A log from the far future was written
-- before the clock was set back: it would never leave, so it is forgotten.
local function load(p)
  local stored = redis.call('GET', p.key)
  local packed = stored and cmsgpack.unpack(stored) or {}
  p.log, p.used = {}, 0
  for i = 1, #packed, 2 do
    local count, last = packed[i], packed[i + 1]
    if math.floor(last / p.width) == math.floor(p.back_at / p.width) then
      count = count - math.min(count, p.back)
    end
    if count > 0 and last + p.window > now and last <= now + p.window then
      p.log[#p.log + 1], p.log[#p.log + 2] = count, last
      p.used = p.used + count
    end
  end
end

local function add(p, count)
  local log, n = p.log, #p.log
  p.used = p.used + count
  if n > 0 and math.floor(log[n] / p.width) == math.floor(now / p.width) then
    log[n - 1], log[n] = log[n - 1] + count, now
  else
    log[n + 1], log[n + 2] = count, now
  end
end

local function store(p)
  if #p.log == 0 then
    redis.call('DEL', p.key)
  else
    redis.call('SET', p.key, cmsgpack.pack(p.log), 'PX', p.window)
  end
end

local function next_release(p)
  local used = p.used
  for i = 1, #p.log, 2 do
    used = used - p.log[i]
    if used < p.limit then return p.log[i + 1] + p.window - now end
  end
  return p.window
end

local policies, open = {}, true
for i, key in ipairs(KEYS) do
  local at = 1 + (i - 1) * FIELDS
  local p = {
    key = key, limit = tonumber(ARGV[at + 1]), window = tonumber(ARGV[at + 2]),
    need = tonumber(ARGV[at + 3]), extra = tonumber(ARGV[at + 4]),
    debt = tonumber(ARGV[at + 5]), back = tonumber(ARGV[at + 6]),
    back_at = tonumber(ARGV[at + 7]),
  }
  p.width = math.ceil(p.window / SLICES)
  load(p)
  if p.debt > 0 then add(p, p.debt) end
  if p.need > 0 and p.used >= p.limit then open = false end
  policies[i] = p
end

local answer = {now}
for _, p in ipairs(policies) do
  local granted, left = 0, p.limit - p.used
  if open and p.need > 0 then
    local lease = math.min(p.extra, math.floor((left - p.need) / spread))
    granted = math.min(left, p.need) + math.max(0, lease)
    add(p, granted)
  end
  if granted + p.debt + p.back > 0 then store(p) end
  answer[#answer + 1] = granted
  answer[#answer + 1] = math.max(0, p.limit - p.used)
  answer[#answer + 1] = next_release(p)
end
return answer
