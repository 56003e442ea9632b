#!/usr/bin/env bash
# The demo: loads real embeddings into a throwaway server and shows what moved, when, and how much.
# Usage: scripts/demo.sh [PACKAGE]   (default: the package with the strongest break)
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

SPACE=changelog-v1
# The day on which gcc-10, the package with the strongest break, changed for good.
RETRAIN=2020-05-15

run() {
    psql --quiet --no-psqlrc --pset footer=off --pset linestyle=unicode --pset border=1 --set space="$SPACE" "$@" ||
        die "this step of the demo failed." "The server's log: $CVX_SERVER_LOG"
}

value() { run --tuples-only --no-align --set ON_ERROR_STOP=1 --command "$1"; }

# An HTTP receiver on a free port of the loopback interface, which takes one request; writes its port and then the request.
receiver_start() {
    local out=$BUILD/demo/webhook receiver=$CARGO_TARGET_DIR/release/examples/receive
    step receiver "Building an HTTP receiver" cargo build --release --package cvx-webhooks --example receive ||
        die "the receiver was not built."
    : >"$out"
    "$receiver" 1 >"$out" &
    RECEIVER=$!
    until [ -s "$out" ]; do sleep 0.05; done
    RECEIVER_PORT=$(head -1 "$out")
}

demo_end() {
    [ -z "${RECEIVER:-}" ] || kill "$RECEIVER" 2>/dev/null || true
    cluster_stop
}

ensure_setup
build_extension
trap demo_end EXIT
cluster_start demo

cat <<'TEXT'

The data: what 25 Debian packages wrote about each of their releases (the changelog entry), as 384-dimensional
embeddings of three versions of one text encoder. A package's embeddings in time order are its trajectory.

TEXT
say "Three Parquet files, each declared as a source; the ingest worker reads them"
printf '\n'
run --set data="$(readable_by_server "$ROOT/demo/data")" --file "$ROOT/demo/10_load.sql"
say "A run while it goes on (cvx.stat_progress_sync, cvx.workers): one file once more, in small steps"
printf '\n'
run --file "$ROOT/demo/15_progress.sql"

say "What moved: one query over all packages, in the space $SPACE"
printf '\n'
run --file "$ROOT/demo/20_moved.sql"
cat <<'TEXT'
How to read it:
  breaks      change points by cvx.changepoints: exact PELT, its penalty calibrated from each package's own noise
  severity    size of the strongest one: 0.5 is a shift as large as the noise between releases, 0.8 twice that
  shift       distance between the mean embeddings before and after it (the vectors have length 1)
  drift       cosine distance of the first and the last release: two single texts, so it is noisy
  stability   1 would be a package whose entries always say the same

TEXT

package=${1:-$(value 'SELECT package FROM demo_moved ORDER BY severity DESC NULLS LAST LIMIT 1')}
[[ "$package" =~ ^[a-z0-9.+-]+$ ]] && [ "$(value "SELECT count(*) FROM demo_moved WHERE package = '$package'")" = 1 ] ||
    die "there is no package '$package' in the demo's data."
say "When, and what triggered it: $package"
printf '\n'
run --set package="$package" --file "$ROOT/demo/30_package.sql"

picture=$BUILD/demo/$package.svg
mkdir -p "$BUILD/demo"
value "SELECT cvx.trajectory_svg(cvx.trajectory('$package', '$SPACE'), 'Debian changelog of $package')" >"$picture"
say "A picture of it: $picture"

printf '\n'
say "The encoder is retrained on $RETRAIN"
cat <<'TEXT'

Vectors of two versions of a model cannot be compared. Let the old encoder be switched off on the day of the strongest
break above, and the new one take over: every trajectory jumps, and a real change hides among the false ones.

TEXT
run --set package="$package" --set retrain="$RETRAIN" --file "$ROOT/demo/40_retrain.sql"
cat <<'TEXT'
How to read it:
  unaligned              a break at the retrain in the trajectory as it is stored, old vectors and new
  cvx says               real_change, or model_artifact: what is left of the jump is the error of the alignment
  confidence             that this is right; 0.5 would mean that the data cannot tell
  old encoder all along  whether the same releases, embedded by the old encoder only, break there: the truth
  changes                the breaks that cvx calls real over the whole history, and those of the old encoder

TEXT
for kind in as-stored aligned; do
    aligned=$([ "$kind" = aligned ] && echo true || echo false)
    for drawn in git "$package"; do
        value "SELECT cvx.canonical_svg('$drawn', 'encoder', aligned => $aligned,
               title => 'Debian changelog of $drawn through a retrain, $kind')" >"$BUILD/demo/$drawn-retrain-$kind.svg"
    done
done
say "Pictures, coloured by model version: $BUILD/demo/git-retrain-{as-stored,aligned}.svg, and the same of $package"
note "As stored, git breaks at the retrain; aligned, that is explained, and its change of 2023 stays."

say "Features of every package, computed again as releases come in, and as they were (cvx.create_view)"
printf '\n'
run --file "$ROOT/demo/50_views.sql"

say "Something turns, and somebody hears of it: a monitor, a connection that listens, an HTTP receiver (cvx.create_monitor)"
receiver_start
printf '\n'
value "ALTER SYSTEM SET cvx.webhook_allowed_hosts = '127.0.0.1'" >/dev/null
value "SELECT pg_reload_conf()" >/dev/null
run --set port="$RECEIVER_PORT" --set package=gcc-10 --set day="$RETRAIN" --file "$ROOT/demo/60_monitors.sql"
say "And what the receiver got"
printf '\n'
sed '1d; s/^/  /' "$BUILD/demo/webhook"
printf '\n'
note "Open the pictures in a browser. Another package: make demo PACKAGE=systemd. A server of your own to play with: make cluster"
