-- An annotation in the words of `kubectl canaryd`: what is asked for, of which run and step, and who asks. A script is
-- not told who pressed the button. So the name is that of Argo CD's own account, which the API server holds it to, and
-- Argo CD's log has the person. Write another name here if Argo CD writes to this cluster under another.
local by = "system:serviceaccount:argocd:argocd-server"
local os = require("os")

local status, revisions = obj.status or {}, (obj.status or {}).revisions or {}
local subject, argument = revisions.stable, "-"
if status.run ~= nil then
  subject = status.run.id .. "@" .. tostring(status.step.index - 1)
elseif status.phase == "Failed" then
  subject = revisions.lastFailed
end
if verb == "approve" then
  argument = status.gates[1].name
end
-- Not the same within a second for two verbs; twice the same is one command.
local key = "action.canaryd.io/" .. verb .. "." .. verb .. tostring(os.time())
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations[key] = subject .. " " .. by .. " " .. argument .. " asked for in Argo CD"
return obj
