"""Does what coordinator/README.md says, command by command, and checks what it promises."""

import sys
import unittest

from harness import processes
from harness.documented_cluster import TRAINER, DocumentedClusterTest, documented_commands


class DocumentedCluster(DocumentedClusterTest):
    def test_the_commands_do_what_they_say(self):
        said = {command: self.follow(command) for command in documented_commands()}
        self.assertGreater(len(said), 12)
        self.assertTrue((self.output / "regroup/report.json").exists(), "the result is published")
        self.assertIn("node-1", said["regroup workers"])
        audit = said["regroup audit --token-file keys/admin.token"]
        self.assertRegex(audit, r"alice\s+submitter\s+\S+\s+JobService/SubmitJob\s+jobs/small-")
        self.assertIn("draining", said["regroup drain node-1 --token-file keys/admin.token"])
        self.assertTrue((self.folder / "work/coordinator/backups/monday.db").exists())
        # The last thing the README does to alice is to remove her token.
        self.assertIn("is unknown or was removed", self.shell("regroup list", status=2))
        self.assertRegex(self.shell("regroup-coordinator token list --tokens keys/tokens"), r"node-1 +worker")
        self.assertIn("token \"node-1\" is for worker node-1", self.refusal_of_worker("node-2"))

    def refusal_of_worker(self, name):
        """Starts the worker of the README under another name, and returns what its log says of its rejection."""
        command = next(command for command in documented_commands() if command.startswith("regroup-worker"))
        log = self.folder / "worker.log"
        length = log.stat().st_size
        self.start_daemon(command.replace("--id node-1", f"--id {name}"))
        processes.wait_until(lambda: "rejects this worker" in log.read_text()[length:], "the rejection", 60, 0.2)
        return log.read_text()[length:].replace('\\"', '"')

    def test_nobody_gets_further_than_the_readme_says(self):
        for command in documented_commands()[:7]:
            self.follow(command)
        self.assertIn("is allowed for admin", self.shell("regroup drain node-1", status=2))
        self.assertIn("no token", self.shell("env -u REGROUP_TOKEN_FILE regroup list", status=2))
        outside = self.shell("sed s:results/model:elsewhere: job.yaml > other.yaml; regroup submit other.yaml", status=2)
        self.assertIn("output.checkpoint", outside)
        self.shell("ln -s / data/way-out; sed s:data/model:data/way-out/etc: job.yaml > link.yaml")
        self.assertIn("source.checkpoint", self.shell("regroup submit link.yaml", status=2))
        self.shell("rm data/way-out; mkdir data/way-out; regroup submit link.yaml")
        self.assertIn("needs tokens", self.shell("regroup-coordinator --listen 0.0.0.0:0 --work-dir open "
                                                 "--tls-certificate keys/coordinator.pem --tls-key keys/coordinator.key "
                                                 "--tls-authority keys/authority.pem", status=1))
        self.assertIn("mutual TLS", self.shell("regroup-coordinator --listen 0.0.0.0:0 --work-dir open "
                                               "--tokens keys/tokens", status=1))
        self.assertIn("keys/tokns does not exist", self.shell("regroup-coordinator --listen 127.0.0.1:0 --work-dir open "
                                                              "--metrics-listen '' --tokens keys/tokns", status=1))

    def test_the_worker_looks_again_where_a_path_leads(self):
        for command in documented_commands()[:7]:
            self.follow(command)
        worker = self.daemons.pop()
        worker.terminate()
        worker.wait(timeout=60)
        self.shell("mkdir data/model; regroup submit job.yaml")
        self.shell("rmdir data/model; ln -s /etc data/model")
        self.follow(documented_commands()[5])
        processes.wait_until(lambda: "JOB_STATE_FAILED" in self.shell("regroup list --json"), "the failure", 60, 0.2)
        self.assertIn("source.checkpoint", self.shell("regroup list --json"))


if __name__ == "__main__":
    if not TRAINER.exists():
        print(f"SKIPPED: {TRAINER} is not built", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
