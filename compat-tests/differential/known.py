"""Differences that have a reason. Each reason stands in PROTOCOL.md too."""
import re

# (label regex, path regex, reason)
KNOWN = [
    (r"^ApiVersions v\d: ", r"^\.ApiKeys\.(ListOffsets|OffsetCommit|OffsetFetch|WriteTxnMarkers|DescribeLogDirs)\.MaxVersion$", "the codec crate ends at Kafka 4.1"),
    (r"^ApiVersions v\d: ", r"^\.ApiKeys\.FindCoordinator\.MaxVersion$", "6 means share groups"),
    (r"^DescribeLogDirs v\d: asking: all$", r"\.PartitionSize$", "coordinators put their records into other batches; Kafka's retention does not run during the comparison"),
    (r"^EndTxn v5: table.*: aborted.* × commit × ", r"^\.ErrorCode$", "KAFKA-20785: who repeats a commit that was never asked for was fenced, and is told so"),
    (r"^Fetch v\d+: fetching: (MaxBytes|partition max bytes) -1$", r"", "Kafka's log refuses a negative size (UNKNOWN_SERVER_ERROR); it counts as 0"),
    (r"^IncrementalAlterConfigs v\d: an unknown operation$", r"^\.Responses\[0\]\.Error(Code|Message)$", "Kafka's controller fails with a null pointer; Ottla says what is wrong"),
    (r"^Produce v\d+: no records$", r"", "Kafka's handler fails with a null pointer and never answers"),
]


def reason_for(label, api, path, ours, theirs):
    for label_pattern, path_pattern, reason in KNOWN:
        if re.search(label_pattern, label) and re.search(path_pattern, path):
            return reason
    return None
