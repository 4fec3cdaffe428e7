#!/bin/sh
# upsample_rate.sh DIR PHOTO.png [WxH]...: how fast glide upsample enlarges a photo 4 times with its defaults, and the ESRGAN models in
# DIR (tests/tools/esrgan.js says how to put them there) on the same files: one table in Markdown, megapixels of the result a minute,
# starting the program and reading and writing files included. WxH (1000x700) is the middle of the photo; smaller ones are quick to try.
# BUILD=build, WEIGHTS=data/weights, MODELS=medium ("slim medium thick"), RUNS=1 (the fastest is shown), OMP_NUM_THREADS. Needs node.
set -eu
[ $# -ge 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
esrgan=$1
photo=$2
shift 2
[ $# -gt 0 ] || set -- 1000x700
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GLIDE_WEIGHTS="${WEIGHTS:-data/weights}"

cut_middle() { # WIDTH HEIGHT OUT.png
    node -e '
        const fs = require("fs"), [dir, photo, w, h, out] = process.argv.slice(1);
        const { PNG } = require("module").createRequire(require("path").resolve(dir, "package.json"))("pngjs");
        const whole = PNG.sync.read(fs.readFileSync(photo)), part = new PNG({ width: +w, height: +h });
        if (whole.width < w || whole.height < h) throw new Error(`${photo} has ${whole.width}x${whole.height} pixels`);
        PNG.bitblt(whole, part, (whole.width - w) >> 1, (whole.height - h) >> 1, +w, +h, 0, 0);
        fs.writeFileSync(out, PNG.sync.write(part, { colorType: 2 }));' "$esrgan" "$photo" "$@"
}

measure() { # NAME WIDTH HEIGHT COMMAND...: a line of the table
    name=$1 width=$2 height=$3 best=
    shift 3
    for _ in $(seq "${RUNS:-1}"); do
        rm -f "$folder/out.png"
        how=0
        /usr/bin/time -o "$folder/time" -f '%e %M' "$@" > "$folder/log" 2>&1 || how=$?
        if [ $how != 0 ] || [ ! -s "$folder/out.png" ]; then
            echo "| $name | ${width}x$height | failed ($how): $(tail -n 1 "$folder/log" | tr '|' ' ' | cut -c 1-100) | | |"
            return
        fi
        best=$(tail -n 1 "$folder/time" | awk -v best="$best" '{print best == "" || $1 < best + 0 ? $0 : best}')
    done
    echo "$best" | awk -v name="$name" -v w="$width" -v h="$height" \
        '{printf "| %s | %dx%d | %.1f | %.2f | %.0f |\n", name, w, h, $1, 16 * w * h / 1e6 * 60 / $1, $2 / 1024}'
}

echo "| program | picture, enlarged 4 times | seconds | megapixels a minute | peak MB |"
echo "|---|---|---|---|---|"
for size in "$@"; do
    width=${size%x*} height=${size#*x}
    cut_middle "$width" "$height" "$folder/in.png"
    measure glide "$width" "$height" "${BUILD:-build}/glide" upsample "$folder/in.png" -o "$folder/out.png" --seed 1 -q
    for model in ${MODELS:-medium}; do
        measure "ESRGAN $model" "$width" "$height" node tests/tools/esrgan.js "$esrgan" "$model" "$folder/in.png" "$folder/out.png" 4
    done
done
