-- Health of a Canary: Suspended while a person is waited for, Degraded when one is needed.
local status, meta = obj.status or {}, obj.metadata
local function answer(word, message)
  return {status = word, message = message or ""}
end

if status.phase == nil then
  return answer("Progressing", "canaryd has not looked at it yet")
end
if meta.generation ~= nil and (status.observedGeneration or 0) < meta.generation then
  return answer("Progressing", "canaryd has not seen the present plan yet")
end

local holds, claims = {}, {}
for _, condition in ipairs(status.conditions or {}) do
  claims[condition.type] = condition
  holds[condition.type] = condition.status == "True"
end
if holds.Stalled then
  return answer("Degraded", claims.Stalled.message)
end
if claims.ConfigValid ~= nil and not holds.ConfigValid then
  return answer("Degraded", claims.ConfigValid.message)
end

local run, step = status.run or {}, status.step or {}
local gate = (status.gates or {})[1]
if gate ~= nil and gate.state == "Waiting" then
  return answer("Suspended", "gate " .. gate.name .. " waits for approval")
end
if run.pausedAt ~= nil then
  return answer("Suspended", "paused by " .. (run.pausedBy or "somebody"))
end
local weight = (status.weight or {}).canary or 0
local pauses = step.name == "pause" or step.name == "pause at weight " .. tostring(weight)
if pauses and step.notBefore == nil then
  return answer("Suspended", "paused by the plan until somebody resumes it")
end
if status.phase == "Waiting" or status.phase == "WaitingPromotion" then
  return answer("Suspended", status.message)
end
if holds.Ready then
  return answer("Healthy", status.message)
end
return answer("Progressing", status.message)
