"""The pool of `apache_beam.runners.worker.worker_pool_main`, but at one address: beside others with the same port.

A TaskManager asks for workers by numbers of its own, so that two of them cannot share a pool: it would end the workers
of one when the other is done. In production each has its own, in the same pod.
"""

import sys

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils import thread_pool_executor

if __name__ == "__main__":
    server = grpc.server(thread_pool_executor.shared_unbounded_instance())
    if not server.add_insecure_port(sys.argv[1]):
        raise SystemExit(f"cannot listen at {sys.argv[1]}")
    pool = BeamFnExternalWorkerPoolServicer(use_process=True)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.start()
    server.wait_for_termination()
