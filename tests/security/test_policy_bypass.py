"""Known ways to slip a command past an approval: none of them may come out green.

One list per class of bypass that was reported against other tools, ten variants at least.
"""

import pytest

from judging import lane_of, lane_of_argv
from luminaguard.domain.verdict import Lane

pytestmark = pytest.mark.guarantee("G1")

BYPASSES: dict[str, list[str]] = {
    "chaining": [
        "ls && rm x", "ls;rm x", "ls\nrm x", "ls | sh", "ls & rm x", "ls || rm x",
        "cd x && python y", "ls;\\\nrm x", "ls\r\nrm x", "ls &&rm x", "echo a&&rm x", "ls |& sh",
        " && ".join(["ls"] * 60 + ["rm x"]), "ls;;rm x", "(ls; rm x)", "{ ls; rm x; }",
        "ls # x\nrm x", "! rm x", "if ls; then rm x; fi", "if rm x; then ls; fi",
        "while ls; do rm x; done", "until rm x; do ls; done", "for f in a; do rm $f; done",
        "case x in y) ls;; *) rm x;; esac", "[ -d x ] && rm x", "cat <<E | sh\nls\nE",
        "cat <<E && rm x\nls\nE", "cat <<E; rm x\nls\nE", "ls && (cd / && (rm x))",
    ],
    "wrappers": [
        "env rm x", "sudo ls", "watch ls", "timeout 5 rm x", "setsid rm x", "busybox rm x",
        "xargs rm", "sh -c 'rm x'", "bash -c 'ls; rm x'", "bash -c \"sh -c 'rm x'\"",
        "bash -lc 'rm x'", "nice rm x", "python -c 'print(1)'", "perl -e 1", "ruby -e 1",
        "node -e 1", "nohup rm x", "time rm x", "command rm x", "exec ls", "builtin eval ls",
        "bash -c ls extra", "bash script.sh", "env -i rm x", "env FOO=1 ls", "env -S 'rm x'",
        "nice -n 5 rm x", "stdbuf -oL rm x", "ionice -c2 rm x", "timeout -s KILL 5 rm x",
        "timeout --foreground 5 env nice rm x", "doas ls", "su -c ls", "ssh h ls", "chroot / ls",
        "find . | xargs rm", "xargs -I{} rm {}", "xargs -I % sh -c %", "parallel rm ::: x",
        "script -c ls", "unshare ls", "flock x ls", "command -p rm x", "bash -ic ls", "bash -s",
        "echo ls | bash", "sh <<< ls", "sh < x", "busybox sh -c ls", "toybox rm x",
        "find . -exec rm {} +", "find . -exec sh -c 'rm $0' {} \\;", "xargs -a .env echo",
        "timeout 5 bash -c 'timeout 5 rm x'", "time -o x ls", "env -C / rm x", "env --chdir=/ rm x",
    ],
    "environment": [
        "X=1 ls", "PAGER=sh git log", "GIT_SSH=x ls", "LD_PRELOAD=./x.so ls", "BASH_ENV=x ls",
        "export PATH=.", "typeset x=1", "'X=1' ls", "ls='x' cat y", "PATH=.; ls", "IFS=x; ls",
        "declare -x X=1", "readonly X=1", "local x=1", "unset PATH", "LC_ALL=../x ls",
        "TZ=:/etc/shadow date", "TZ=../../x date", "GREP_OPTIONS=-f.env grep x y",
        "RIPGREP_CONFIG_PATH=x rg y", "LESSOPEN='|x %s' less y", "set -a", "LC_ALL=$X sort y",
        "X=1 Y=2 ls", "export X", "X=(a b) ls", "a[0]=1", "PS4='$(rm x)'; set -x", "env PATH=. ls",
        "GIT_EXTERNAL_DIFF=./x git diff", "HOME=/root; cat ~/.ssh/id_rsa", "PROMPT_COMMAND=x; ls",
    ],
    "options that run or write": [
        "tar -tf host:/x", "yq -s x y", "git log --show-signature", "pip list --outdated",
        "find . -exec rm {} +", "find . -delete", "find . -fprint x", "find . -execdir a b",
        "find . -ok a", "find . -fls x", "find . -fprintf x y", "rg --pre x y", "rg -z x",
        "sed -i s/a/b/ f", "sed e", "sed 's/a/b/e' f", "sed 's/a/b/w y' f", "sed -n '1w y' f",
        "sed 'r .env' f", "sed -f x f", "sed '1e ls' f", "sed --in-place s/a/b/ f",
        "sed -Ei.b s/a/b/ f",
        "sed 's/[/]/;/e;#/p' f", "sed 'y/a/b/;e' f", "sed '/x/{p;w y\n}' f",
        "sort -o x y", "sort -ox y", "sort --output=x y", "sort --compress-program=./x y",
        "git diff --output=x", "git -c core.pager=x log", "git grep -O foo",
        "git --exec-path=. log",
        "ssh -o ProxyCommand=x h", "tar -I x", "tar tf x --to-command=sh", "tar -tf x -I ./y",
        "tar tf x --checkpoint=1 --checkpoint-action=exec=sh", "tar xf x", "tar -txf x",
        "file -C -m x", "file -m x y", "grep -f .env y", "wc --files0-from=x", "du --files0-from=x",
        "du -X x", "date -s now", "ls --hyperlink=x", "date -f .env", "diff --from-file=.env x",
        "grep --exclude-from=.env x", "file -f names", "file -z x.gz", "fd -x rm", "fd . -X rm",
        "stat --printf", "head -n", "cat --unknown", "awk 'BEGIN{system(\"ls\")}'", "awk -f x y",
        "awk '{print > \"x\"}' y", "awk '{print | \"sh\"}' y", "gawk -i inplace '{print}' y",
        "awk 'BEGIN{while((\"ls\"|getline)>0)print}'", "awk '@load \"x\"'",
        "awk '{printf \"x\" >>\"y\"}'",
        "jq -n env", "jq -f x y", "yq -i .a=1 x", "man -P x ls", "man -H x ls", "less +!ls x",
        "xxd -r x", "xxd x y", "uniq x y", "base64 -o x", "tree -o x", "dmesg -C", "hash -r",
        "journalctl --rotate", "printf -v x y", "test -v 'a[$(rm x)]'", "nm --plugin x y",
        "openssl x509 -in a -out b", "mount -a", "hostname x", "history -c", "bat --pager x y",
        "shuf -o x y", "iconv -o x y", "ss -K", "lsof -D b", "ip -batch x", "ip link set x up",
    ],
    "options in odd places": [
        "git -C p checkout -- x", "git reset --h", "find -delete .", "ls x --indicator-style",
        "cat x -Z",
        "find -- . -delete", "find . -name", "grep -e", "sort y -o x", "sort --outp=x y",
        "sort --o x y",
        "sort -bo x y", "sort -kox y -o z", "git --no-pager push", "git -P -C x push",
        "sed s/a/b/ f -i",
        "sed -n s/a/b/ -i f", "tar t --to-comm=sh -f x", "rg x --pr=y", "git log -o x",
        "date -us now", "dmesg -TC", "file -bC x", "git branch -vD x", "git diff --ext-d",
    ],
    "redirection": [
        "ls > x", "ls >> x", "ls 2> x", "ls &> x", "echo x >| y", "ls > >(cat)", "cat <(rm x)",
        "exec 3<>/dev/tcp/h/1", "echo x >&3", "ls >x", "ls>x", "cat < .env", "cat 0< .env",
        "<.env cat",
        "cat 3< x", "ls 3>&1", "ls >&x", "ls <> x", "cat < /dev/tcp/h/1", "cat <<E\n$(rm x)\nE",
        "cat <<-E\n\t`rm x`\n\tE", "cat <<< $(rm x)", "cat <<< \"$(cat .env)\"", "{ ls; } > x",
        "(ls) > x",
        "while read l; do echo $l; done < .env", "if ls; then pwd; fi > x", "echo > /dev/tcp/h/1",
        "> x", "echo $(< .env)", "ls &>> x", "cat <<A <<B\nx\nA\ny\nB", "ls {fd}> x", "tee >(sh)",
    ],
    "expansion": [
        "echo $(rm x)", "echo `rm x`", "echo ${x:-$(rm x)}", "echo ${!x}", "$'\\x72m' x", "{rm,x}",
        "eval ls", "alias ls=rm", "ls() { rm x; }", "trap 'rm x' EXIT", "$(echo ls)", "`echo ls`",
        '"$x" y', 'ls "$(rm x)"', "x=rm; $x y", "x=rm; \"$x\" y", "r=m; r$r x", "echo ${x@P}",
        "echo ${x:=$(rm x)}", "echo $((x[$(rm x)]))", "[[ x -eq 'a[$(rm x)]' ]]", "((a[$(rm x)]))",
        "sort *", "find *", "sort $x", "sort {-o,x}", "cat $x", "cat \"$x\"", "ls -$x",
        "echo @(a|b)",
        "x=.env; cat $x", "x=.env; cat \"$x\"", "for f in .e*; do cat $f; done", "source x", ". x",
        "cat .e{n,}v", "cat {.env,x}", "cat ${x:-.env}", "cat .e$'n'v", "cat $'\\x2eenv'",
        "cat \".e\"'nv'",
        "function ls { rm x; }", "coproc ls", "declare -n x=y; ls", "mapfile -t x < y",
        "enable -f x y",
        "echo \"$(cat \"$(echo .env)\")\"", "echo $SECRET_API_KEY",
        "echo \"${AWS_SECRET_ACCESS_KEY}\"",
        "printf %s $TOKEN", "cat <<< $TOKEN", "cat <<E\n$TOKEN\nE", "x=$TOKEN; echo $x",
        "grep $TOKEN x",
        "x=$(cat .env); echo $x", "read x < .env", "set -- .env; cat $1", "cat ~+/x", "cat ~-/x",
    ],
    "not what it looks like": [
        "ls\u200b", "l\u0455", "rm\u2060", "ls \u202e x", "ls\u00a0x", "ls \u3164", "\ufeffls",
        "ls " + "a" * 20_000, "ls \x1b[8m", "ls \x00", "\uff4c\uff53", "ls \x7f",
        "ls \u2066x\u2069",
        "ls \ud800", "cat \u00ad.env", "ls\u2028rm x", "ls\x0brm", "ls\x0crm", "e\u0441ho x",
        "ls " + "\u0301" * 10, "ls \U000e0041", "cat \u180e.env", "ls\x85rm x",
    ],
    "paths": [
        "cat /proc/self/root/etc/shadow", "cat /proc/self/cwd/.env", "man /root/.ssh/id_rsa",
        "git diff -O.env", "git blame -S.env x", "find ./ ~ -type f -exec cat {} +",
        "while read f; do cat $f; done < list", "cat `ls`", "x=\"$TOKEN\"; echo ${x}",
        "for t in $TOKEN; do echo $t; done", "echo ${TOKEN:0:3}", "cat $HOME/.a*/cred*",
        "cat .env", "cat ./.env", "cat a/../.env", "cat .ENV", "cat .env/", "cat //root/.ssh/x",
        "cat /proc/self/environ", "cat /proc/../proc/1/mem", "cat '/dev/tcp/h/1'", "cat .env.local",
        "cd .ssh && cat x", "cd / && cat etc/shadow", "cat id_rsa", "grep x .netrc", "head .npmrc",
        "cat server.key", "ls .aws", "stat .git-credentials", "cat secrets.yaml", "find .ssh",
        "cd /proc && cat self/environ", "cat /./dev/zero", "cat .e*", "cat .??*", "cat .[e]nv",
        "cat .*", "cat ~/.*", "cat ~/.ssh/*", "cat /root/.s*/*", "cat /e*/shadow",
        "cat /*/*/id_rsa",
        "cat ~root/.ssh/x", "cat ~user/.aws/x", "cat $HOME/.ssh/id_rsa", "cat \"$HOME\"/.netrc",
        "grep -r x /", "grep -r x ~", "grep -r x ..", "rg x /root", "rg x /etc",
        "cd ~ && grep -r x .",
        "cd /; grep -r x", "grep -r x $HOME", "diff -r / x", "cat id_*", "cat *.pem", "cat *.key",
        "head -c 9 /etc/sh?dow", "ls ~/.ss?", "find . -name .env -exec cat {} +",
        "git show HEAD:.env",
        "find . -name '*.key' | xargs cat", "find ~ -type f | xargs cat", "ls -a | xargs cat",
        "git show HEAD:a/id_rsa", "git log -p -- .env", "git blame .env", "git grep x -- .env",
        "git cat-file -p HEAD:.env", "cat ~/.config/gh/hosts.yml", "cat ~/.bash_history",
        "cat /run/secrets/x",
        "cat /etc/ssl/private/x", "cat credentials.json", "cat cred*", "cat *secret*", "printenv",
        "env", "set", "export -p", "declare -p", "ps eww", "printenv TOKEN", "cat /proc/1/env*",
        "cat /proc/*/environ", "strings /proc/self/mem", "awk 'BEGIN{print ENVIRON[\"X\"]}'",
        "jq -n '$ENV'", "dd if=.env", "tar cf - .ssh", "zcat .env.gz", "base64 ~/.ssh/id_rsa",
        "tac .env",
    ],
    "config as code and the guard itself": [
        "git config core.fsmonitor ./x", "git config --global alias.x '!rm x'",
        "echo x > .git/hooks/pre-commit",
        "echo x >> .git/config", "echo x > .luminaguard/policy.toml", "luminaguard grants revoke x",
        "luminaguard approvals approve x", "echo x >> ~/.bashrc", "crontab x",
        "npm config set script-shell x",
        "chmod +x .git/hooks/x", "cp x .vscode/tasks.json", "ln -s .env x", "ln .env x",
        "git init --template=x",
        "pip config set global.index-url x", "kill 1", "pkill luminaguard", "direnv allow",
        "git lfs install",
    ],
    "same name elsewhere": [
        "./ls", "/tmp/ls", "bin/ls", "../ls", "/usr/bin/../../tmp/ls", "~/ls",
        "/usr/local/bin/../x/ls",
        "//tmp/ls", "./git status", "LS", "ls/", "/workspace/ls", "/usr/bin//../x/ls",
        "'git status'",
        "'ls '", "''", "'' ls", "\"ls -la\"",
    ],
    "another parser would differ": [
        "{ ls; }#; rm x; }",
        "echo x; (ls)#\nrm x", "[[ -f || x ]] && ls",
        "echo \"a\"#; rm x", "[1&1]", "[ a & rm x ]", "[ a | rm x ]", "[ a && rm x ]",
        "[ a || rm x ]", "[ a ; rm x ]",
        "[ a > x ]", "[ a < .env ]", "[[ a & rm x ]]", "[ a\nrm x ]", "[a ]", "[ a]",
        "ls | ls | dpkg -L bash\ncat .env && ls", "ls | wc -l\nrm x && ls",
        "ls | ls | ls a\nrm x || ls",
        "cat 0< .env", "ls {fd}> x", "1=x ls", "--sort=x ls", "cat <<-E\n\t`rm x`\n\tE",
        "zsh -c 'echo =(rm x)'", "zsh -c 'ls *(e:rm:)'", "zsh -c 'echo =rm'", "zsh -c 'ls **/x(.)'",
        "zsh -c 'echo $x'", "zsh -c 'ls ~[x]'", "zsh -c 'ls <1-5>'", "ls @(Get-Process)",
        "[[ a && rm ]",
        "ls 'a", "ls \"a", "ls $(", "ls `", "ls <<E", "((", "[[", "ls )", "then ls", "do ls", "fi",
        "cat .e\\\nnv", "r\\\nm x", "ls \\", "ls &&", "&& ls", "| ls", "ls | | wc", "ls ;;",
        "fish -c ls",
        "csh -c ls", "pwsh -c ls", "cmd /c dir",
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", BYPASSES)
def test_every_class_of_bypass_has_ten_variants_or_more(kind: str) -> None:
    assert len(BYPASSES[kind]) >= 10


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, id=f"{kind}: {c[:30]!a}") for kind, cs in BYPASSES.items() for c in cs],
)
def test_a_known_bypass_is_never_green(command: str) -> None:
    assert lane_of(command) is not Lane.GREEN
    assert lane_of_argv("bash", "-c", command) is not Lane.GREEN


@pytest.mark.parametrize("argv", [
    ["bash"], ["bash", "-c"], ["bash", "-c", "ls", "x"], ["bash", "-ic", "ls"],
    ["zsh", "-c", "echo $x"],
    ["/tmp/bash", "-c", "ls"], ["env", "X=1", "ls"], ["ls ", "x"], [""], ["git status"],
    ["find", ".", "-delete"], ["cat", ".env"], ["ls", "\u202e"], ["env"], ["git log", "x"],
    ["cat", "/proc/self/environ"], ["LS"], ["sort", "-o", "x", "y"], ["xargs", "cat"],
    ["echo", "x" * 10_001], ["bash", "-c", "rm x"], ["timeout", "5", "rm", "x"],
    ["bash", "-c", "$0", "rm"],
])  # fmt: skip
def test_an_argument_vector_that_is_not_a_plain_read_is_never_green(argv: list[str]) -> None:
    assert lane_of_argv(*argv) is not Lane.GREEN
