-- Health of every Deployment: what Argo CD has built in, since a script takes the place of that, and before it the two
-- conditions by which canaryd tells of a run. A Deployment that canaryd does not know has neither.
local meta, spec, status = obj.metadata, obj.spec or {}, obj.status or {}
local function answer(word, message)
  return {status = word, message = message or ""}
end

local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local function holds(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end

if spec.paused == true then
  return answer("Suspended", "the Deployment is paused")
end
if (status.observedGeneration or 0) < (meta.generation or 0) then
  return answer("Progressing", "the present spec has not been seen yet")
end

local waits = {
  Paused = true, WaitingForGate = true, Waiting = true, WaitingPromotion = true, Suspended = true,
  OutsideSchedule = true,
}
if holds("Stalled") then
  return answer("Degraded", found.Stalled.message)
end
if holds("Reconciling") then
  local word = waits[found.Reconciling.reason] and "Suspended" or "Progressing"
  return answer(word, found.Reconciling.message)
end

if found.Progressing ~= nil and found.Progressing.reason == "ProgressDeadlineExceeded" then
  return answer("Degraded", found.Progressing.message)
end
local updated, has = status.updatedReplicas or 0, status.replicas or 0
local available, wanted = status.availableReplicas or 0, spec.replicas
if wanted ~= nil and updated < wanted then
  return answer("Progressing", updated .. " of " .. wanted .. " pods are updated")
end
if has > updated then
  return answer("Progressing", (has - updated) .. " old pods are still there")
end
if available < updated then
  return answer("Progressing", available .. " of " .. updated .. " updated pods are available")
end
return answer("Healthy")
