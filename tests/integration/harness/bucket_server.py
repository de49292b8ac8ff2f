"""A real S3 server (moto) on loopback, which checks signatures, behind a proxy that can cut connections."""

import os
import select
import socket
import subprocess
import sys
import threading

import boto3
from botocore.config import Config

from harness import processes

BUCKET = "models"
REGION = "eu-central-1"
# Calls that the server answers without asking who calls: those that make the user.
_CALLS_TO_PREPARE = 4


class CuttingProxy:
    """Passes bytes on between callers and a port, and closes the connection whenever so many more bytes were sent to
    the port."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.cuts = []
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self):
        return self._listener.getsockname()[1]

    def stop(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def _pass_on(self, caller):
        with caller, socket.create_connection(("127.0.0.1", self._target)) as server:
            while True:
                for ready in select.select([caller, server], [], [])[0]:
                    try:
                        data = ready.recv(65536)
                        if not data or (ready is caller and self._cuts_now(len(data))):
                            return
                        (server if ready is caller else caller).sendall(data)
                    except OSError:
                        return

    def _cuts_now(self, count):
        with self._lock:
            self.passed += count
            if not self.cuts or self.passed < self.cuts[0]:
                return False
            self.cuts.pop(0)
            return True


class BucketServer:
    """`key` and `secret` belong to a user who may do anything with objects."""

    def __init__(self, folder):
        log = open(folder / "s3.log", "ab")
        port_holder = socket.create_server(("127.0.0.1", 0))
        port = port_holder.getsockname()[1]
        port_holder.close()
        environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_CALLS_TO_PREPARE)}
        self._server = processes.start([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                                       stdout=log, stderr=log, env=environment)
        log.close()
        processes.wait_until(lambda: self._is_open(port), "the S3 server", patience_s=120)
        self.proxy = CuttingProxy(port)
        self.port = port
        self._direct = f"http://127.0.0.1:{port}"
        self.url = f"http://127.0.0.1:{self.proxy.port}"
        self._make_user()
        self.s3 = self.client("s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    @staticmethod
    def _is_open(port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False

    def _make_user(self):
        iam = self.client("iam", key="nobody", secret="nothing")
        iam.create_user(UserName="regroup")
        self.policy = iam.create_policy(PolicyName="objects", PolicyDocument=(
            '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'))
        iam.attach_user_policy(UserName="regroup", PolicyArn=self.policy["Policy"]["Arn"])
        made = iam.create_access_key(UserName="regroup")["AccessKey"]
        self.key, self.secret = made["AccessKeyId"], made["SecretAccessKey"]

    def client(self, service, key=None, secret=None):
        return boto3.client(service, endpoint_url=self._direct, region_name=REGION, aws_access_key_id=key or self.key,
                            aws_secret_access_key=secret or self.secret,
                            config=Config(s3={"addressing_style": "path"}))

    def environment(self):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": self.key,
                "AWS_SECRET_ACCESS_KEY": self.secret}

    def put_folder(self, folder, prefix):
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{file.relative_to(folder)}", Body=file.read_bytes())

    def objects(self, prefix):
        """Returns the contents of all objects below the prefix, by the rest of their names."""
        found = {}
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + "/"):
            for entry in page.get("Contents", []):
                body = self.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
                found[entry["Key"].removeprefix(prefix + "/")] = body
        return found

    def stop(self):
        self.proxy.stop()
        self._server.terminate()
        self._server.wait(timeout=30)
