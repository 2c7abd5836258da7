"""A Slurm of one node, the demo's sweep through it with jobs taken back midway, and the same sweep without it.

./scripts/slurm-test runs this as root, once Slurm is installed. It says what it does, ends with a table for
docs/reliability.md, and exits 1 where a record of Slurm differs from the plain run's.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

SLURM_CONF = """
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={work}/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.pid
SlurmctldLogFile={work}/slurmctld.log
SlurmdLogFile={work}/slurmd.log
KillWait=5
JobRequeue=1
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname={host} CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""

SWEEP = ["dataset=demo", "backbone=demo", "dataset.decode=exact,fast", "prompts=name_only,simple,ensemble"]
PATIENCE = 900.0


def say(text: str) -> None:
    """A line on standard output, at once."""
    print(text, flush=True)


def output(*command: str) -> str:
    """What a command prints; it must not fail."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def until(what: str, happened: Callable[[], bool]) -> None:
    """Wait until something has happened, which is asked for again and again."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > PATIENCE:
            sys.exit(f"slurm-test: waited {PATIENCE:.0f} s in vain until {what}")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def node_is_idle() -> bool:
    """Whether Slurm answers and would take a job."""
    return "idle" in subprocess.run(["sinfo", "-h"], check=False, capture_output=True, text=True).stdout


@contextmanager
def slurm(work: Path) -> Iterator[None]:
    """A Slurm of this one machine, of its own: its key, socket, ports and state lie below ``work``."""
    for folder in ("state", "spool", "munge"):
        (work / folder).mkdir(parents=True)
    work.chmod(0o755)
    key = work / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    for path in (key, key.parent):
        path.chmod(0o600 if path == key else 0o700)
    conf = work / "slurm.conf"
    conf.write_text(
        SLURM_CONF.format(work=work, ports=free_ports(2), host=socket.gethostname().split(".")[0], cpus=os.cpu_count())
    )
    os.environ["SLURM_CONF"] = str(conf)
    munge = [f"--{name}={work / 'munge' / name}" for name in ("pid-file", "log-file", "seed-file")]
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={work}/munge.socket", *munge],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf), "-N", "localhost"],
    ]
    daemons = []
    try:
        for command in commands:
            log = (work / f"{command[0]}.out").open("w")
            daemons.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
            if command[0] == "munged":
                until("munged listens", (work / "munge.socket").exists)
        until("the node is idle", node_is_idle)
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=30)


def bench(work: Path, folder: str, *arguments: str) -> list[str]:
    """The program on a results folder and a cache of its own."""
    places = [f"results_dir={work / folder}", f"cache_dir={work / folder}-cache", "device=cpu", "batch_size=32"]
    return [sys.executable, "-m", "cupl_bench", *arguments, *places]


def encoding(work: Path, folder: str) -> int:
    """How many jobs are among their images or prompts."""
    return len(list((work / f"{folder}-cache").glob("*_features/*/claims/*.claimed")))


def written(work: Path, folder: str) -> int:
    """How many backbones and ways to decode have features of images on the disk."""
    return len({path.parent for path in (work / f"{folder}-cache" / "image_features").glob("*/*.safetensors")})


def rows(work: Path, folder: str) -> dict[str, tuple[dict[str, object], pd.DataFrame]]:
    """The metrics and predictions of each record."""
    found = {}
    for path in sorted((work / folder / "records").glob("*.json")):
        record = json.loads(path.read_bytes())
        found[path.stem] = (record["metrics"], pd.read_parquet(work / folder / record["artifacts"]["predictions"]))
    return found


def same(ours: tuple[object, pd.DataFrame], plain: tuple[object, pd.DataFrame]) -> bool:
    """Whether two records have the same metrics and answers; scores may differ by the rounding of other batches."""
    answers = ["index", "image_id", "label", "prediction", "correct"]
    close = (ours[1]["score"] - plain[1]["score"]).abs().max() < 1e-5
    return ours[0] == plain[0] and ours[1][answers].equals(plain[1][answers]) and bool(close)


