#!/usr/bin/env bash
# Trains, predicts and resumes on a machine that has next to nothing: Debian's smallest system with
# Python, and neither git, X libraries, HOME, an entry in the list of users, nor /dev/shm.
#
#   sudo benchmarks/bare_machine.sh FOLDER SITE_PACKAGES
#
# FOLDER is where the system is put (debootstrap makes it, 350 MB), SITE_PACKAGES the packages of an
# environment of the Python that Debian has (bookworm: 3.11). Ends with 0 if every command does.
set -euo pipefail
root=$1 packages=$2
checkout=$(cd "$(dirname "$0")/.." && pwd)

if [[ ! -x $root/usr/bin/python3 ]]; then
  debootstrap --variant=minbase --include=python3 bookworm "$root"
fi
mkdir -p "$root/opt/packages" "$root/opt/molrel" "$root/home/user"
chmod 777 "$root/home/user"
cp -r "$checkout/molrel" "$checkout/configs" "$root/opt/molrel"
rm -rf "$root/dev/shm" "$root/home/user/"*
mount --bind "$packages" "$root/opt/packages"
mount -t proc proc "$root/proc"
trap 'umount "$root/opt/packages" "$root/proc"' EXIT

cat > "$root/opt/commands" <<'COMMANDS'
set -u
cd /home/user
unset HOME
export PYTHONPATH=/opt/molrel:/opt/packages PYTHONDONTWRITEBYTECODE=1
failed=0
must() {
  echo "\$ molrel $*"
  python3 -m molrel "$@" || { echo "exit code $?"; failed=1; }
}
for missing in git; do ! command -v $missing || failed=1; done
[[ ! -e /dev/shm ]] || failed=1
python3 -c '
import itertools
names = ["C" * i + end for i in range(1, 9) for end in ("", "O", "N")]
rows = [f"{a},{b},{(len(a) + len(b)) % 2}" for a, b in itertools.combinations(names, 2)]
print("smiles_a,smiles_b,label", *rows, sep="\n")' > pairs.csv
train=(train /opt/molrel/configs/test.py --data pairs.csv --method.branches graph --seeds 0 --out run)
must data list | tail -n 1
must "${train[@]}"
must predict run --input pairs.csv --output scored.csv
must "${train[@]}" --resume --train.steps 16
must predict run --input pairs.csv --output scored.csv.gz
head -n 3 scored.csv
exit $failed
COMMANDS
chroot --userspec=12345:12345 "$root" /bin/bash /opt/commands
