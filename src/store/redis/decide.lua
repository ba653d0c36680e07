-- Decides on the charges of one or several requests, and counts them: one run, so all of it or nothing.
--
-- The arithmetic is that of src/algorithm, function by function and under the same names, in microseconds instead of nanoseconds; only
-- buckets have nanoseconds as well, where they fit. Every number is whole and below 2^53, so doubles hold it exactly: times
-- are below 2^52 microseconds (the year 2112), limits and hits at most 2^50.

local sub, char = string.sub, string.char
local fmod, floor = math.fmod, math.floor

local EMPTY, PERIOD, BUCKET, LOG = 0, 2, 3, 4
-- Bytes of an entry of a log.
local ENTRY = 14
local NEVER, IF_ADMITTED, ALWAYS = 0, 1, 2
local EACH, ALL_OR_NOTHING, IN_ORDER = 0, 1, 2
-- No wait helps.
local NONE = -1
local MOST = 2 ^ 53
local DEEPEST = 2 ^ 52

-- Counters ------------------------------------------------------------------------------------------------------------

-- A counter that can be read.
local function decode(raw, kind)
  if kind == WINDOW then
    local till, used = unpack('<I7I7', raw, 3)
    return { kind = WINDOW, till = till, used = used }
  elseif kind == PERIOD then
    local till, used, seconds = unpack('<I7I7I4', raw, 3)
    return { kind = PERIOD, till = till, used = used, seconds = seconds }
  elseif kind == BUCKET then
    local tat, nanos, seen = unpack('<I7I2I7', raw, 3)
    return { kind = BUCKET, tat = tat, nanos = nanos, seen = seen }
  elseif kind == LOG then
    return { kind = LOG, base = unpack('<I7', raw, 3), log = sub(raw, 10) }
  end
  return { kind = EMPTY, till = 0, used = 0 }
end

-- The bytes of a counter; nil of an empty one.
local function encode(cell)
  local kind = cell.kind
  if kind == WINDOW then
    return pack('<BBI7I7', VERSION, kind, cell.till, cell.used)
  elseif kind == PERIOD then
    return pack('<BBI7I7I4', VERSION, kind, cell.till, cell.used, cell.seconds)
  elseif kind == BUCKET then
    return pack('<BBI7I2I7', VERSION, kind, cell.tat, cell.nanos, cell.seen)
  elseif kind == LOG then
    return pack('<BBI7', VERSION, kind, cell.base) .. cell.log
  end
end

-- When a counter ends; nil where that is not known, as of a log that was read.
local function end_of(cell)
  if cell.kind == BUCKET then
    return cell.tat + 1
  end
  return cell.till
end

local function copy(cell)
  return {
    kind = cell.kind, till = cell.till, used = cell.used, seconds = cell.seconds,
    tat = cell.tat, nanos = cell.nanos, seen = cell.seen, log = cell.log, base = cell.base,
  }
end

-- What all algorithms share -------------------------------------------------------------------------------------------

local function tolerance(window)
  return min(window, 1000000)
end

-- Whether the hits are admitted, and whether they are to be counted or given back.
local function judge(limit, used, hits, commit)
  if hits == 0 then
    return used <= limit, false
  elseif hits < 0 then
    return true, commit ~= NEVER
  end
  local admitted = used + hits <= limit
  return admitted, commit == ALWAYS or (commit == IF_ADMITTED and admitted)
end

local function applied(used, hits)
  return min(max(used + hits, 0), MOST)
end

-- Fixed windows -------------------------------------------------------------------------------------------------------

-- What `Count` tells, and the count that it leaves; nil when nothing is to be counted.
local function count(charge, used, hits, commit)
  local admitted, applies = judge(charge.limit, used, hits, commit)
  local after = applies and applied(used, hits) or used
  return { admitted = admitted, found = used, used = after }, applies
end

local function tell(charge, outcome, hits, left)
  left = max(left, 0)
  outcome.reset, outcome.full = left, left
  outcome.retry = (not outcome.admitted and max(hits, 0) <= charge.limit) and left or NONE
  return outcome
end

-- As `open` has it; a counter's end is cut also where nothing is counted.
local function open_of(cell, is_aligned, window, now)
  local till, used, is_open = open(cell.kind == WINDOW and cell.till or 0, cell.used, is_aligned, window, now)
  if is_open then
    cell.till = till
  end
  return till, used, is_open
end

