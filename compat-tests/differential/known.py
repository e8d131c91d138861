"""Differences that have a reason. Each reason stands in PROTOCOL.md too."""
import re

# (label regex, path regex, reason)
KNOWN = [
    (r"^ApiVersions v\d: ", r"MaxVersion$", "the codec crate ends at Kafka 4.1; FindCoordinator 6 means share groups"),
    (r"^EndTxn v5: table.*: aborted.* × commit × ", r"^\.ErrorCode$", "KAFKA-20785: who repeats a commit that was never asked for was fenced, and is told so"),
    (r"^IncrementalAlterConfigs v\d: an unknown operation$", r"^\.Responses\[0\]\.Error(Code|Message)$", "Kafka's controller fails with a null pointer; Ottla says what is wrong"),
    (r"^Produce v\d+: no records$", r"", "Kafka's handler fails with a null pointer and never answers"),
]


def reason_for(label, api, path, ours, theirs):
    for label_pattern, path_pattern, reason in KNOWN:
        if re.search(label_pattern, label) and re.search(path_pattern, path):
            return reason
    return None
