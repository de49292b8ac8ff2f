"""Creates nodes as network namespaces of this machine, joined by a bridge, and a cluster over mutual TLS on them.

The coordinator runs in its own namespace, the hub. Every namespace has this process's id in its name and is removed at
the end of the test; leftovers of a killed test are removed by the next test.
"""

import os
import pathlib
import re
import shutil
import subprocess

from harness import cluster, places, processes

_PREFIX = "rgtest"
_HUB_ADDRESS = "10.77.0.1"


def why_not():
    """Returns why nodes cannot be created here; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip") or not shutil.which("nsenter"):
        return "ip or nsenter is not installed"
    name = f"{_PREFIX}{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return f"no network namespace: {tried.stderr.strip()}" if tried.returncode else ""


def _ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True)


def _remove(namespace):
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)


def _remove_leftovers():
    for name in pathlib.Path("/run/netns").glob(f"{_PREFIX}*"):
        owner = re.match(rf"{_PREFIX}(\d+)-", name.name)
        if owner and not pathlib.Path(f"/proc/{owner[1]}").exists():
            _remove(name.name)


class Nodes:
    """A hub at 10.77.0.1 and `count` nodes at 10.77.0.2 and on."""

    def __init__(self, count):
        _remove_leftovers()
        self.count = count
        self._prefix = f"{_PREFIX}{os.getpid()}-"
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def remove(self):
        for index in range(self.count + 1):
            _remove(self._name(index))

    def address(self, index):
        return f"10.77.0.{index + 1}"

    def enter(self, index):
        """Returns the words that stand before a command to run it on a node; 0 is the hub."""
        return ["nsenter", f"--net=/run/netns/{self._name(index)}"]

    def cut(self, index):
        """Blocks all traffic to and from the node."""
        _ip("-n", self._name(0), "link", "set", f"to{index}", "down")

    def heal(self, index):
        _ip("-n", self._name(0), "link", "set", f"to{index}", "up")

    def block(self, index, other):
        """Blocks traffic between the two nodes, while both reach the hub."""
        _ip("-n", self._name(index), "route", "add", "prohibit", f"{self.address(other)}/32")

    def lose(self, index, from_node=0, to_node=0):
        """Drops these percentages of the packets that come from the node, and of those that go to it, from now on."""
        self._lose_arriving(0, f"to{index}", from_node)
        self._lose_arriving(index, "eth1", to_node)

    def lost_and_kept(self, index):
        """Returns the packet counts since the last call of lose(), from the node and to it."""
        return [self._count_arriving(0, f"to{index}"), self._count_arriving(index, "eth1")]

    def _lose_arriving(self, index, device, percent):
        table = f"losses_{device}"
        # A share of all of them cannot be written as one.
        some = "" if percent == 100 else f"numgen random mod 100 < {percent}"
        rules = f"""
            add table netdev {table}
            delete table netdev {table}
            table netdev {table} {{
                chain arriving {{
                    type filter hook ingress device "{device}" priority 0; policy accept;
                    {some} counter drop
                    counter accept
                }}
            }}"""
        self._nft(index, "-f", "-", text=rules)

    def _count_arriving(self, index, device):
        text = self._nft(index, "list", "table", "netdev", f"losses_{device}")
        return tuple(map(int, re.findall(r"counter packets (\d+)", text)))

    def _nft(self, index, *arguments, text=""):
        if not shutil.which("nft"):
            raise AssertionError("there is no nft; install it: apt-get install --no-install-recommends nftables")
        done = subprocess.run([*self.enter(index), "nft", *arguments], input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout

    def _name(self, index):
        return self._prefix + ("hub" if index == 0 else f"node{index}")

    def _make(self):
        for index in range(self.count + 1):
            _ip("netns", "add", self._name(index))
            _ip("-n", self._name(index), "link", "set", "lo", "up")
        hub = self._name(0)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "address", "add", f"{_HUB_ADDRESS}/24", "dev", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for index in range(1, self.count + 1):
            node = self._name(index)
            _ip("-n", hub, "link", "add", f"to{index}", "type", "veth", "peer", "name", "eth1", "netns", node)
            _ip("-n", hub, "link", "set", f"to{index}", "master", "bridge", "up")
            _ip("-n", node, "address", "add", f"{self.address(index)}/24", "dev", "eth1")
            _ip("-n", node, "link", "set", "eth1", "up")


class NodeCluster(cluster.Cluster):
    """A coordinator on the hub and a worker on each node, with certificates of `regroup-coordinator init`."""

    def __init__(self, folder, nodes, trainer=None, **settings):
        self.nodes = nodes
        self._keys = folder / "keys"
        self._make_keys()
        super().__init__(folder, workers=nodes.count, trainer=trainer, **settings)

    @property
    def address(self):
        return f"{_HUB_ADDRESS}:{self._port}"

    def prefix(self):
        return self.nodes.enter(0)

    def environment(self):
        identity = {f"REGROUP_TLS_{name.upper()}": str(file) for name, file in self._files("client").items()}
        return {**super().environment(), **identity, "REGROUP_TOKEN_FILE": str(self._keys / "user.token")}

    def _files(self, name):
        return {"certificate": self._keys / f"{name}.pem", "key": self._keys / f"{name}.key",
                "authority": self._keys / "authority.pem"}

    def _make_keys(self):
        program = places.PROGRAMS / "regroup-coordinator"
        tokens = self._keys / "tokens"
        subprocess.run([program, "init", "--dir", self._keys, "--host", _HUB_ADDRESS], check=True, capture_output=True)
        for name, *role in (("nodes", "worker", "--worker-prefix", "worker-"), ("user", "submitter")):
            made = subprocess.run([program, "token", "add", name, "--role", *role, "--tokens", tokens], check=True,
                                  capture_output=True, text=True)
            (self._keys / f"{name}.token").write_text(made.stdout)

    def _start(self, name, program, *arguments):
        is_worker = program == "regroup-worker"
        index = int(name.rpartition("-")[2]) if is_worker else 0
        arguments = list(arguments)
        for flag, file in self._files("worker" if is_worker else "coordinator").items():
            arguments += [f"--tls-{flag}", file]
        if is_worker:
            arguments += ["--token-file", self._keys / "nodes.token", "--gang-interface", "10.77.0.0/24",
                          "--gang-listen", f"{self.nodes.address(index)}:7448"]
        else:
            arguments += ["--tokens", self._keys / "tokens"]
        with open(self.folder / f"{name}.log", "ab") as log:
            return processes.start([*self.nodes.enter(index), places.PROGRAMS / program, *arguments], stdout=log,
                                   stderr=log)
