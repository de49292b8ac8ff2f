"""Runs two coordinators on one PostgreSQL, and workers that know both."""

from harness import cluster, processes


class Pair(cluster.Cluster):
    def __init__(self, folder, store_url, **settings):
        self.members = [None, None]
        self._ports = [0, 0]
        self._url_file = folder / "store-url"
        self._url_file.write_text(store_url + "\n")
        super().__init__(folder, **settings)

    @property
    def address(self):
        return ",".join(map(self.address_of, range(2)))

    def address_of(self, index):
        return f"127.0.0.1:{self._ports[index]}"

    def coordinators(self):
        return self.members

    def start_coordinator(self):
        for index in range(2):
            self.start_member(index)

    def start_member(self, index):
        """Starts one of the two, the first time on a free port, later on the same port."""
        name = f"coordinator-{index}"
        port_file = self.folder / f"port-{index}"
        port_file.unlink(missing_ok=True)
        self.members[index] = self._start(name, "regroup-coordinator", "--work-dir", self.work, "--state-dir",
                                          self.folder / f"state-{index}", "--store-url-file", self._url_file,
                                          "--listen", self.address_of(index), "--metrics-listen", "", "--port-file",
                                          port_file, "--lease-s", self._lease_s, "--heartbeat-s", 1)
        self._ports[index] = self._read_port(port_file, self.members[index], name)

    def ask(self, index, *arguments):
        """Runs `regroup` against one of the two."""
        return cluster.run_regroup(*arguments, coordinator=self.address_of(index))

    def leads(self, index):
        return self.members[index].poll() is None and self.ask(index, "list").returncode == 0

    def wait_for_leader(self, among=(0, 1), patience_s=60):
        """Returns the number of the one that answers calls."""
        return processes.wait_until(lambda: [index for index in among if self.leads(index)], "a leader", patience_s)[0]
