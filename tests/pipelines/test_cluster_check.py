import pickle
import pickletools

from pipelines.cluster_check import DescribeBySource


def test_workers_are_sent_neither_bytecode_nor_names_of_ours() -> None:
    sent = pickle.dumps(DescribeBySource("/models/one", "cpu"), protocol=3)
    named = [name for opcode, name, _ in pickletools.genops(sent) if opcode.name == "GLOBAL"]
    assert named == ["builtins eval"]
    taken = pickle.loads(sent)
    assert (taken.bundle, taken.device) == ("/models/one", "cpu")
    assert type(taken).__module__ == "builtins"
