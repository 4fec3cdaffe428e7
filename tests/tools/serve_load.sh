#!/bin/sh
# serve_load.sh [SECONDS]: 100 clients of wrk at glide serve on loopback for so long (120). Half of the requests ask for pictures,
# the others look. Prints statuses by kind, the server's memory over time, and whether each picture that was promised (201) is in
# the gallery.
# Needs wrk and curl; BUILD=build, WEIGHTS=data/weights. Exit status 1: something was lost, or an answer was none of those expected.
set -eu
seconds=${1:-120}
folder=$(mktemp -d)
GLIDE_WEIGHTS=${WEIGHTS:-data/weights} "${BUILD:-build}/glide" serve --port 0 --gallery "$folder/gallery" > "$folder/url" 2> "$folder/log" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 300); do [ -s "$folder/url" ] && break; sleep 0.1; done
read -r url < "$folder/url"
cat > "$folder/load.lua" <<'END'
local threads, n = {}, 0
function setup(thread) threads[#threads + 1] = thread end
function init()
  made, full, seen, other, first_other = 0, 0, 0, 0, ""
end
local body = '{"prompt":"x","steps":2,"sampler":"ddim","upsample":false}'
function request()
  n = n + 1
  if n % 4 == 0 then return wrk.format("GET", "/api/jobs") end
  if n % 4 == 2 then return wrk.format("GET", "/api/samplers") end
  return wrk.format("POST", "/api/jobs", {["Content-Type"] = "application/json"}, body)
end
function response(status, headers, text)
  if status == 201 then made = made + 1
  elseif (status == 503 or status == 429) and text:find('"error"', 1, true) then full = full + 1
  elseif status == 200 then seen = seen + 1
  else other = other + 1; first_other = status .. " " .. text:sub(1, 200) end
end
function done(summary)
  local made, full, seen, other, what = 0, 0, 0, 0, ""
  for _, t in ipairs(threads) do
    made = made + t:get("made"); full = full + t:get("full"); seen = seen + t:get("seen"); other = other + t:get("other")
    if t:get("first_other") ~= "" then what = t:get("first_other") end
  end
  local e = summary.errors
  print(string.format("RESULT made %d refused %d looked %d other %d socket %d %s", made, full, seen, other, e.connect + e.read + e.write, what))
end
END
wrk -t 2 -c 100 -d "${seconds}s" --timeout 30s -s "$folder/load.lua" "$url" > "$folder/wrk" &
client=$!
while kill -0 $client 2>/dev/null; do
    awk '/VmRSS/ {printf "memory %d MB\n", $2 / 1024}' /proc/$server/status
    sleep $((seconds / 8 + 1))
done
wait $client || true
grep RESULT "$folder/wrk"
for _ in $(seq 600); do # what waits is still to be made
    curl -s "${url}api/jobs" | grep -q '"state": *"\(queued\|running\)"' || break
    sleep 0.5
done
made=$(sed -n 's/.*made \([0-9]*\).*/\1/p' "$folder/wrk")
other=$(sed -n 's/.*other \([0-9]*\) socket \([0-9]*\).*/\1 \2/p' "$folder/wrk")
kept=$(find "$folder/gallery" -name '*.png' | wc -l)
awk '/VmRSS|VmHWM/ {printf "%s %d MB at the end\n", $1, $2 / 1024}' /proc/$server/status
kill -TERM $server
wait $server && how=0 || how=$?
echo "promised $made, in the gallery $kept; exit status after SIGTERM $how"
# wrk counts the answers that it received before it stopped: some jobs more may have been made for those that were on the way
[ "$kept" -ge "$made" ] && [ "$kept" -le $((made + 100)) ] && [ "$other" = "0 0" ] && [ $how = 0 ]
