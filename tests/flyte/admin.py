"""A Flyte control plane that takes what ``pyflyte`` registers, and keeps it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.service import admin_pb2_grpc, auth_pb2_grpc, dataproxy_pb2, dataproxy_pb2_grpc


class Admin(
    admin_pb2_grpc.AdminServiceServicer,  # type: ignore[misc]
    dataproxy_pb2_grpc.DataProxyServiceServicer,  # type: ignore[misc]
    auth_pb2_grpc.AuthMetadataServiceServicer,  # type: ignore[misc]
):
    """``tasks`` are the registered templates by name, ``uploads`` counts the archives of code."""

    def __init__(self) -> None:
        self.address = ""
        self.store = ""
        self.tasks: dict[str, Any] = {}
        self.uploads = 0

    def CreateTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.tasks[request.id.name] = request.spec.template
        return task_pb2.TaskCreateResponse()

    def CreateWorkflow(self, request: Any, context: Any) -> Any:  # noqa: N802
        return workflow_pb2.WorkflowCreateResponse()

    def GetWorkflow(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.NOT_FOUND, "there is no such workflow")

    def CreateLaunchPlan(self, request: Any, context: Any) -> Any:  # noqa: N802
        return launch_plan_pb2.LaunchPlanCreateResponse()

    def CreateUploadLocation(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.uploads += 1
        url = f"{self.store}/code-{self.uploads}"
        return dataproxy_pb2.CreateUploadLocationResponse(signed_url=url, native_url=f"s3://bucket/code-{self.uploads}")


class _Store(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@contextmanager
def control_plane() -> Iterator[Admin]:
    """Run one for as long as the block lasts; ``address`` is where it listens."""
    admin = Admin()
    server = grpc.server(ThreadPoolExecutor(4))
    admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)
    dataproxy_pb2_grpc.add_DataProxyServiceServicer_to_server(admin, server)
    auth_pb2_grpc.add_AuthMetadataServiceServicer_to_server(admin, server)
    admin.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Store) as store:
        admin.store = f"http://127.0.0.1:{store.server_address[1]}"
        thread = threading.Thread(target=store.serve_forever)
        thread.start()
        server.start()
        try:
            yield admin
        finally:
            server.stop(None).wait()
            store.shutdown()
            thread.join()