local function aligned(charge, cell, hits, commit, now)
  local till, used = open_of(cell, true, charge.window, now)
  local outcome, applies = count(charge, used, hits, commit)
  if applies then
    cell.kind, cell.till, cell.used = WINDOW, till, outcome.used
  end
  return tell(charge, outcome, hits, till - now)
end

local function anchored(charge, cell, hits, commit, now)
  local till, used, is_open = open_of(cell, false, charge.window, now)
  local outcome, applies = count(charge, used, hits, commit)
  if applies and outcome.used == 0 and (charge.undoes or not is_open) then
    -- Nothing has begun a window, and what was undone has begun none.
    if is_open then
      cell.kind, is_open = EMPTY, false
    end
  elseif applies then
    cell.kind, cell.till, cell.used, is_open = WINDOW, till, outcome.used, true
  end
  return tell(charge, outcome, hits, is_open and till - now or 0)
end

local function period(charge, cell, hits, commit, now)
  local from, till = charge.window, charge.second
  local here = now
  if charge.is_server_time then
    -- The caller's clock said that it lies in this period, and this one may say otherwise by a little.
    now = min(max(now, from), till - 1)
  end
  local length = till - from
  local seconds = min(floor(length / 1000000), 4294967295)
  -- A caller whose clock is ahead does not end a period for the others; one whose clock is behind goes on counting in its own.
  local used, counted = 0, cell.kind == PERIOD and min(here, now) < cell.till
  if charge.is_server_time and counted and till > cell.till then
    till, seconds, now = cell.till, cell.seconds, min(here, cell.till - 1)
  end
  if counted then
    used = cell.used
    local counted_length = cell.seconds * 1000000
    local ahead = max(max(cell.till - counted_length, 0) - now, 0)
    if till < cell.till and cell.till - till >= counted_length and ahead <= tolerance(length) then
      till, seconds = cell.till, cell.seconds
    end
  end
  local outcome, applies = count(charge, used, hits, commit)
  if applies or counted then
    cell.kind, cell.till, cell.used, cell.seconds = PERIOD, till, outcome.used, seconds
  end
  return tell(charge, outcome, hits, till - now)
end

-- Sliding windows -----------------------------------------------------------------------------------------------------

-- A log is a string of entries, oldest first: a stamp, and all hits ever counted up to it. `base` is what was counted before
-- the first of them.
local function entry(cell, at)
  return unpack('<I7I7', cell.log, (at - 1) * ENTRY + 1)
end

