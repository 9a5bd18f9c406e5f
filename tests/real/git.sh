#!/bin/bash
# git: log, gc, fsck and blame on a repository of 300 commits that the test makes.
# timeout: 180
. tests/real/real.inc
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_CEILING_DIRECTORIES=$TMPDIR GIT_PAGER=cat

history() {
    awk 'BEGIN {
        for (c = 1; c <= 300; c++) {
            printf "commit refs/heads/main\ncommitter seep <seep@example.org> %d +0000\ndata 12\ncommit %5d\n", 1600000000 + c * 60, c
            for (f = 0; f < 5; f++) {
                text = ""
                for (l = 0; l < 60; l++) text = text sprintf("file %d line %d of change %d\n", f, l, int((c + l * 7) / 9))
                printf "M 100644 inline dir%d/file%d.txt\ndata %d\n%s\n", (c + f) % 7, f, length(text), text
            }
        }
    }'
}

workload() {
    git init -q -b main repo && cd repo || return
    history | real_agent git fast-import --quiet || return
    real_agent git log --stat --format='%H %an %s' | cksum
    real_agent git log -p --format=%H | cksum
    real_agent git gc -q --prune=now || return
    real_agent git fsck --full --no-progress || return
    real_agent git checkout -q main && real_agent git blame dir0/file0.txt | cksum
    real_agent git status --short
    git count-objects -v | grep -E '^(count|in-pack|packs|garbage)'
}
real_run git workload
exit $failed
