#!/bin/sh
# serve_overhead.sh [SECONDS]: what glide serve adds to the time of glide sample, and when the first preview comes, measured in turn
# for so long (150). Needs perl and an otherwise quiet machine; BUILD=build, WEIGHTS=data/weights, STEPS=12, UPSTEPS=2.
#
# A round is, with one seed: glide sample of 4 pictures (A), of 8 (B), and the server's job of 4 with all its events and previews
# received, from sending the request to its end (C). Both make pictures in batches of 4, so B - A is one batch without the program's
# start and loading. Told are the medians of A, B - A and C, and of C against each in its own round. Then jobs of one picture: when
# the first preview is there after the request, beside the time between the steps that follow.
# Exit status 1: more than 3 % over B - A, or the first preview later than a step and 50 ms.
set -eu
seconds=${1:-150}
folder=$(mktemp -d)
export GLIDE_WEIGHTS="${WEIGHTS:-data/weights}"
glide=${BUILD:-build}/glide
"$glide" serve --port 0 --no-gallery > "$folder/url" 2> "$folder/log" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 300); do [ -s "$folder/url" ] && break; sleep 0.1; done
cat > "$folder/measure.pl" <<'END'
use strict; use warnings; use IO::Socket::INET; use Time::HiRes 'time';
my ($glide, $url, $seconds, $steps, $upsteps, $folder) = @ARGV;
my ($port) = $url =~ /:(\d+)/;
my $begun = time;
sub ask {
    my ($method, $path, $body) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "no server";
    my $length = length $body;
    print $s "$method $path HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: $length\r\n\r\n$body";
    $s->flush;
    return $s;
}
# A job from the request to its end: seconds, and when each step with its preview was there.
sub job {
    my ($body) = @_;
    my ($from, $id, $step, @at) = (time);
    my $s = ask('POST', '/api/jobs', $body);
    while (<$s>) { $id = $1 if /"id": ?(\d+)/ }
    die "refused: $body" unless $id;
    $s = ask('GET', "/api/jobs/$id/events", '');
    while (<$s>) {
        $step = 1 if /^event: step/;
        die "job $id: $_" if /^event: (failed|cancelled)/;
        next unless $step && /^data: /;
        push @at, time - $from if /"previews"/;
        $step = 0;
    }
    return (time - $from, @at);
}
sub sample {
    my ($n, $seed) = @_;
    my $from = time;
    system($glide, 'sample', 'red apple', '-q', '-n', $n, '-s', $seed, '--sampler', 'ddim', '--steps', $steps, '--upsampler-steps',
           $upsteps, '-o', "$folder/out.png") == 0 or die "glide sample failed";
    return time - $from;
}
sub median { my @s = sort { $a <=> $b } @_; return ($s[$#s / 2] + $s[@s / 2]) / 2 }
my $fields = '"prompt":"red apple","sampler":"ddim","upsampler_steps":"' . $upsteps . '"';
my ($cold) = (job("{$fields,\"steps\":\"$steps\",\"seed\":1,\"upsample\":false}"))[1];
sample(1, 1); # the files are in memory, as for the server
my (@first, @step, @late);
for my $seed (2 .. 8) {
    my ($all, @at) = job("{$fields,\"steps\":\"$steps\",\"seed\":$seed,\"upsample\":false}");
    my $step = median(map { $at[$_] - $at[$_ - 1] } 1 .. $#at);
    push @first, $at[0]; push @step, $step; push @late, $at[0] - $step;
}
my (@a, @batch, @c, @whole, @net);
for (my $seed = 10; @a < 3 || time - $begun + 1.1 * (time - $begun) / (@a + 1) < $seconds; $seed++) {
    my ($x, $y, $z);
    for my $which ($seed % 2 ? (0, 1, 2) : (2, 1, 0)) { # neither is always the first
        $x = sample(4, $seed) if $which == 0;
        $y = sample(8, $seed) if $which == 1;
        ($z) = job("{$fields,\"steps\":\"$steps\",\"seed\":$seed,\"n\":4}") if $which == 2;
    }
    push @a, $x; push @batch, $y - $x; push @c, $z; push @whole, $z / $x - 1; push @net, $z / ($y - $x) - 1;
    last if time - $begun > 170;
}
printf "%d rounds, ddim, %s and %s steps\n", scalar @a, $steps, $upsteps;
printf "%-58s %8.3f s\n", 'A      glide sample -n 4, start and loading included', median(@a);
printf "%-58s %8.3f s\n", 'B - A  4 pictures more, glide sample -n 8 less -n 4', median(@batch);
printf "%-58s %8.3f s\n", "C      the server's job of 4, request to end", median(@c);
printf "%-58s %+8.1f %%\n", 'C against A', 100 * median(@whole);
printf "%-58s %+8.1f %%   (from %+.1f to %+.1f)\n", 'C against B - A', 100 * median(@net),
    map { 100 * $_ } (sort { $a <=> $b } @net)[0, -1];
printf "%-58s %8.1f ms\n", 'first preview after the request', 1e3 * median(@first);
printf "%-58s %8.1f ms\n", 'a step (between the previews that follow)', 1e3 * median(@step);
printf "%-58s %+8.1f ms  (of the first job after the start %+.1f)\n", 'first preview less a step', 1e3 * median(@late),
    1e3 * ($cold - median(@step));
my $good = median(@net) < 0.03 && median(@late) < 0.05;
print $good ? "within 3 % and 50 ms\n" : "NOT within 3 % and 50 ms\n";
exit !$good;
END
perl "$folder/measure.pl" "$glide" "$(head -n 1 "$folder/url")" "$seconds" "${STEPS:-12}" "${UPSTEPS:-2}" "$folder"