local function last(cell)
  return unpack('<I7I7', cell.log, #cell.log - ENTRY + 1)
end

local function total(cell)
  local _, ever = last(cell)
  return ever - cell.base
end

-- How many entries at the front are stamped `latest` or earlier, and the hits ever counted up to them.
local function until_stamp(cell, latest)
  local low, high, counted = 0, #cell.log / ENTRY, cell.base
  -- Mostly none of them is.
  if entry(cell, 1) > latest then
    return 0, counted
  end
  while low < high do
    local middle = ceil((low + high) / 2)
    local stamp, ever = entry(cell, middle)
    if stamp <= latest then
      low, counted = middle, ever
    else
      high = middle - 1
    end
  end
  return low, counted
end

-- The first entry up to which at least that many hits were ever counted.
local function reaching(cell, hits)
  local low, high = 1, #cell.log / ENTRY
  -- Mostly it is about the oldest one.
  local _, first = entry(cell, 1)
  if first >= hits then
    return 1
  end
  while low < high do
    local middle = floor((low + high) / 2)
    local _, ever = entry(cell, middle)
    if ever >= hits then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local function live(cell, window, now)
  if cell.kind ~= LOG then
    return 0
  end
  local _, dead = until_stamp(cell, now - window)
  local _, ever = last(cell)
  return ever - dead
end

-- The stamp of a live hit, counted from the oldest, which is the 0th.
local function nth(cell, used, at)
  if at >= used then
    return nil
  end
  local _, ever = last(cell)
  return (entry(cell, reaching(cell, ever - used + at + 1)))
end

local function drop_oldest(cell, hits)
  if hits <= 0 or cell.log == '' then
    return
  end
  if hits >= total(cell) then
    cell.log, cell.base = '', 0
    return
  end
  local target = cell.base + hits
  local first = reaching(cell, target + 1)
  cell.log, cell.base = sub(cell.log, (first - 1) * ENTRY + 1), target
end

local function take_newest(cell, hits)
  if hits <= 0 or cell.log == '' then
    return
  end
  local _, ever = last(cell)
  local target = ever - hits
  if target <= cell.base then
    cell.log, cell.base = '', 0
    return
  end
  local at = reaching(cell, target)
  cell.log = sub(cell.log, 1, (at - 1) * ENTRY) .. pack('<I7I7', (entry(cell, at)), target)
end

-- Takes hits that were counted at that stamp, as far as they are there: of several that were counted at one, any. Where others gave
-- back what they had counted, the newest hits went; later ones are not taken for these, for they leave the window later.
local function take_stamped(cell, stamp, hits)
  local first, counted = until_stamp(cell, stamp - 1)
  local many = #cell.log / ENTRY
  if first == many then
    return
  end
  local at_stamp, ever = entry(cell, first + 1)
  if at_stamp ~= stamp then
    return
  end
  local taken = min(hits, ever - counted)
  local entries = { sub(cell.log, 1, first * ENTRY) }
  if ever - taken > counted then
    entries[2] = pack('<I7I7', at_stamp, ever - taken)
  end
  for at = first + 2, many do
    local later, counted_later = entry(cell, at)
    entries[#entries + 1] = pack('<I7I7', later, counted_later - taken)
  end
  cell.log = table.concat(entries)
  if cell.log == '' then
    cell.base = 0
  end
end

-- Counts from 0 again, before the numbers get too large.
local function rebase(cell)
  local entries = {}
  for at = 1, #cell.log / ENTRY do
    local stamp, ever = entry(cell, at)
    entries[at] = pack('<I7I7', stamp, ever - cell.base)
  end
  cell.log, cell.base = table.concat(entries), 0
end

local function push(cell, stamp, hits)
  if hits <= 0 then
    return
  end
  if cell.log == '' then
    cell.log, cell.base = pack('<I7I7', stamp, hits), 0
    return
  end
  local newest, ever = last(cell)
  if ever + hits > MOST then
    rebase(cell)
    newest, ever = last(cell)
  end
  if stamp <= newest then
    cell.log = sub(cell.log, 1, -ENTRY - 1) .. pack('<I7I7', newest, ever + hits)
  else
    cell.log = cell.log .. pack('<I7I7', stamp, ever + hits)
  end
end

local function stamp_of(charge, now)
  local length = charge.second
  if length == 0 then
    return now
  elseif not charge.is_fine then
    return now + length - fmod(now, length)
  end
  -- In nanoseconds that fit: ten times the length does.
  local into = fmod(now, length)
  for _ = 1, 3 do
    into = fmod(into * 10, length)
  end
  return now + ceil((length - 1 - into) / 1000)
end

local function sliding(charge, cell, hits, commit, now)
  local window, limit = charge.window, charge.limit
  local stamp = stamp_of(charge, now)
  if cell.kind == LOG and last(cell) > stamp + tolerance(window) then
    local _, counted = until_stamp(cell, stamp)
    local later = total(cell) + cell.base - counted
    take_newest(cell, later)
    push(cell, stamp, later)
    cell.till = last(cell) + window
  end
  local used = live(cell, window, now)
  local admitted, applies = judge(limit, used, hits, commit)
  local outcome = { admitted = admitted, found = used }
  if applies then
    if cell.kind ~= LOG then
      cell.kind, cell.log, cell.base = LOG, '', 0
    else
      drop_oldest(cell, total(cell) - used)
    end
    if charge.undoes then
      take_stamped(cell, stamp_of(charge, charge.made), -hits)
    elseif hits < 0 then
      take_newest(cell, -hits)
    else
      local most = max(2 * limit + 1, used)
      local added = min(hits, most)
      drop_oldest(cell, added - (most - used))
      push(cell, stamp, added)
    end
    if cell.log == '' then
      cell.kind, used = EMPTY, 0
    else
      cell.till, used = last(cell) + window, total(cell)
    end
  end
  local function wait(of)
    return of and max(of + window - now, 0)
  end
  local cost = max(hits, 0)
  outcome.used, outcome.retry = used, NONE
  if not admitted and cost <= limit then
    local too_many = max(used - (limit - cost), 0)
    outcome.retry = wait(nth(cell, used, max(too_many - 1, 0))) or NONE
  end
  outcome.reset = outcome.retry ~= NONE and outcome.retry or wait(nth(cell, used, 0)) or 0
  outcome.full = used > 0 and wait((last(cell))) or 0
  return outcome
end

-- Token buckets -------------------------------------------------------------------------------------------------------

-- Depths are in parts of a microsecond, of which it has `scale`: 1000 where the depth of a whole bucket fits, else 1. The time
-- asked about may lie `nanos` after `now`.
local function bucket(charge, cell, hits, commit, now, nanos)
  local per_hit, burst, scale, window = charge.third, charge.second, charge.scale, charge.window
  local behind = cell.kind == BUCKET and max(cell.seen - now, 0) or 0
  if behind > tolerance(window) then
    behind = 0
  end
  now = now + behind
  local function fill(depth)
    local rest = fmod(depth + nanos, 1000)
    if scale == 1 then
      cell.tat, cell.nanos = now + depth, nanos
    else
      cell.tat, cell.nanos = now + (depth + nanos - rest) / 1000, rest
    end
  end
  local whole, depth = burst * per_hit, 0
  local deepest = min(whole, DEEPEST)
  if cell.kind == BUCKET then
    if scale == 1 then
      depth = max(cell.tat - now + (cell.nanos > nanos and 1 or 0), 0)
    else
      depth = max((cell.tat - now) * 1000 + cell.nanos - nanos, 0)
    end
    if depth > deepest then
      depth = deepest
      if burst > 0 then
        fill(depth)
      end
    end
  end
  local function used_at(depth)
    local left = max(deepest - depth, 0)
    return burst - (left - fmod(left, per_hit)) / per_hit
  end
  local before = used_at(depth)
  local admitted, applies = judge(burst, before, hits, commit)
  if applies then
    local deeper = max(min(depth + hits * per_hit, deepest), 0)
    if deeper ~= depth then
      cell.kind, cell.seen = BUCKET, now
      fill(deeper)
      depth = deeper
    end
  end
  local function wait(time)
    return time == 0 and 0 or time + behind * scale
  end
  local cost = max(hits, 0)
  local retry = NONE
  if not admitted and cost <= burst then
    local fits = max(depth + cost * per_hit - whole, 0)
    retry = fits > 0 and wait(fits) or NONE
  end
  return {
    admitted = admitted,
    found = before,
    used = used_at(depth),
    reset = wait(depth == 0 and 0 or fmod(depth - 1, per_hit) + 1),
    full = wait(depth),
    retry = retry,
  }
end

-- How several charges go together -------------------------------------------------------------------------------------

local steps = { aligned, anchored, period, sliding, bucket }
local SLIDING, BUCKETS = 4, 5

local function ask(charge, cell, hits, commit, now, nanos)
  local step = steps[charge.algorithm]
  if not charge.settles or hits < 0 then
    return step(charge, cell, hits, commit, now, nanos)
  end
  local before = step(charge, cell, 1, NEVER, now, nanos)
  local outcome = step(charge, cell, hits, commit, now, nanos)
  local after = step(charge, cell, 1, NEVER, now, nanos)
  outcome.admitted = before.admitted
  outcome.retry = before.admitted and NONE or after.retry
  if charge.algorithm == SLIDING then
    outcome.reset = after.reset
  end
  return outcome
end

local function step(charge, cell, now, nanos)
  local commit = (charge.count_denied or charge.settles) and ALWAYS or IF_ADMITTED
  return ask(charge, cell, charge.hits, commit, now, nanos)
end

local function refuses(charge, outcome)
  return charge.enforced and not outcome.admitted
end

-- For each cell how many of these charges ask for it; whether two share one.
local function asked_of(charges, first, final)
  local asked, shared = {}, false
  for at = first, final do
    local charge = charges[at]
    local of = asked[charge.cell]
    if of then
      of.charges, of.scale, shared = of.charges + 1, max(of.scale, charge.scale), true
      local one = of.first
      of.differs = of.differs or one.algorithm ~= charge.algorithm or one.limit ~= charge.limit
        or one.window ~= charge.window or one.second ~= charge.second or one.third ~= charge.third
    else
      asked[charge.cell] = { charges = 1, cost = 0, first = charge, scale = charge.scale, differs = false }
    end
  end
  return asked, shared
end

-- Times in one charge's parts of a microsecond as those of another.
local function scaled(time, from, to)
  if from == to then
    return time
  end
  return from < to and time * 1000 or ceil(time / 1000)
end

local function wait_for_all(charges, first, final, asked, cells, now, outcomes)
  for at = first, final do
    local charge = charges[at]
    local of = asked[charge.cell]
    if of.charges > 1 and charge.hits >= 0 then
      local cost = charge.hits
      local is_counted = charge.count_denied or charge.settles or cost <= (charge.algorithm == BUCKETS and charge.second or charge.limit)
      local before = of.cost
      if charge.enforced or is_counted then
        of.cost = min(of.cost + cost, MOST)
      end
      if charge.enforced then
        local needed = charge.settles and before + 1 or of.cost
        local outcome = steps[charge.algorithm](charge, cells[charge.cell], needed, NEVER, now, 0)
        local wait, never = outcome.retry, false
        if wait == NONE then
          wait, never = 0, not outcome.admitted
        end
        wait = scaled(wait, charge.scale, of.scale)
        of.wait, of.never = max(of.wait or 0, wait), of.never or never
      end
    end
  end
  for at = first, final do
    local charge = charges[at]
    local of = asked[charge.cell]
    if of.differs and of.wait and not of.never then
      of.tried = of.tried or copy(cells[charge.cell])
      local nanos = fmod(of.wait, of.scale)
      if refuses(charge, step(charge, of.tried, now + (of.wait - nanos) / of.scale, nanos)) then
        of.never = true
      end
    end
  end
  for at = first, final do
    local charge, outcome = charges[at], outcomes[at]
    local of = asked[charge.cell]
    if of.charges > 1 and of.wait and outcome and refuses(charge, outcome) then
      outcome.retry = of.never and NONE or scaled(of.wait, of.scale, charge.scale)
      if charge.algorithm == SLIDING and not of.never then
        outcome.reset = outcome.retry
      end
    end
  end
end

local function any_refused(outcomes, first, final)
  for at = first, final do
    if outcomes[at] and not outcomes[at].admitted then
      return true
    end
  end
  return false
end

-- Tells whether the stage admits.
local function all_or_nothing(charges, first, final, cells, now, outcomes)
  if first == final then
    local charge = charges[first]
    outcomes[first] = step(charge, cells[charge.cell], now, 0)
    return not refuses(charge, outcomes[first])
  end
  local refused, refusal
  if not charges.share then
    -- Where all are admitted, as they mostly are, nothing has to be rehearsed.
    local before = {}
    for at = first, final do
      local charge = charges[at]
      before[at] = copy(cells[charge.cell])
      outcomes[at] = step(charge, cells[charge.cell], now, 0)
      if refuses(charge, outcomes[at]) then
        refused = at
        break
      end
    end
    if not refused then
      return true
    end
    for at = first, refused - 1 do
      cells[charges[at].cell] = before[at]
    end
    -- It counted nothing, unless it counts what it refuses.
    local charge = charges[refused]
    if charge.count_denied or charge.settles then
      cells[charge.cell], refused = before[refused], nil
    else
      refusal = outcomes[refused]
    end
  end
  local asked, shared = asked_of(charges, first, final)
  local tried, admits = {}, true
  for at = first, final do
    local charge = charges[at]
    local of = asked[charge.cell]
    if at == refused then
      tried[at] = refusal
    elseif of.charges < 2 then
      tried[at] = ask(charge, cells[charge.cell], charge.hits, NEVER, now, 0)
    else
      of.copy = of.copy or copy(cells[charge.cell])
      tried[at] = step(charge, of.copy, now, 0)
    end
    admits = admits and not refuses(charge, tried[at])
  end
  for at = first, final do
    local charge, rehearsed = charges[at], tried[at]
    local commit = NEVER
    if charge.settles or (charge.count_denied and (admits or not rehearsed.admitted)) then
      commit = ALWAYS
    elseif admits then
      commit = IF_ADMITTED
    end
    local outcome = rehearsed
    if commit ~= NEVER or asked[charge.cell].charges > 1 then
      outcome = ask(charge, cells[charge.cell], charge.hits, commit, now, 0)
      outcome.admitted, outcome.found = rehearsed.admitted, rehearsed.found
    end
    if rehearsed.admitted then
      outcome.retry = NONE
    end
    outcomes[at] = outcome
  end
  if shared and any_refused(tried, first, final) then
    wait_for_all(charges, first, final, asked, cells, now, outcomes)
  end
  return admits
end

local function settle(mode, charges, cells, now)
  local outcomes, many = {}, #charges
  if mode == ALL_OR_NOTHING then
    all_or_nothing(charges, 1, many, cells, now, outcomes)
    return outcomes
  end
  local first, stages = 1, 0
  for at = 1, many do
    if at == many or charges[at + 1].begins_stage then
      stages = stages + 1
      if not all_or_nothing(charges, first, at, cells, now, outcomes) and mode == IN_ORDER then
        break
      end
      first = at + 1
    end
  end
  if charges.share and any_refused(outcomes, 1, many) then
    local asked, shared = asked_of(charges, 1, many)
    if shared then
      wait_for_all(charges, 1, many, asked, cells, now, outcomes)
    end
  end
  return outcomes
end

-- The requests --------------------------------------------------------------------------------------------------------

local function read_charge(packed, at, is_server_time)
  local cell, algorithm, count_denied, settles, enforced, begins_stage, is_fine, hits, limit, window, second, third
  cell, algorithm, count_denied, settles, enforced, begins_stage, is_fine, hits, limit, window, second, third, at =
    unpack('<I2BBBBBBi8i8i8i8i8', packed, at)
  return {
    cell = cell + 1,
    algorithm = algorithm,
    hits = hits,
    limit = limit,
    count_denied = count_denied == 1,
    settles = settles == 1,
    enforced = enforced == 1,
    begins_stage = begins_stage == 1,
    is_fine = is_fine == 1,
    scale = algorithm == BUCKETS and is_fine == 1 and 1000 or 1,
    -- A window's length, or a period's beginning.
    window = window,
    -- A period's end, a sub-bucket's length, or a burst.
    second = second,
    -- The time in which one hit of a bucket refills.
    third = third,
    is_server_time = is_server_time,
  }, at
end

local ANSWERED, LATE, UNREADABLE = 0, 1, 2
local at, cells, ends = 1, {}, {}
local answer = { pack('<i8', server_now) }

local function told(charges, outcomes)
  for index = 1, #charges do
    local outcome = outcomes[index]
    if outcome then
      answer[#answer + 1] = pack('<Bi8i8i8i8i8', outcome.admitted and 1 or 0, outcome.found, outcome.used, outcome.reset,
        outcome.full, outcome.retry)
    else
      answer[#answer + 1] = '\2'
    end
  end
end

local function cell_at(place)
  local cell = cells[place]
  if not cell then
    local raw = raws[place]
    local kind = kind_of(raw, keys[place])
    if kind then
      cell = decode(raw, kind)
      cells[place], ends[place] = cell, end_of(cell)
    end
  end
  return cell
end

local function decide(mode, many, is_late, is_server_time)
  -- Whether hits that were counted at that time are given back as if they had never been.
  local undoes, made = mode >= 8, nil
  if undoes then
    mode = mode - 8
    made, at = unpack('<i8', packed, at)
  end
  -- Whether two charges share a counter.
  local share = mode >= 4
  mode = share and mode - 4 or mode
  local charges, status = { share = share }, is_late and LATE or ANSWERED
  for index = 1, many do
    local charge
    charge, at = read_charge(packed, at, is_server_time)
    charge.undoes, charge.made = undoes, made
    charges[index] = charge
    if not cell_at(charge.cell) then
      status = UNREADABLE
    end
  end
  answer[#answer + 1] = char(status)
  if status == ANSWERED then
    told(charges, settle(mode, charges, cells, now))
  end
end

while at <= #packed do
  local mode, many, deadline, given
  mode, many, deadline, given, at = unpack('<BI2i8i8', packed, at)
  if given >= 0 then
    now, slack = given, SLACK_OF_TESTS
  end
  decide(mode, many, server_now > deadline, given < 0)
end

-- A server that takes no writes refuses the first of them, so all are made, or none. What is removed comes last: that is
-- always taken.
local removed = {}
for index, cell in pairs(cells) do
  local raw, bytes = raws[index], encode(cell)
  if bytes == (raw or nil) then
    -- A look, or a refusal: nothing has changed.
  elseif not bytes then
    removed[#removed + 1] = keys[index]
  else
    local till = end_of(cell)
    if raw and till == ends[index] then
      call('SET', keys[index], bytes, 'KEEPTTL')
    else
      call('SET', keys[index], bytes, 'PX', max(ceil((till - now) / 1000), 0) + slack)
    end
  end
end
for index = 1, #removed do
  call('DEL', removed[index])
end

return table.concat(answer)
