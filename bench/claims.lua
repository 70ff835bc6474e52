-- One claim for each line of a file of session tokens, in order; the bodies rotate through a list of pools.
-- Arguments: tokens file, path, pools file (one id a line), lines to skip.

dofile(debug.getinfo(1).source:match("@(.*/)") .. "report.lua")

function init(args)
  tokens, pools = {}, {}
  local skip = tonumber(args[4])
  for line in io.lines(args[1]) do
    if skip > 0 then skip = skip - 1 else tokens[#tokens + 1] = line end
  end
  for line in io.lines(args[3]) do
    local body = '{"pool":"' .. line .. '"}'
    pools[#pools + 1] = "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  end
  head = "POST " .. args[2] .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer "
  sent = 0
end

function request()
  sent = sent + 1
  -- Past the last token nobody distinct is left; the run is then thrown away by its reader.
  return head .. (tokens[sent] or "spent") .. pools[(sent - 1) % #pools + 1]
end
