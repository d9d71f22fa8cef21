-- Which buttons a Canary has now. canaryd decides again when a command arrives, and says why if it refuses.
local status = obj.status or {}
local run, step, phase = status.run, status.step or {}, status.phase
local tried = run ~= nil and (phase == "Waiting" or phase == "Progressing" or phase == "WaitingPromotion")
local paused = tried and run.pausedAt ~= nil
local failed = tried and run.failure ~= nil
local gate = (status.gates or {})[1]
local at_gate = tried and gate ~= nil and gate.state == "Waiting"
local weight = (status.weight or {}).canary or 0
local at_pause = tried and (step.name == "pause" or step.name == "pause at weight " .. tostring(weight))

local may = {
  pause = tried and not paused,
  resume = paused or at_pause,
  promote = tried and not failed and not at_gate and (step.index or 0) > 0,
  abort = tried or (run ~= nil and phase == "Promoting"),
  approve = at_gate,
  retry = failed or (run == nil and phase == "Failed"),
}
local actions = {}
for name, allowed in pairs(may) do
  actions[name] = {disabled = not allowed}
end
return actions
