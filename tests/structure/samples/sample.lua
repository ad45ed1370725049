-- A module of vectors.
local M = {}

local EPSILON = 1e-9
M.version = "1.0"
counter = 0

--- Make a vector.
-- @param x the first part
function M.new(x, y)
  local self = { x = x, y = y }
  return setmetatable(self, M)
end

--[[ Length
of the vector. ]]
function M:length()
  return math.sqrt(self.x ^ 2 + self.y ^ 2)
end

local function clamp(v, low, high)
  local function inner() end
  if v < low then return low end
  return math.min(v, high)
end

M.scale = function(v, k)
  return M.new(v.x * k, v.y * k)
end

local negate = function(v)
  return M.scale(v, -1)
end

function M.util.deep.copy(t) return t end

function global_one() end

local handlers = {
  open = function() end,
  close = function(h) return h end,
}

return M