def jobs() -> dict[str, str]:
    """The jobs of Slurm and their states."""
    lines = output("squeue", "-h", "-t", "all", "-o", "%i %T").splitlines()
    return dict(line.split() for line in lines)


def put_back(job: str) -> None:
    """Queue a job again, at once: Slurm would wait two minutes."""
    output("scontrol", "requeue", job)
    until(f"job {job} is in the queue", lambda: jobs().get(job) == "PENDING")
    output("scontrol", "update", f"JobId={job}", "StartTime=now")


def told(work: Path) -> str:
    """What the sweep printed, without submitit's complaints that this Slurm keeps no accounts."""
    lines = (work / "sweep.log").read_text().splitlines()
    return "\n".join(line for line in lines if "sacct" not in line and "accounting storage" not in line)


def through_slurm(work: Path) -> None:
    """The sweep; one of its jobs is requeued, one puts itself back and is cancelled then, all while they run."""
    launcher = ["hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null"]
    command = bench(work, "slurm", "eval", "-m", *SWEEP, *launcher)
    say(f"$ cupl-bench {' '.join(command[3:])}")
    with (work / "sweep.log").open("w") as log:
        sweep = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until("both jobs encode", lambda: encoding(work, "slurm") == 2)
        running = sorted(job for job, state in jobs().items() if state == "RUNNING")
        # The demo is done in seconds; jobs that are warned write each batch, so that there is something to find again.
        say(f"$ scancel --signal=TERM {' '.join(running)}      # as Slurm does some seconds before it kills")
        output("scancel", "--signal=TERM", *running)
        until("both have written", lambda: written(work, "slurm") == 2)
        first, second = running
        say(f"$ scancel --signal=USR2 {second}      # as submitit has Slurm do before the time is up")
        output("scancel", "--signal=USR2", second)
        say(f"$ scontrol requeue {first}")
        put_back(first)
        until("the second has put itself back", lambda: jobs().get(second) == "PENDING")
        output("scontrol", "update", f"JobId={second}", "StartTime=now")
        until("the second runs again", lambda: jobs().get(second) == "RUNNING")
        say(f"$ scancel {second}")
        output("scancel", second)
        until("it is cancelled", lambda: jobs().get(second) == "CANCELLED")
        say("$ cupl-bench status")
        say(output(*bench(work, "slurm", "status")).strip())
        say(f"$ scontrol requeue {second}")
        put_back(second)
        if sweep.wait(timeout=PATIENCE) != 0:
            sys.exit(f"slurm-test: the sweep failed:\n{told(work)}")
    say(told(work))


def main(work: Path) -> None:
    """Both sweeps, and the comparison of what they left."""
    os.environ |= {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    with slurm(work):
        say(output("sinfo", "--version").strip())
        through_slurm(work)
    spent = time.monotonic() - began
    starts = 0
    for path in sorted(work.glob("slurm/logs/*/submitit/*/*.out")):
        log = path.read_text()
        starts += log.count("Starting with")
        say("\n".join([f"{path.parent.name}:", *re.findall("images .*encoded.*|finished before", log)]))
    say(f"$ cupl-bench eval -m {' '.join(SWEEP)}")
    subprocess.run(bench(work, "plain", "eval", "-m", *SWEEP), check=True, stdout=subprocess.DEVNULL)
    ours, plain = rows(work, "slurm"), rows(work, "plain")
    equal = [key for key in plain if key in ours and same(ours[key], plain[key])]
    say("\n| what | figure |\n|---|---|")
    say(f"| questions, jobs of Slurm | {len(plain)}, 2 |")
    say(f"| starts of jobs, those after signals, requeues and `scancel` included | {starts} |")
    say(f"| records of Slurm's sweep | {len(ours)} |")
    say(f"| of these with the metrics and predictions of the plain sweep | {len(equal)} |")
    say(f"| seconds through Slurm | {spent:.0f} |")
    if not len(equal) == len(plain) == len(ours):
        sys.exit("slurm-test: Slurm's sweep left other records than the plain one")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
