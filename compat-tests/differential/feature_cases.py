"""UpdateFeatures: what becomes of levels, and what is refused (KIP-584, KIP-1022)."""

TRANSACTIONS, METADATA = "transaction.version", "metadata.version"
UPGRADE, SAFE, UNSAFE = 1, 2, 3


def change(*updates, **fields):
    return {"TimeoutMs": 30000, "FeatureUpdates": [{"Feature": name, "MaxVersionLevel": level, "UpgradeType": kind} for name, level, kind in updates], **fields}


def old(*updates):
    return {"TimeoutMs": 30000, "FeatureUpdates": [{"Feature": name, "MaxVersionLevel": level, "AllowDowngrade": allowed} for name, level, allowed in updates]}


def feature_cases():
    def levels(when):
        yield f"ApiVersions v4: {when}", "ApiVersions", 4, {"ClientSoftwareName": "diff", "ClientSoftwareVersion": "1"}

    yield from levels("before any change of a level")
    for label, body in [
        ("nothing", change()),
        ("the level that is there", change((TRANSACTIONS, 2, UPGRADE))),
        ("a level that there is not", change((TRANSACTIONS, 3, UPGRADE))),
        ("the highest level", change((TRANSACTIONS, 32767, UPGRADE))),
        ("a level below zero", change((TRANSACTIONS, -1, SAFE))),
        ("down with the type of an upgrade", change((TRANSACTIONS, 1, UPGRADE))),
        ("an unknown type", change((TRANSACTIONS, 1, 0))),
        ("a type from the future", change((TRANSACTIONS, 1, 9))),
        ("down, to be looked at only", change((TRANSACTIONS, 1, SAFE), ValidateOnly=True)),
        ("down to 1", change((TRANSACTIONS, 1, SAFE))),
        ("down to 1 again", change((TRANSACTIONS, 1, SAFE))),
        ("down to a newer one", change((TRANSACTIONS, 2, SAFE))),
        ("down to 0, unsafe", change((TRANSACTIONS, 0, UNSAFE))),
        ("up to 0, where it is", change((TRANSACTIONS, 0, UPGRADE))),
        ("up, to be looked at only", change((TRANSACTIONS, 2, UPGRADE), ValidateOnly=True)),
        ("up to 1", change((TRANSACTIONS, 1, UPGRADE))),
        ("twice in one request", change((TRANSACTIONS, 9, UPGRADE), (TRANSACTIONS, 2, UPGRADE))),
        ("an unknown feature", change(("moon.phase", 1, UPGRADE))),
        ("an unknown feature off", change(("moon.phase", 0, SAFE))),
        ("a feature without a name", change(("", 1, UPGRADE))),
        ("two, one of them unknown", change((TRANSACTIONS, 1, SAFE), ("moon.phase", 1, UPGRADE))),
        ("the metadata version that is there", change((METADATA, 30, UPGRADE))),
        ("an older metadata version", change((METADATA, 29, UPGRADE))),
        ("an older metadata version, safe", change((METADATA, 29, SAFE))),
        ("an older metadata version, unsafe", change((METADATA, 29, UNSAFE))),
        ("the oldest metadata version, to be looked at only", change((METADATA, 7, SAFE), ValidateOnly=True)),
        ("a metadata version that is too old", change((METADATA, 6, SAFE))),
        ("no metadata version", change((METADATA, 0, SAFE))),
        ("a newer metadata version", change((METADATA, 31, UPGRADE))),
        ("two that are fine", change((TRANSACTIONS, 2, UPGRADE), (METADATA, 30, UPGRADE))),
        ("no time", change((TRANSACTIONS, 2, UPGRADE), TimeoutMs=0)),
    ]:
        for version in (1, 2):
            yield f"UpdateFeatures v{version}: {label}", "UpdateFeatures", version, body
        yield from levels(f"after UpdateFeatures: {label}")
    for label, body in [
        ("down, allowed", old((TRANSACTIONS, 1, True))), ("down, not allowed", old((TRANSACTIONS, 1, False))), ("off, allowed", old((TRANSACTIONS, 0, True))),
        ("up", old((TRANSACTIONS, 2, False))), ("up, with leave to go down", old((TRANSACTIONS, 2, True))), ("an unknown feature", old(("moon.phase", 1, False))),
    ]:
        yield f"UpdateFeatures v0: {label}", "UpdateFeatures", 0, body
        yield from levels(f"after UpdateFeatures 0: {label}")
    for version in range(1, 6):
        yield f"FindCoordinator v{version}: a transactional id", "FindCoordinator", version, {"CoordinatorKeys": ["tx"], "KeyType": 1} if version >= 4 else {"Key": "tx", "KeyType": 1}
        yield f"FindCoordinator v{version}: no transactional id", "FindCoordinator", version, {"CoordinatorKeys": [""], "KeyType": 1} if version >= 4 else {"Key": "", "KeyType": 1}
    yield "FindCoordinator v5: three transactional ids", "FindCoordinator", 5, {"CoordinatorKeys": ["tx", "tx", "other"], "KeyType": 1}
    yield "DescribeConfigs v4: the topic of transactions", "DescribeConfigs", 4, {"Resources": [{"ResourceType": 2, "ResourceName": "__transaction_state", "ConfigurationKeys": None}], "IncludeSynonyms": False, "IncludeDocumentation": False}
