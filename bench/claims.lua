-- One claim for each line of a file of session tokens, in order; the bodies rotate through a list of pools.
-- Arguments: tokens file, path, pools file (one id a line), lines to skip.

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

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"socket_errors":%d,"refused":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
