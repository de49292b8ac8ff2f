"""The base of tests of a gang of four ranks on two workers of two slots each."""

from harness import processes
from harness.program_test import ProgramTest


class SpreadGangTest(ProgramTest):
    """`self.cluster` has worker-1 and worker-2; `trainer` is the name of the program that runs as a rank."""

    trainer = "regroup-trainer"
    task_id = "calibrate"

    def task(self, job):
        return next((task for task in self.cluster.job(job)["tasks"] if task["name"].endswith("/" + self.task_id)), {})

    def shares(self, job):
        """Returns the ranks by worker, the lead first."""
        return {share["worker"].removeprefix("workers/"): share["ranks"] for share in self.task(job).get("shares", [])}

    def lead_and_helper(self, job):
        lead, helper = self.shares(job)
        return lead, helper

    def ranks(self, epoch=1):
        return [process for process in self.processes_of_attempt(epoch) if process.program == self.trainer]

    def processes_of_attempt(self, epoch=1):
        """Returns mpirun and the ranks: all processes that name the attempt's folder."""
        return [process for process in processes.processes_of(self.folder)
                if f"/{self.task_id}/{epoch}" in " ".join(process.arguments)]

    def wait_for_ranks(self, epoch=1):
        def find():
            found = self.ranks(epoch)
            return found if len(found) == 4 else None
        return processes.wait_until(find, f"four ranks of attempt {epoch}", 60)

    def daemon(self):
        """Returns Open MPI's daemon on the helper."""
        return next(process for process in processes.processes_of(self.folder) if process.program == "orted")

    def wait_for_epoch(self, job, epoch):
        return processes.wait_until(lambda: int(self.task(job).get("epoch", 0)) >= epoch, f"attempt {epoch}", 60, 0.1)

    def assert_attempt_gone(self, epoch=1, patience_s=10):
        """Asserts that no process of the attempt is left on any node."""
        def left():
            return [*self.processes_of_attempt(epoch),
                    *(process for process in processes.processes_of(self.folder)
                      if process.program in ("orted", "regroup-rsh") and not self.ranks(epoch + 1))]
        processes.wait_until(lambda: not left(), f"the end of attempt {epoch}", patience_s)

    def assert_lost(self, job, message):
        """Asserts that the first attempt failed with INFRA and the expected message."""
        failure = self.task(job)["failure"]
        self.assertEqual(failure["failure_class"], "FAILURE_CLASS_INFRA")
        self.assertRegex(failure["message"], message)
